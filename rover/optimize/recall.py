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

    def note(self, active: Tensor, low: Tensor, found: Tensor, delta: Tensor) -> Tensor:
        """Take in a round of A rovers, and say whose patience is at an end: ``(A,)`` bool.

        Args:
            active: ``(A,)``.
            low: ``(A,)``, the least value of each grid; infinity where nothing was finite.
            found: ``(A, 2)``, where that was.
            delta: ``(A,)``.
        """
        better = low < self.value[active]
        self.value[active] = torch.where(better, low, self.value[active])
        self.theta[active] = torch.where(better[:, None], found, self.theta[active])
        self.delta[active] = torch.where(better, delta, self.delta[active])
        self.stale[active] = torch.where(better, 0, self.stale[active] + 1)
        return self.stale[active] >= PATIENCE

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
