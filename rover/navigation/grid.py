"""What the rover sees: an n x n grid of values around itself, rescaled to [0, 1] (eq 1)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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
    # A coordinate at a time (the result is a transposed view): that is how surfaces read points, and three times faster.
    offsets = grid_offsets(grid_size, theta.device, theta.dtype).mT
    if frame is None:
        return torch.addcmul(theta[..., None], delta[..., None, None], offsets).mT
    return (theta[..., None] + (delta[..., None, None] * frame) @ offsets).mT


class Sight(NamedTuple):
    """A grid of values, split into its shape and its two numbers; equal for f and a f + b up to those numbers."""

    grid: Tensor  # (..., n, n) float32 in [0, 1]
    level: Tensor  # (...,) mean of the central values (at most one cell from the centre), in the units of f
    span: Tensor  # (...,) largest minus smallest finite value, in the units of f; 0 where the grid is flat


def look(values: Tensor, grid_size: int) -> Sight:
    """Rescale the sampled values linearly to [0, 1] (section 3.2.1), and keep what the rescaling took away.

    NaN and infinities count as worse than all finite values: they become 1 (so does minus infinity, which no minimum can
    be told from). A surface without a slope (constant, or nothing finite) is 0.5 everywhere. Never NaN.

    Args:
        values: ``(..., n * n)``.
        grid_size: n.
    """
    low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    span = high - low
    if values.is_cpu and bool((span.isfinite() & (span > 8 * torch.finfo(values.dtype).tiny)).all()):
        # The usual case, in a quarter of the passes over the grids. Elsewhere to ask would mean to wait for the device.
        scaled = (values - low) / span
    else:
        scaled, low, span = _rescale_any(values)
    level = torch.nan_to_num(low[..., 0]) + span[..., 0] * (scaled @ _central(grid_size, values.device, values.dtype))
    return Sight(scaled.to(torch.float32).unflatten(-1, (grid_size, grid_size)), level, span[..., 0])


def _rescale_any(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rescaled values, the lowest finite one and the range, whatever the values are."""
    finite = values.isfinite()
    infinity = float("inf")
    low = torch.where(finite, values, infinity).amin(-1, keepdim=True)
    high = torch.where(finite, values, -infinity).amax(-1, keepdim=True)
    # Halved before the subtraction: the range of finite float64 values may overflow.
    half_span = high / 2 - low / 2
    flat = ~(half_span > 0)
    scaled = (values / 2 - low / 2) / torch.where(flat, 1.0, half_span)
    scaled = torch.where(finite, torch.where(flat, 0.5, scaled), torch.where(finite.any(-1, keepdim=True), 1.0, 0.5))
    return scaled, low, torch.where(flat, 0.0, 2 * half_span)


@lru_cache(maxsize=64)
def _central(grid_size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    near = (_offsets(grid_size, device).abs() <= 1).all(-1).to(dtype)
    return near / near.sum()


def rescale(values: Tensor, grid_size: int) -> Tensor:
    """Only the grid of :func:`look`: ``(..., n * n) -> (..., n, n)``, float32 in [0, 1]."""
    return look(values, grid_size).grid
