"""How every figure is taken: rivals run in turn in one process, and what counts is their ratio.

Times are CPU seconds of this process on one thread, unless a row says otherwise: what else the machine does is not
counted. The least of several runs is the figure (noise only ever adds); the ratio of the medians stands beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Timing(NamedTuple):
    """Seconds of one call."""

    least: float
    median: float


def interleaved(rivals: Mapping[str, Callable[[], Any]], rounds: int = 7) -> dict[str, Timing]:
    """Call all rivals in turn, `rounds` times over, after one call of each that is not counted.

    Args:
        rivals: what to time; a call should take at least a few milliseconds.
        rounds: repetitions.

    Returns:
        For each rival the least and the median CPU seconds of a call.
    """
    for call in rivals.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, call in rivals.items():
            begin = time.process_time()
            call()
            seconds[name].append(time.process_time() - begin)
    return {name: Timing(min(times), statistics.median(times)) for name, times in seconds.items()}


def row(name: str, ours: float, theirs: float, asked: str = "", *, median: float | None = None) -> dict[str, Any]:
    """One line of the table.

    Args:
        name: what is compared.
        ours, theirs: figures in the same unit.
        asked: the bound on their ratio that was asked for, like ``">= 20"``; empty for none.
        median: the ratio of the medians, where there were repetitions.
    """
    found: dict[str, Any] = {"name": name, "ours": ours, "theirs": theirs, "ratio": ours / theirs, "asked": asked}
    return found if median is None else {**found, "median_ratio": median}


def rate_row(
    name: str, ours: Timing, theirs: Timing, asked: str = "", *, work: float = 1.0, their_work: float | None = None
) -> dict[str, Any]:
    """Rates (work a second) out of times, see :func:`row`."""
    other = work if their_work is None else their_work
    median = work / ours.median / (other / theirs.median)
    return row(name, work / ours.least, other / theirs.least, asked, median=median)


def met(found: Mapping[str, Any]) -> bool | None:
    """Whether the ratio keeps the bound that was asked for; None without a bound."""
    if not found["asked"]:
        return None
    sign, bound = found["asked"].split()
    ratio, limit = found["ratio"], float(bound)
    return {"<": ratio < limit, "<=": ratio <= limit, ">": ratio > limit, ">=": ratio >= limit}[sign]
