"""What S rovers have found so far: incumbents, statuses, trajectories, and what makes a result of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rover.optimize.incumbents import BestSeen, FairPool
from rover.optimize.result import RoverResult, trajectory_of
from rover.optimize.space import Space
from rover.optimize.stopping import Status, StoppingRules

Array = NDArray[Any]
Row = Callable[[int], Array]
"""The evaluated point of an index: ``int -> (d,)``."""


class Fleet:
    """The books of S rovers.

    Args:
        start: ``(S, d)`` in x.
        space: coordinates.
        noisy: whether incumbents are judged by repeated evaluation.

    Attributes:
        status: of each rover.
        restarts: how often each has begun anew.
        x_scale, f_scale: per rover, what the tolerances are relative to (f_scale: NaN before the first grid).
    """

    def __init__(self, start: Array, space: Space, *, noisy: bool) -> None:
        self.start, self.space, self.noisy = start, space, noisy
        size = len(start)
        self.incumbents: list[BestSeen | FairPool] = [FairPool() if noisy else BestSeen() for _ in range(size)]
        self.status = [Status.RUNNING] * size
        self.restarts = [0] * size
        self.x_scale = [1.0] * size
        self.f_scale = [math.nan] * size
        self._where = [""] * size  # the place that goes with NOT_FINITE
        self._rows: list[dict[str, Any]] = []

    @property
    def running(self) -> list[int]:
        """Indices of the rovers that go on."""
        return [s for s, status in enumerate(self.status) if status is Status.RUNNING]

    @property
    def lowest(self) -> float:
        """Best value of all; infinite before there is one."""
        return min(incumbent.fun for incumbent in self.incumbents)

    @property
    def winner(self) -> int:
        """The rover with the best value."""
        return min(range(len(self.status)), key=lambda s: self.incumbents[s].fun)

    # -- noting what happened -----------------------------------------------------------------------------------------

    def nominate(self, start: int, values: Array, offset: int, row: Row) -> None:
        """Hear of the points ``offset ...`` of a rover: the best one is a candidate for the result."""
        where = int(np.where(np.isfinite(values), values, np.inf).argmin())
        if math.isfinite(values[where]):
            self.incumbents[start].nominate(row(offset + where), float(values[where]), chosen=True)

    def questions(self) -> list[tuple[int, Array]]:
        """Candidates to evaluate again: (rover, point)."""
        if not self.noisy:
            return []
        return [(s, x) for s in self.running for x in self.incumbents[s].questions()]

    def answer(self, questions: list[tuple[int, Array]], values: Array) -> None:
        """Take in the values of the questions."""
        for start in sorted({s for s, _ in questions}):
            mine = [i for i, (s, _) in enumerate(questions) if s == start]
            self.incumbents[start].answer(values[mine])

    def lose(self, start: int, x: Array) -> None:
        """A rover saw nothing finite around x ``(d,)``: it ends there."""
        self.status[start] = Status.NOT_FINITE
        shown = np.array2string(x[:6], precision=6, separator=", ")
        self._where[start] = f"around x = {shown}" + (" (first six variables)" if len(x) > 6 else "")

    def record(self, active: list[int], nfev: int, *, theta: Tensor, direction: Tensor, **columns: Tensor) -> None:
        """Add a row to the trajectories of the active rovers.

        Args:
            active: which.
            nfev: points of all rovers so far.
            theta, direction: ``(A, dim)`` in the space's coordinates.
            **columns: the rest of a row, ``(A, ...)`` in x.
        """
        row = {name: column.clone() for name, column in columns.items()}
        row |= {"theta": theta.clone(), "direction": direction.clone()}
        self._rows.append({"active": active, "nfev": nfev, "restart": [self.restarts[s] for s in active], **row})

    def converged(self, start: int, rules: StoppingRules, size: float, spread: float) -> bool:
        """Whether a rover with these largest lengths and ranges of f has arrived."""
        return rules.converged(
            size,
            spread,
            self.x_scale[start],
            self.f_scale[start],
            abs(self.incumbents[start].fun),
            noisy=self.noisy,
        )

    # -- results ------------------------------------------------------------------------------------------------------

    def best(self) -> RoverResult:
        """Where the best value was, and the value."""
        winner = self.winner
        x = self.incumbents[winner].x
        if x is None:
            return RoverResult(x=self.start[winner].copy(), fun=math.nan)
        return RoverResult(x=x.copy(), fun=self.incumbents[winner].fun)

    def sentence(self, status: Status, start: int) -> str:
        """The message of a status, with the place where the objective was not finite."""
        return f"{status.message[:-1]} {self._where[start]}." if status is Status.NOT_FINITE else status.message

    def result_of(self, start: int, ended: Status) -> RoverResult:
        """One rover's own result; `ended` is why it was stopped if it was still running."""
        incumbent, status = self.incumbents[start], self.status[start]
        status = ended if status is Status.RUNNING else status
        x = incumbent.x
        return RoverResult(
            x=(self.start[start] if x is None else x).copy(),
            fun=math.nan if x is None else incumbent.fun,
            success=status.success and x is not None,
            status=int(status),
            message=self.sentence(status, start),
            trajectory=trajectory_of(self._rows, start, self.space),
            **incumbent.certainty,
        )

    # -- save and resume ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings."""
        return {
            "start": self.start.tolist(),
            "incumbents": [incumbent.state_dict() for incumbent in self.incumbents],
            "status": [int(s) for s in self.status],
            "restarts": list(self.restarts),
            "x_scale": list(self.x_scale),
            "f_scale": list(self.f_scale),
            "where": list(self._where),
            "rows": [dict(row) for row in self._rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.start = np.array(state["start"], dtype=np.float64)
        for incumbent, saved in zip(self.incumbents, state["incumbents"], strict=True):
            incumbent.load_state_dict(saved)
        self.status = [Status(s) for s in state["status"]]
        self.restarts, self._where = list(state["restarts"]), list(state["where"])
        self.x_scale, self.f_scale = list(state["x_scale"]), list(state["f_scale"])
        self._rows = [dict(row) for row in state["rows"]]
