"""The ledger of the campaign at the end of the report."""

from __future__ import annotations

from typing import Any

from tests.faults.campaign import FULL, LEDGER

# Only `make faults` runs these.
collect_ignore = [] if FULL else [f"test_{name}.py" for name in ("kill", "workers", "clock", "properties", "soak")]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if LEDGER:
        terminalreporter.section("fault campaign: fault, times tried, lost")
        for fault, tried, lost in LEDGER:
            terminalreporter.write_line(f"{tried:7d} {lost:3d}  {fault}")
