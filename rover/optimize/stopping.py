"""When a run ends, and the sentence that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any


class Status(IntEnum):
    """Why a run ended; SciPy's numbers where SciPy has them."""

    RUNNING = -1
    CONVERGED = 0
    MAXFEV = 1
    MAXITER = 2
    NOT_FINITE = 3
    TARGET = 4
    MAXTIME = 5
    CALLBACK = 99

    @property
    def success(self) -> bool:
        """Whether the goal was reached, and not a budget."""
        return self in (Status.CONVERGED, Status.TARGET)

    @property
    def message(self) -> str:
        """A sentence for people."""
        return MESSAGES[self]


MESSAGES = {
    Status.RUNNING: "The run has not ended.",
    Status.CONVERGED: "Converged: step and grid are within `xatol`, and f varies by less than `fatol` on the grid.",
    Status.MAXFEV: "Maximum number of function evaluations (`maxfev`) reached: another round would not fit.",
    Status.MAXITER: "Maximum number of rounds (`maxiter`) reached.",
    Status.NOT_FINITE: "The objective was NaN or infinite at every point of a round.",
    Status.TARGET: "The target value (`ftarget`) was reached.",
    Status.MAXTIME: "Maximum time (`maxtime`) has passed.",
    Status.CALLBACK: "`callback` raised `StopIteration`.",
}


@dataclass
class StoppingRules:
    """Budgets and tolerances.

    Attributes:
        maxiter: rounds, the probing round included; None: 100 a variable, at least 200 and at most 5,000, unless
            `maxfev` or `maxtime` limits the run.
        maxfev: points; a round that would not fit is not begun.
        xatol: converged when step size and half-window of every grid are smaller than this share of the box (with
            bounds) or of the first half-window (without); 0 switches it off.
        fatol: ... and when f varies on every grid by less than this share of its range on the first grids; 0 switches
            it off.
        ftarget: stop as soon as a value at or below this has been seen.
        maxtime: seconds.
    """

    maxiter: int | None = None
    maxfev: int | None = None
    xatol: float = 1e-8
    fatol: float = 1e-12
    ftarget: float | None = None
    maxtime: float | None = None

    def __post_init__(self) -> None:
        self.maxiter = whole_number("maxiter", self.maxiter)
        self.maxfev = whole_number("maxfev", self.maxfev)
        self.xatol = number("xatol", self.xatol, least=0.0)
        self.fatol = number("fatol", self.fatol, least=0.0)
        self.ftarget = None if self.ftarget is None else number("ftarget", self.ftarget)
        self.maxtime = None if self.maxtime is None else number("maxtime", self.maxtime, least=0.0)

    def with_defaults(self, dim: int) -> StoppingRules:
        """The same with a number of rounds where nothing else limits the run."""
        if self.maxiter is None and self.maxfev is None and self.maxtime is None:
            return replace(self, maxiter=min(max(100 * dim, 200), 5000))
        return self

    def budget(self, rounds: int, evaluations: int, seconds: float, next_round: int, best: float) -> Status:
        """Whether the run may begin a round of `next_round` points.

        Args:
            rounds: rounds so far.
            evaluations: points so far.
            seconds: time so far.
            next_round: points that the next round costs.
            best: lowest value so far, infinite if there is none.
        """
        if self.ftarget is not None and best <= self.ftarget:
            return Status.TARGET
        if self.maxiter is not None and rounds >= self.maxiter:
            return Status.MAXITER
        if self.maxfev is not None and evaluations + next_round > self.maxfev:
            return Status.MAXFEV
        if self.maxtime is not None and seconds >= self.maxtime:
            return Status.MAXTIME
        return Status.RUNNING

    def converged(
        self, size: float, spread: float, x_scale: float, f_scale: float, magnitude: float, *, noisy: bool
    ) -> bool:
        """Whether a rover has arrived.

        Args:
            size: largest step size or half-window of its slices.
            spread: largest range of f on one of its grids.
            x_scale, f_scale: what the tolerances are relative to.
            magnitude: |f|, below whose rounding error nothing can be told.
            noisy: then f never settles, and only `xatol` counts.
        """
        if self.xatol == 0 and (self.fatol == 0 or noisy):
            return False
        arrived = self.xatol == 0 or size <= self.xatol * x_scale
        level = noisy or self.fatol == 0 or spread <= self.fatol * f_scale + 16 * 2.0**-52 * magnitude
        return arrived and level


def number(name: str, value: Any, *, least: float = -math.inf) -> float:
    """A real number of at least `least`, not NaN."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be a number, got {value!r}") from None
    if isinstance(value, bool) or not result >= least:
        wanted = "a number" if least == -math.inf else f"a number of at least {least:g}"
        raise ValueError(f"`{name}` must be {wanted}, got {value!r}")
    return result


def whole_number(name: str, value: Any) -> int | None:
    """An integer of at least 0 (1e4 is one), or None."""
    if value is None:
        return None
    result = number(name, value, least=0.0)
    if math.isinf(result):
        return 2**62
    if result != int(result):
        raise ValueError(f"`{name}` must be a whole number, got {value!r}")
    return int(result)
