"""Gaussian random fields conditioned on a few values: valleys, saddles, plateaus + cliffs (appendix 6.1, eqs 11-12).

The covariance is ``k(x, x') = |2 pi S|^(-1/2) exp(-(x - x')' S^-1 (x - x') / 2)``. Conditioned on ``f(c_i) = v_i`` the field
has mean ``k(x)' K^-1 v`` and variance ``k(x, x) - k(x)' K^-1 k(x)``. The factor ``|2 pi S|^(-1/2)`` cancels in the mean
and sets the size of the noise, so both are computed with the correlation ``phi = k / k(x, x)``.

With ``S^-1 = W W'`` the correlation is ``exp(-|W'(x - c)|^2 / 2)``: `whitener` is W.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def correlation(points: Tensor, centers: Tensor, whitener: Tensor) -> Tensor:
    """``exp(-|W'(x - c)|^2 / 2)`` for all pairs.

    Args:
        points: ``(B, P, 2)``.
        centers: ``(B, C, 2)``.
        whitener: ``(B, 2, 2)``, W with ``S^-1 = W W'``.

    Returns:
        ``(B, C, P)``.
    """
    # The quadratic form is written out by component: dense over P, without batched 2x2 products and reductions; in place
    # where autograd allows it, because fresh memory costs more than arithmetic.
    w = math.sqrt(0.5) * whitener[:, None, None]  # (B, 1, 1, 2, 2)
    dx = points[:, None, :, 0] - centers[:, :, None, 0]  # (B, C, P)
    dy = points[:, None, :, 1] - centers[:, :, None, 1]
    first = (dx * w[..., 0, 0]).addcmul_(dy, w[..., 1, 0])
    second = dx.mul_(w[..., 0, 1]).addcmul_(dy, w[..., 1, 1])
    return first.square().addcmul_(second, second).neg_().exp_()


def solve_weights(values: Tensor, centers: Tensor, whitener: Tensor) -> tuple[Tensor, Tensor]:
    """Condition the field on ``f(centers) = values``.

    Args:
        values: ``(B, C)``.
        centers: ``(B, C, 2)``.
        whitener: ``(B, 2, 2)``.

    Returns:
        ``Phi^-1 v`` of shape ``(B, C)`` and ``Phi^-1`` of shape ``(B, C, C)``, Phi the correlation matrix of the centres.
    """
    inverse = torch.linalg.inv(correlation(centers, centers, whitener))
    return (inverse @ values[..., None])[..., 0], inverse


def prior_std(whitener: Tensor) -> Tensor:
    """``k(x, x)^(1/2) = |2 pi S|^(-1/4)``: the standard deviation far from every centre, ``(B, 2, 2) -> (B,)``."""
    det = whitener[:, 0, 0] * whitener[:, 1, 1] - whitener[:, 0, 1] * whitener[:, 1, 0]
    return (det.abs() / (2 * math.pi)).sqrt()


def mean_of(phi: Tensor, weights: Tensor) -> Tensor:
    """Mean of the conditional distribution (12): ``(B, C, P), (B, C) -> (B, P)``."""
    if phi.shape[1] == 1:
        return phi[:, 0] * weights
    return (weights[:, None] @ phi)[:, 0]


def std_of(phi: Tensor, inverse: Tensor, prior: Tensor) -> Tensor:
    """Standard deviation of the conditional distribution (12): ``(B, C, P), (B, C, C), (B,) -> (B, P)``."""
    explained = phi[:, 0].square() if phi.shape[1] == 1 else ((inverse @ phi) * phi).sum(1)
    return (1 - explained).clamp_(min=0).sqrt_().mul_(prior[:, None])
