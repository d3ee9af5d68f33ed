"""The point that is returned: the best one evaluated, or, under noise, the one that proved best when asked again.

Under noise the lowest of a thousand values is mostly luck. :class:`FairPool` therefore keeps a few candidates,
evaluates them again in every round, and judges each by the mean of its own values, without the one that nominated it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_POOL = 4  # candidates kept
_CAUTION = 2.0  # standard errors added to a mean before it is compared
_MATURE = 3  # evaluations after which a candidate may be returned before less tried ones


class BestSeen:
    """The lowest finite value so far and where it was."""

    def __init__(self) -> None:
        self.x: Array | None = None
        self.fun = math.inf

    def nominate(self, x: Array, value: float, *, chosen: bool, weight: float = 1.0) -> None:
        """Hear of an evaluated point; `chosen` says that it was picked for its value."""
        del chosen, weight
        if value < self.fun:
            self.x, self.fun = x.copy(), float(value)

    def questions(self) -> list[Array]:
        """Points to evaluate again: none."""
        return []

    def answer(self, values: Array) -> None:
        """Values of the questions."""
        del values

    @property
    def certainty(self) -> dict[str, Any]:
        """What else the result says about `fun`: nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"x": None if self.x is None else self.x.tolist(), "fun": self.fun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.x = None if state["x"] is None else np.array(state["x"], dtype=np.float64)
        self.fun = state["fun"]


class FairPool:
    """A few candidates with the mean and the number of their values, and one variance pooled over all of them."""

    def __init__(self) -> None:
        self.points: list[Array] = []
        self.counts: list[float] = []
        self.means: list[float] = []
        self.squares = 0.0  # sum of squared deviations from their own means, of all candidates there ever were
        self.freedom = 0

    def nominate(self, x: Array, value: float, *, chosen: bool, weight: float = 1.0) -> None:
        """Add a candidate; the value counts only if it was not the reason for the choice."""
        fair = not chosen and math.isfinite(value)
        for index, point in enumerate(self.points):
            if np.array_equal(point, x):
                if fair:
                    self._add(index, value, weight)
                return
        if math.isfinite(value):
            self.points.append(x.copy())
            self.counts.append(weight if fair else 0.0)
            self.means.append(float(value) if fair else 0.0)

    def _add(self, index: int, value: float, weight: float = 1.0) -> None:
        known = self.counts[index] > 0
        self.counts[index] += weight
        shift = value - self.means[index]
        self.means[index] += shift * weight / self.counts[index]
        if known and weight == 1.0:
            self.squares += shift * (value - self.means[index])
            self.freedom += 1

    def questions(self) -> list[Array]:
        """All candidates, once each."""
        return list(self.points)

    def answer(self, values: Array) -> None:
        """Take in one more value of each question; non-finite candidates leave, then the worst ones."""
        for index, value in enumerate(values):
            if math.isfinite(value):
                self._add(index, float(value))
            else:
                self.means[index], self.counts[index] = math.inf, max(self.counts[index], 1)
        order = sorted(range(len(self.points)), key=lambda i: (self.counts[i] == 0, self._cautious(i)))[:_POOL]
        order = [i for i in order if self.means[i] < math.inf]
        self.points = [self.points[i] for i in order]
        self.counts, self.means = [self.counts[i] for i in order], [self.means[i] for i in order]

    @property
    def std(self) -> float:
        """Standard deviation of one evaluation; NaN before anything was evaluated twice."""
        return math.sqrt(max(self.squares, 0.0) / self.freedom) if self.freedom else math.nan

    def _cautious(self, index: int) -> float:
        """Mean plus some standard errors."""
        std = self.std if self.freedom else 0.0
        return self.means[index] + _CAUTION * std / math.sqrt(max(self.counts[index], 1.0))

    def _winner(self) -> int | None:
        """The lowest upper estimate, mean + one standard error, among the candidates that were asked often enough."""
        most = max(self.counts, default=0)
        if most == 0:
            return None
        able = [i for i, count in enumerate(self.counts) if count >= min(_MATURE, most)]
        return min(able, key=self._cautious)

    @property
    def x(self) -> Array | None:
        """The winner."""
        winner = self._winner()
        return None if winner is None else self.points[winner]

    @property
    def fun(self) -> float:
        """Its mean value; infinite if there is no candidate."""
        winner = self._winner()
        return math.inf if winner is None else self.means[winner]

    @property
    def certainty(self) -> dict[str, Any]:
        """Standard deviation of one evaluation, standard error of `fun`, and from how many values it comes."""
        winner = self._winner()
        count = 0 if winner is None else self.counts[winner]
        error = self.std / math.sqrt(count) if count else math.nan
        return {"fun_std": self.std, "fun_stderr": error, "fun_evaluations": count}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        points = [point.tolist() for point in self.points]
        return {
            "points": points, "counts": list(self.counts), "means": list(self.means),
            "squares": self.squares, "freedom": self.freedom,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.points = [np.array(point, dtype=np.float64) for point in state["points"]]
        self.counts, self.means = list(state["counts"]), list(state["means"])
        self.squares, self.freedom = state["squares"], state["freedom"]
