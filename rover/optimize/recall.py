"""Back to the best point when a rover has lost its way (beyond the paper, for one and two variables).

A policy sees one grid and remembers a little; it may leave a good basin, climb a barrier, or run along a wall while its grid
shrinks to nothing. A rover that has not found anything better for several rounds, and whose window no longer holds the
best point, is put back there with a window half as large as the one in which it found it, and with nothing remembered.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PATIENCE = 6
"""Rounds without anything better."""


class Recall:
    """The best points of S rovers since each of them began.

    Attributes:
        value: ``(S,)``.
        theta: ``(S, 2)``, where.
        delta: ``(S,)``, the resolution of the grid that showed it.
        stale: ``(S,)``, rounds since then.
    """

    def __init__(self, num_starts: int) -> None:
        self.value = torch.full((num_starts,), float("inf"), dtype=torch.float64)
        self.theta = torch.zeros(num_starts, 2, dtype=torch.float64)
        self.delta = torch.ones(num_starts, dtype=torch.float64)
        self.stale = torch.zeros(num_starts, dtype=torch.int64)

    def lost(
        self, active: Tensor, values: Tensor, points: Tensor, delta: Tensor, offsets: Tensor, half: float
    ) -> Tensor:
        """Take in a round of A rovers, and say which of them are to go back, as indices among the active: ``(L,)``.

        Args:
            active: ``(A,)``.
            values: ``(A, P)``.
            points: ``(A, P, 2)``, where.
            delta: ``(A,)``.
            offsets: ``(A, 2)``, from the centres of the grids to the best points so far, in cells.
            half: half a window, in cells.
        """
        low, where = torch.where(values.isfinite(), values, float("inf")).min(-1)
        better = low < self.value[active]
        found = points[torch.arange(len(active)), where]
        self.value[active] = torch.where(better, low, self.value[active])
        self.theta[active] = torch.where(better[:, None], found, self.theta[active])
        self.delta[active] = torch.where(better, delta, self.delta[active])
        self.stale[active] = torch.where(better, 0, self.stale[active] + 1)
        away = offsets.abs().amax(-1) > half + 0.5
        return ((self.stale[active] >= PATIENCE) & away).nonzero()[:, 0]

    def forget(self, start: int) -> None:
        """A rover begins anew."""
        self.value[start], self.stale[start] = float("inf"), 0

    def state_dict(self) -> dict[str, Any]:
        """Tensors."""
        return {name: getattr(self, name).clone() for name in ("value", "theta", "delta", "stale")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        for name, value in state.items():
            setattr(self, name, value.clone())
