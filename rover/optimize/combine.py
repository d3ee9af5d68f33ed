"""From the moves in m slices to one move in d dimensions (section 3.3, eqs 8-10)."""

from __future__ import annotations

import torch
from torch import Tensor


def combine(move: Tensor, seen: Tensor, pairs: Tensor, dim: int) -> Tensor:
    """The least-squares solution of (8): for each axis the mean over the slices that saw something along it.

    Args:
        move: ``(m, A, 2)``, of A rovers in m slices; in one or two dimensions m is 1.
        seen: ``(m, A)`` bool, whether a slice saw a finite value.
        pairs: ``(m, 2)``, the axes of each slice.
        dim: d.

    Returns:
        ``(A, d)``; zero along axes of which nothing was seen.
    """
    move = torch.where(seen[..., None], move, 0.0)
    if dim <= 2:
        return move[0, :, :dim]
    axes = pairs.flatten()
    total = torch.zeros(dim, move.shape[1], dtype=move.dtype)
    count = torch.zeros_like(total)
    total.index_add_(0, axes, move.transpose(1, 2).flatten(0, 1))
    count.index_add_(0, axes, seen.to(move.dtype).repeat_interleave(2, 0))
    return (total / count.clamp(min=1)).T
