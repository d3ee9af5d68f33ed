"""Find and certify the global minimum of Gaussian fields that have no closed form: a dense grid, then Newton."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_HALF_WIDTH = 5.0  # in length scales: beyond it the field is below exp(-8) of its largest weight
_RESOLUTION = 41
_CANDIDATES = 4
_NEWTON_STEPS = 12


def certify_minimum(field: Any) -> tuple[Tensor, Tensor]:
    """Global minimiser and minimum of fields with four centres.

    A 41 x 41 grid over +-5 length scales finds the basins; the best four points are refined by Newton steps that are
    accepted only where they lower the value (gradient steps where the Hessian is not positive definite).

    Args:
        field: `Prototypes` of one modality, with `centers (B, C, 2)`, `weights (B, C)` and `whitener (B, 2, 2)`.

    Returns:
        minimiser ``(B, 2)`` and minimum ``(B,)``.
    """
    w, weights, whitener = field.whitener, field.weights, field.whitener
    axis = torch.linspace(-_HALF_WIDTH, _HALF_WIDTH, _RESOLUTION, dtype=w.dtype, device=w.device)
    z = torch.cartesian_prod(axis, axis)  # (P, 2), whitened
    centers = torch.einsum("bij,bci->bcj", whitener, field.centers)[:, None]  # W' c: (B, 1, C, 2)
    eye = torch.eye(2, dtype=w.dtype, device=w.device)

    def values(x: Tensor) -> Tensor:  # (B, P, 2) whitened -> (B, P)
        return ((-0.5 * (x[:, :, None] - centers).square().sum(-1)).exp() * weights[:, None]).sum(-1)

    # On a grid in whitened coordinates the correlation is a product of one factor a coordinate.
    factors = (-0.5 * (axis[:, None] - centers[:, 0].mT[:, :, None]).square()).exp()  # (B, 2, G, C)
    coarse = ((factors[:, 0] * weights[:, None]) @ factors[:, 1].mT).flatten(1)  # (B, G * G)
    x = z[coarse.topk(_CANDIDATES, largest=False).indices]  # (B, K, 2)
    best = values(x)
    for _ in range(_NEWTON_STEPS):
        delta = x[:, :, None] - centers  # (B, K, C, 2)
        terms = (-0.5 * delta.square().sum(-1)).exp() * weights[:, None]
        gradient = -(terms[..., None] * delta).sum(2)
        hessian = torch.einsum("bkc,bkci,bkcj->bkij", terms, delta, delta) - terms.sum(-1)[..., None, None] * eye
        a, b, d = hessian[..., 0, 0], hessian[..., 0, 1], hessian[..., 1, 1]
        det = a * d - b * b
        newton = torch.stack(
            [d * gradient[..., 0] - b * gradient[..., 1], a * gradient[..., 1] - b * gradient[..., 0]], -1
        )
        convex = ((det > 0) & (a > 0))[..., None]
        safe = torch.where(convex, det[..., None], 1.0)
        slope = gradient.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        step = torch.where(convex, -newton / safe, -0.25 * gradient / slope)
        step = step * (0.5 / step.norm(dim=-1, keepdim=True).clamp(min=0.5))
        for factor in (1.0, 0.25):
            trial = x + factor * step
            found = values(trial)
            better = found <= best
            x, best = torch.where(better[..., None], trial, x), torch.where(better, found, best)
    minimum, index = best.min(-1)
    chosen = x[torch.arange(len(x), device=x.device), index]  # (B, 2)
    return torch.linalg.solve(whitener.mT, chosen), minimum
