"""How close to look, where a quadratic model of the grid can tell (beyond the paper, for two variables).

A policy at most halves its resolution in a round, which makes ten digits cost thirty rounds. Near a minimum that is too
timid: the model that the grid gives away already names the minimiser to a small part of a cell. How well it does so is
measured in two ways, in half-windows: by how far the centre, where the last round went, is from the minimiser of this
round's model, and by how far what the model leaves unexplained could displace it. The next window is a few times as
large as the greater of the two. Newton's method in all but name: the error is squared in a round.

Where no quadratic is exact, at a kink for one, a best point with points all around is a bracket, and the next window is at
most half as large. A policy has seen smooth surfaces only, and would keep its window. Not where the grid shows more basins than
its points can tell apart: the policy may know better which way the lowest is.

Under noise the same halving is too bold: a grid on which f varies less than the noise shows nothing, and all later rounds
are wasted. There the window is kept so large that the signal in the last grids stands out from the noise, and the rover
goes where a model of all of them is least (:mod:`rover.optimize.recent`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from rover.navigation.grid import grid_offsets
from rover.navigation.quadratic_fit import fit_quadratic, solve_2x2, symmetric_eigenvalues
from rover.optimize.recent import Model

MARGIN = 2.0
"""By how much the next window exceeds the error of the model."""
FINEST = 2.0**-10
"""The smallest next window, in windows."""
COARSEST = 0.5
"""A model that would make the next window larger than this is not believed; a bracket makes it as large as this."""
POINTS_A_BASIN = 16
"""A grid with fewer points for each of its local minima may not show the lowest of them: there is no bracket."""
SIGNAL = 1.0
"""Under noise: ratio of the variances of f and of the noise for which the window aims, a grid's worth of points taken."""
BLANK = 0.1
"""Under noise: below this ratio a grid shows nothing, and the rover stays where it is."""


class Focus(NamedTuple):
    """What models of A grids say."""

    move: Tensor  # (A, 2) from the centre, in half-windows; NaN where the policy decides
    finest: Tensor  # (A,) the least next window, in windows
    coarsest: Tensor  # (A,) the largest


def focus(values: Tensor, grid_size: int) -> Focus:
    """Read noise-free grids ``(A, n * n)``, float64, n >= 3; what is not finite is left to the policy."""
    low, high = values.aminmax(dim=-1, keepdim=True)
    scaled = (values - low) / (high - low)
    fit = fit_quadratic(scaled.unflatten(-1, (grid_size, grid_size)))
    offset, curvature, inside = _minimiser(fit.gradient, fit.hessian)
    count = grid_size * grid_size
    unexplained = (1 - fit.explained) * scaled.var(-1, correction=0) * count / max(count - 6, 1)
    window = MARGIN * torch.maximum(torch.linalg.vector_norm(offset, dim=-1), unexplained.sqrt() / curvature)
    sure = inside & (window < COARSEST)
    window = window.clamp(min=FINEST)
    move = torch.where(sure[:, None], offset, float("nan"))
    otherwise = torch.where(_bracketed(values, grid_size), COARSEST, float("inf"))
    return Focus(move, torch.where(sure, window, 0.0), torch.where(sure, window, otherwise))


def focus_noisy(values: Tensor, grid_size: int, model: Model) -> Focus:
    """Read noisy grids ``(A, n * n)``, float64, n >= 3, whose rovers have this model of their surroundings."""
    square = values.unflatten(-1, (grid_size, grid_size))
    twist = square[:, 1:, 1:] - square[:, :-1, 1:] - square[:, 1:, :-1] + square[:, :-1, :-1]
    noise = twist.square().mean((-1, -2)) / 4  # a variance; a smooth surface has next to none of these differences
    ratio = (values.var(-1) / noise - 1).clamp(min=1e-6)
    offset, _, inside = _minimiser(model.gradient, model.hessian)
    blank = ratio < BLANK
    sure = inside & ~blank
    move = torch.where(sure[:, None], offset, torch.where(blank[:, None], 0.0, float("nan")))
    # A bowl's variance grows with the fourth power of the window, a slope's with the second.
    pooled = ratio * (model.weight / values.shape[-1]).clamp(min=1)
    finest = ((SIGNAL / pooled) ** torch.where(inside, 0.25, 0.5)).clamp(max=2.0)
    error = MARGIN * torch.linalg.vector_norm(offset, dim=-1)
    coarsest = torch.where(sure, torch.maximum(finest, error).clamp(0.5), float("inf"))
    seen = ratio.isfinite()
    return Focus(
        torch.where(seen[:, None], move, float("nan")),
        torch.where(seen, finest, 0.0),
        torch.where(seen, coarsest, float("inf")),
    )


def _bracketed(values: Tensor, grid_size: int) -> Tensor:
    """Whether the best points of grids ``(A, n * n)`` have points all around, and the grids enough points for their basins."""
    square = torch.where(values.isfinite(), values, float("inf")).unflatten(-1, (grid_size, grid_size))
    basins = (square == -max_pool2d(-square, 3, stride=1, padding=1)).sum((-1, -2))
    best = grid_offsets(grid_size)[square.flatten(-2).argmin(-1)]
    return (best.abs() < grid_size // 2).all(-1) & (basins <= max(grid_size**2 / POINTS_A_BASIN, 2))


def _minimiser(gradient: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where models ``(A, 2)``, ``(A, 2, 2)`` are least, their smaller curvature, and whether that is in the window."""
    adjugate, det = solve_2x2(hessian, gradient)
    offset = -adjugate / det[:, None]
    curvature = symmetric_eigenvalues(hessian)[:, 0]
    return offset, curvature, (curvature > 0) & (offset.abs().amax(-1) <= 1)
