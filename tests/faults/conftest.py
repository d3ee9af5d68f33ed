"""The ledger of the campaign at the end of the report."""

from __future__ import annotations

from typing import Any

from tests.faults.campaign import LEDGER


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if LEDGER:
        terminalreporter.section("fault campaign: fault, times tried, lost")
        for fault, tried, lost in LEDGER:
            terminalreporter.write_line(f"{tried:7d} {lost:3d}  {fault}")
