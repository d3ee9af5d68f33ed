"""What the rover sees: an n x n grid of values around itself, rescaled to [0, 1] (eq 1)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _offsets(grid_size: int, device: torch.device) -> Tensor:
    axis = torch.arange(grid_size, dtype=torch.float64, device=device) - (grid_size - 1) / 2
    return torch.cartesian_prod(axis, axis)


def grid_offsets(grid_size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64) -> Tensor:
    """Offsets ``(i - (n-1)/2, j - (n-1)/2)`` in row-major order: ``(n * n, 2)``. Deviation D2 (centred, ascending).

    Raises:
        ValueError: if `grid_size` is less than 2: a grid of one point shows nothing.
    """
    if grid_size < 2:
        raise ValueError(f"`grid_size` must be at least 2, got {grid_size}: one point shows no slope")
    return _offsets(grid_size, torch.device(device)).to(dtype)


def grid_points(theta: Tensor, delta: Tensor, grid_size: int, frame: Tensor | None = None) -> Tensor:
    """Sampling points ``theta + delta M (i - (n-1)/2, j - (n-1)/2)`` (eq 1; the identity frame M is the paper's).

    Args:
        theta: ``(..., 2)``.
        delta: ``(...,)``, the distance between neighbouring points.
        grid_size: n.
        frame: ``(..., 2, 2)`` or None for the identity.

    Returns:
        ``(..., n * n, 2)``, row-major: the first coordinate varies slowest.
    """
    offsets = grid_offsets(grid_size, theta.device, theta.dtype)
    if frame is None:
        return theta[..., None, :] + delta[..., None, None] * offsets
    return theta[..., None, :] + offsets @ (delta[..., None, None] * frame).mT


def rescale(values: Tensor, grid_size: int) -> Tensor:
    """Rescale the sampled values linearly to [0, 1] (section 3.2.1).

    NaN and infinities count as worse than all finite values: they become 1 (so does minus infinity, which no minimum can
    be told from). A surface without a slope (constant, or nothing finite) is 0.5 everywhere. Never NaN.

    Args:
        values: ``(..., n * n)``.
        grid_size: n.

    Returns:
        ``(..., n, n)``, float32: the subtraction is done in the precision of `values`.
    """
    finite = values.isfinite()
    infinity = float("inf")
    low = torch.where(finite, values, infinity).amin(-1, keepdim=True)
    high = torch.where(finite, values, -infinity).amax(-1, keepdim=True)
    # Halved before the subtraction: the range of finite float64 values may overflow.
    span = high / 2 - low / 2
    flat = ~(span > 0)
    scaled = (values / 2 - low / 2) / torch.where(flat, 1.0, span)
    scaled = torch.where(flat, torch.where(finite, 0.5, 1.0), torch.where(finite, scaled, 1.0))
    scaled = torch.where((~finite).all(-1, keepdim=True), 0.5, scaled)
    return scaled.to(torch.float32).unflatten(-1, (grid_size, grid_size))
