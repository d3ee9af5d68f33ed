"""The frame: an affine map that the rover carries so that what it stands on looks round (beyond the paper, D5).

A square grid rescaled to [0, 1] cannot show a condition number of 10^4. In the frame M the grid points are
``theta + delta M (i, j)`` and the move is ``alpha M direction``; multiplying M by the inverse square root of |H| of a
quadratic fit to the grid just seen makes the next grid better conditioned. M = identity is the paper's method.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rover.navigation.quadratic_fit import fit_quadratic, symmetric_eigen

MAX_RATIO = 9.0
"""Largest change of the ratio of the eigenvalues in one round."""
MAX_CONDITION = 1e8
"""Largest condition number of the frame itself (1e16 for the Hessian it undoes)."""
MIN_EXPLAINED = 0.95
"""The fit must explain this share of the grid's variance."""

FRAME_RULES = ("none", "quadratic")


def update_frame(frame: Tensor, grid: Tensor, rule: str = "quadratic") -> Tensor:
    """The next frame, from the grid just seen.

    Args:
        frame: ``(..., 2, 2)``, determinant 1 up to sign (alpha and delta carry the scale).
        grid: ``(..., n, n)``, the rescaled grid that was sampled in this frame.
        rule: ``none`` or ``quadratic``.

    Returns:
        ``(..., 2, 2)``; unchanged where the fit does not explain the grid or the condition would exceed its bound.
    """
    if rule == "none" or grid.shape[-1] < 3:
        return frame
    if rule != "quadratic":
        raise ValueError(f"`rule` must be one of {FRAME_RULES}, got {rule!r}")
    fit = fit_quadratic(grid.to(frame.dtype))
    values, vectors = symmetric_eigen(fit.hessian)
    curvature = values.abs()
    largest = curvature.amax(-1, keepdim=True)
    curvature = curvature.clamp(min=largest / MAX_RATIO)
    scale = curvature.clamp(min=1e-30).rsqrt()
    scale = scale / scale.prod(-1, keepdim=True).sqrt()  # determinant 1
    turned = frame @ ((vectors * scale[..., None, :]) @ vectors.mT)
    # |M|_F^2 = s1^2 + s2^2 and s1 s2 = 1: the condition is about |M|_F^2.
    usable = (
        (fit.explained > MIN_EXPLAINED) & (largest[..., 0] > 1e-6) & (turned.square().sum((-1, -2)) < MAX_CONDITION)
    )
    return torch.where(usable[..., None, None], turned, frame)
