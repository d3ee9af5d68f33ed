"""The ledger of the campaign at the end of the report, also where several processes share the tests (pytest-xdist)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.campaign import LEDGER

TOTAL: dict[str, list[int]] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> None:
    """What the test has noted travels with its report."""
    if call.when == "teardown":
        item.user_properties += [("fault", entry) for entry in LEDGER]
        LEDGER.clear()


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "teardown":
        for name, entry in report.user_properties:
            if name == "fault":
                fault, tried, lost = entry
                total = TOTAL.setdefault(fault, [0, 0])
                total[0], total[1] = total[0] + tried, total[1] + lost


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TOTAL:
        terminalreporter.section("fault campaign: fault, times tried, lost")
        for fault, (tried, lost) in TOTAL.items():
            terminalreporter.write_line(f"{tried:7d} {lost:3d}  {fault}")
