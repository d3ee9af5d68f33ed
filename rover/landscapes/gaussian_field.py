"""Gaussian random fields conditioned on a few values: valleys, saddles, plateaus + cliffs (appendix 6.1, eqs 11-12).

The covariance is ``k(x, x') = |2 pi S|^(-1/2) exp(-(x - x')' S^-1 (x - x') / 2)``. Conditioned on ``f(c_i) = v_i`` the field
has mean ``k(x)' K^-1 v`` and variance ``k(x, x) - k(x)' K^-1 k(x)``. The factor ``|2 pi S|^(-1/2)`` cancels in the mean
and sets the size of the noise, so both are computed with the correlation ``phi = k / k(x, x)``.

With ``S^-1 = W W'`` the correlation is ``exp(-|W'(x - c)|^2 / 2)``: `whitener` is W. Points are many and matrices few, so
the quadratic form is evaluated as ``(r dx + s dy)^2 + t dy^2``, in as few passes over the points as it can be: `root` is
``(r, s, t)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def triangular_root(factor: Tensor) -> Tensor:
    """``(r, s, t)`` with ``|F'x|^2 = (r x_1 + s x_2)^2 + t x_2^2``: ``(B, 2, 2) -> (B, 3)``, for invertible F."""
    a, b, c, d = factor[:, 0, 0], factor[:, 0, 1], factor[:, 1, 0], factor[:, 1, 1]
    square = a.square() + b.square()
    return torch.stack([square.sqrt(), (a * c + b * d) / square.sqrt(), (a * d - b * c).square() / square], -1)


def quadratic_form(points: Tensor, centers: Tensor, root: Tensor, sign: float = 1.0) -> Tensor:
    """``sign |F'(x - c)|^2`` for all pairs.

    Args:
        points: ``(B, P, 2)``.
        centers: ``(B, C, 2)``.
        root: ``(B, 3)``, the :func:`triangular_root` of F.
        sign: a factor.

    Returns:
        ``(B, C, P)``.
    """
    # By component, so that every pass is dense over P; in place where autograd allows it, because fresh memory costs more
    # than arithmetic.
    r, s, t = root[:, None, None].unbind(-1)  # (B, 1, 1)
    x, y = points[:, None].unbind(-1)  # (B, 1, P)
    a, b = centers[:, :, None].unbind(-1)  # (B, C, 1)
    dy = y - b  # (B, C, P)
    shared = centers.shape[1] > 1  # then the slanted coordinate is formed once for all centres
    slanted = (x * r).addcmul_(y, s) - (r * a + s * b) if shared else ((x - a) * r).addcmul_(dy, s)
    return dy.square_().mul_(sign * t).addcmul_(slanted, slanted, value=sign)


def correlation(points: Tensor, centers: Tensor, root: Tensor) -> Tensor:
    """``exp(-|W'(x - c)|^2 / 2)`` for all pairs: ``(B, P, 2), (B, C, 2) -> (B, C, P)``; `root` is that of ``W / sqrt(2)``."""
    return quadratic_form(points, centers, root, -1.0).exp_()


def solve_weights(values: Tensor, centers: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Condition the field on ``f(centers) = values``.

    Args:
        values: ``(B, C)``.
        centers: ``(B, C, 2)``.
        root: ``(B, 3)``, see :func:`correlation`.

    Returns:
        ``Phi^-1 v`` of shape ``(B, C)`` and ``Phi^-1`` of shape ``(B, C, C)``, Phi the correlation matrix of the centres.
    """
    inverse = torch.linalg.inv(correlation(centers, centers, root))
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
    if phi.shape[1] == 1:
        explained = phi[:, 0].square()
    else:
        weighted = inverse @ phi
        explained = (weighted * phi if weighted.requires_grad else weighted.mul_(phi)).sum(1)
    return (1 - explained).clamp_(min=0).sqrt_().mul_(prior[:, None])
