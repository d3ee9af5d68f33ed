"""Least-squares quadratic fit to a grid: the yardstick of the direction, the source of the frame, and fixed features.

All in *window units*: the grid spans [-1, 1]^2 whatever its resolution, so that nothing here depends on delta.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rover.navigation.grid import grid_offsets


class QuadraticFit(NamedTuple):
    """``value(u) = constant + gradient' u + u' hessian u / 2`` for u in [-1, 1]^2."""

    constant: Tensor  # (...,)
    gradient: Tensor  # (..., 2)
    hessian: Tensor  # (..., 2, 2)
    explained: Tensor  # (...,) share of the grid's variance that the fit explains, in [0, 1]; 0 for a flat grid


def quadratic_basis(u: Tensor, v: Tensor) -> Tensor:
    """What the coefficients of :func:`slope_and_curvature` multiply: ``(...,)`` twice -> ``(..., 6)``."""
    return torch.stack([torch.ones_like(u), u, v, u * u / 2, u * v, v * v / 2], -1)


def slope_and_curvature(coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients ``(..., 6)`` -> the constant ``(...,)``, the gradient ``(..., 2)`` and the Hessian ``(..., 2, 2)``."""
    rows = torch.cat([coefficients[..., 3:5], coefficients[..., 4:6]], -1)
    return coefficients[..., 0], coefficients[..., 1:3], rows.unflatten(-1, (2, 2))


@lru_cache(maxsize=32)
def _basis(grid_size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    u, v = (grid_offsets(grid_size, device) * (2 / (grid_size - 1))).unbind(-1)
    basis = quadratic_basis(u, v)  # (n * n, 6)
    return basis.to(dtype), torch.linalg.pinv(basis).to(dtype)


def fit_quadratic(grid: Tensor) -> QuadraticFit:
    """Fit ``(..., n, n)`` grids (n >= 3) by least squares."""
    basis, inverse = _basis(grid.shape[-1], grid.device, grid.dtype)
    flat = grid.flatten(-2)
    coefficients = flat @ inverse.mT  # (..., 6)
    residual = flat - coefficients @ basis.mT
    spread = (flat - flat.mean(-1, keepdim=True)).square().sum(-1)
    explained = torch.where(spread > 0, 1 - residual.square().sum(-1) / spread.clamp(min=1e-30), 0.0).clamp(0, 1)
    return QuadraticFit(*slope_and_curvature(coefficients), explained)


def solve_2x2(matrix: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """``adj(M) v`` and ``det M``: the solution of ``M x = v`` is their ratio; never raises on singular matrices.

    Args:
        matrix: ``(..., 2, 2)``.
        vector: ``(..., 2)``.
    """
    (a, b), (c, d) = matrix[..., 0, :].unbind(-1), matrix[..., 1, :].unbind(-1)
    x, y = vector.unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], -1), a * d - b * c


def fit_direction(fit: QuadraticFit) -> Tensor:
    """The direction a quadratic model suggests: Newton where its Hessian is positive definite, else the gradient.

    Returns:
        unit vectors ``(..., 2)``; zero where the grid is flat.
    """
    adjugate, det = solve_2x2(fit.hessian, fit.gradient)
    convex = (det > 0) & (fit.hessian[..., 0, 0] > 0)
    step = -torch.where(convex[..., None], adjugate, fit.gradient)
    return step / torch.linalg.vector_norm(step, dim=-1, keepdim=True).clamp(min=1e-12)


def symmetric_eigenvalues(matrix: Tensor) -> Tensor:
    """Eigenvalues (ascending) of symmetric 2 x 2 matrices in closed form: ``(..., 2, 2) -> (..., 2)``."""
    a, b, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
    middle, radius = (a + d) / 2, torch.hypot((a - d) / 2, b)
    return torch.stack([middle - radius, middle + radius], -1)


def symmetric_eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors of symmetric 2 x 2 matrices in closed form.

    Args:
        matrix: ``(..., 2, 2)``.

    Returns:
        values ``(..., 2)`` and an orthogonal ``(..., 2, 2)`` whose columns are the vectors.
    """
    half = (matrix[..., 0, 0] - matrix[..., 1, 1]) / 2
    angle = 0.5 * torch.atan2(matrix[..., 0, 1], half)  # of the vector that belongs to the larger eigenvalue
    c, s = angle.cos(), angle.sin()
    return symmetric_eigenvalues(matrix), torch.stack([-s, c, c, s], -1).unflatten(-1, (2, 2))
