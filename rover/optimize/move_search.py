"""One more round before a combined move is made: try it in several lengths (beyond the paper, Deviation D15).

The slices of a round know nothing of each other. Where axes are coupled, each of them makes up for the same slope, and
the mean of their moves (eq 9) overshoots by as much as the coupling is strong; where they are coupled along a valley it
falls short. So the mean is only a proposal. In a round of its own the rover samples the plane through where it stands
that is spanned by the proposal and by its last displacement, on a coarse geometric lattice, and goes to the best point.
It can only go down, and since the last displacement takes part it gathers speed, as conjugate gradients do.

The outcome is also told to the slices: none of them looks or steps much further than the rover has really gone. Without
this an axis along which f is flat proposes ever larger moves, and they drown the others'.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LENGTHS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Multiples of the proposal."""
SHARES = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0)
"""Multiples of the last displacement."""
STEPS = (0.5, 1.0)
"""Multiples of a step of the model."""
SHORTEST = LENGTHS[0]
REACH = 2.0
"""How far slices look and step along an axis, in units of the largest displacement of an axis in the last search."""
_CHANGE = 4.0  # of the reach, at most, in one search


class MoveSearch:
    """The proposals of S rovers in d variables.

    Attributes:
        waiting: whether there are proposals to be tried in the next round.
        basis: ``(S, 2 + K, d)``, the proposal, the last displacement and K steps of a model, of each rover.
        reach: ``(S,)``, largest step size and half-window of a slice; infinite before the first search.
        lattice: ``(P, 2 + K)``, what is sampled, in units of the basis; the first is where the rover stands.
    """

    def __init__(self, num_starts: int, dim: int, num_steps: int) -> None:
        self.waiting = False
        self.basis = torch.zeros(num_starts, 2 + num_steps, dim, dtype=torch.float64)
        self.reach = torch.full((num_starts,), float("inf"), dtype=torch.float64)
        tries = torch.cartesian_prod(torch.tensor(LENGTHS), torch.tensor(SHARES)).double()
        steps = torch.cat([length * torch.eye(num_steps, dtype=torch.float64) for length in STEPS])
        self.lattice = torch.block_diag(torch.cat([torch.zeros(1, 2, dtype=torch.float64), tries]), steps)

    def propose(self, active: Tensor, move: Tensor, steps: Tensor) -> None:
        """Proposals ``(A, d)`` of the active rovers, and steps of their models, ``(A, K, d)``."""
        last = self.basis[active, 1]
        # A rover that has not moved yet has no second direction: it may trust every other axis more than the rest.
        alternating = move * (1 - 2 * (torch.arange(move.shape[1]) % 2))
        last = torch.where((last == 0).all(-1, keepdim=True), alternating, last)
        self.basis[active] = torch.cat([move[:, None], last[:, None], steps], 1)
        self.waiting = True

    def displacements(self, active: Tensor) -> Tensor:
        """From where the rovers stand to what is sampled: ``(A, P, d)``."""
        return self.lattice @ self.basis[active]

    def moved(self, active: Tensor, displacement: Tensor) -> None:
        """The rovers went ``(A, d)``; those that stayed keep their last displacement."""
        went = (displacement != 0).any(-1, keepdim=True)
        self.basis[active, 1] = torch.where(went, displacement, self.basis[active, 1])
        self.waiting = False
        proposed = self.basis[active, 0].abs().amax(-1)
        reach = torch.minimum(self.reach[active], _CHANGE * proposed)
        wanted = (REACH * displacement.abs().amax(-1)).clamp(reach / _CHANGE, reach * _CHANGE)
        self.reach[active] = torch.where(proposed > 0, wanted, self.reach[active])

    def forget(self, start: int) -> None:
        """A rover begins anew."""
        self.basis[start] = 0.0
        self.reach[start] = float("inf")

    def state_dict(self) -> dict[str, Any]:
        """Tensors and a flag."""
        return {"waiting": self.waiting, "basis": self.basis.clone(), "reach": self.reach.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.waiting = state["waiting"]
        self.basis, self.reach = state["basis"].clone(), state["reach"].clone()
