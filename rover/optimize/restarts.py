"""Where a rover begins anew, and when: the samples of the first round are worth a second look.

A restarted rover goes to the best sample of the probing round that lies away from all places where rovers have begun or
arrived; when none is left, to the next point of an even sequence over the box. It is given up early when what it sees
can no longer reach the incumbent.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rover.optimize.probe import low_discrepancy

RADIUS = 0.25
"""Half-window of the first grid at a scattered point, box widths."""
SEPARATION = 0.1
"""Box widths between a new start and the places visited, along the axis in which they are farthest apart."""
PATIENCE = 4
"""Rounds before a restarted rover may be given up."""
REACH = 3.0
"""A rover is given up when it is worse than the incumbent by more than so many ranges of what it sees."""


class Restarts:
    """What S rovers in a box have visited, and what the probing round has shown them.

    Args:
        num_starts: S.
        shift: ``(dim,)`` in [0, 1), of the even sequence.
    """

    def __init__(self, num_starts: int, shift: Tensor) -> None:
        self.num_starts, self.shift = num_starts, shift
        self.points: Tensor | None = None  # (S, P, dim) of the probing round
        self.values: Tensor | None = None  # (S, P)
        self.visited: list[Tensor] = [torch.empty(0, len(shift), dtype=torch.float64) for _ in range(num_starts)]
        self.lowest = [math.inf] * num_starts  # of the current run of each rover
        self.rounds = [0] * num_starts  # of the current run
        self.scattered = 0

    def remember(self, points: Tensor, values: Tensor) -> None:
        """Keep the samples ``(S, P, dim)`` and their values ``(S, P)``."""
        self.points, self.values = points, torch.where(values.isfinite(), values, float("inf"))

    def visit(self, start: int, theta: Tensor) -> None:
        """A rover has begun or arrived at ``theta (dim,)``."""
        self.visited[start] = torch.cat([self.visited[start], theta[None]])

    def note(self, start: int, lowest: float) -> None:
        """A round of a rover whose lowest finite value was `lowest` (infinite if there was none)."""
        self.lowest[start] = min(self.lowest[start], lowest)
        self.rounds[start] += 1

    def hopeless(self, start: int, incumbent: float, spread: float) -> bool:
        """Whether the current run of a rover, which sees a range of `spread`, will not reach the incumbent's value."""
        return self.rounds[start] > PATIENCE and self.lowest[start] - incumbent > REACH * spread

    def elsewhere(self, start: int) -> tuple[Tensor, float]:
        """A place ``(dim,)`` to begin anew, and the half-window of the first grid there."""
        self.lowest[start], self.rounds[start] = math.inf, 0
        theta, radius = self._best_sample(start)
        if theta is None:
            self.scattered += 1
            theta, radius = low_discrepancy(1, len(self.shift), self.shift, self.scattered)[0], RADIUS
        self.visit(start, theta)
        return theta, radius

    def _best_sample(self, start: int) -> tuple[Tensor | None, float]:
        if self.points is None or self.values is None:
            return None, 0.0
        points, values = self.points[start], self.values[start]
        near = (points[:, None] - self.visited[start]).abs().amax(-1) < SEPARATION
        left = torch.where(near.any(-1), float("inf"), values)
        if not left.min().isfinite():
            return None, 0.0
        return points[left.argmin()], min(0.75 * len(points) ** (-1 / points.shape[-1]), RADIUS)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers."""
        return {
            "points": None if self.points is None else self.points.clone(),
            "values": None if self.values is None else self.values.clone(),
            "visited": [x.clone() for x in self.visited],
            "lowest": list(self.lowest),
            "rounds": list(self.rounds),
            "scattered": self.scattered,
            "shift": self.shift.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.points, self.values, self.shift = state["points"], state["values"], state["shift"].clone()
        self.visited = [x.clone() for x in state["visited"]]
        self.lowest, self.rounds = list(state["lowest"]), list(state["rounds"])
        self.scattered = state["scattered"]
