"""The rule ``anchor = best``: a move that would miss the best point of its grid goes there instead (beyond the paper)."""

from __future__ import annotations

import torch
from torch import Tensor


def anchored(move: Tensor, values: Tensor, offsets: Tensor, delta: Tensor, frame: Tensor) -> Tensor:
    """The moves, or where a move would miss the cell of the best point of its grid, the way there.

    Not where the best point is on the rim and the move leads beyond it: there may be more where that came from.

    Args:
        move: ``(..., 2)``, from the centres of the grids.
        values: ``(..., P)``, with NaN and infinities as worse than everything finite.
        offsets: ``(P, 2)``, of the points of a grid, in cells.
        delta: ``(...,)``, the length of a cell.
        frame: ``(..., 2, 2)``, invertible.

    Returns:
        ``(..., 2)``.
    """
    half, delta = offsets.max(), delta[..., None]
    best = offsets[torch.where(values.isfinite(), values, float("inf")).argmin(-1)]
    landing = torch.linalg.solve_ex(frame, move)[0] / delta
    missed = (landing - best).abs().amax(-1) > 1
    stays = (best.abs().amax(-1) < half) | (landing.abs().amax(-1) <= half + 0.5)
    return torch.where((missed & stays)[..., None], delta * (frame @ best[..., None])[..., 0], move)
