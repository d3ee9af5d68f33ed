"""The two teachers of the direction: gradient descent and Newton, each with a line search (3.2.2).

The better one is whose step lowers f most. Derivatives are exact (autograd through :meth:`Landscape.mean`), values are
noise-free: the teacher knows the surface, the pupil only sees a noisy grid of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rover.landscapes.base import Landscape
from rover.navigation.quadratic_fit import symmetric_eigen


class Lesson(NamedTuple):
    """What the better teacher does at one point of each instance."""

    step: Tensor  # (B, 2) its full step, line search included
    gain: Tensor  # (B,) by how much the step lowers f; not positive where neither teacher knows a way down
    newton: Tensor  # (B,) bool, whether it was Newton


def derivatives(landscape: Landscape, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value ``(B,)``, gradient ``(B, 2)`` and Hessian ``(B, 2, 2)`` at ``theta (B, 2)``, by autograd."""
    with torch.enable_grad():
        x = theta.detach().requires_grad_()
        value = landscape.mean(x[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        rows = [torch.autograd.grad(gradient[:, k].sum(), x, retain_graph=k == 0)[0] for k in range(2)]
    hessian = torch.stack(rows, -2)
    return value.detach(), gradient.detach(), (hessian + hessian.mT) / 2


def gradient_step(gradient: Tensor) -> Tensor:
    """A unit step downhill; zero where the gradient vanishes: ``(B, 2)``."""
    norm = gradient.norm(dim=-1, keepdim=True)
    return -gradient / torch.where(norm > 0, norm, 1.0)


def newton_step(gradient: Tensor, hessian: Tensor, *, saddle_free: bool = True) -> Tensor:
    """``-|H|^-1 g``: Newton where H is positive definite, finite for singular and indefinite H: ``(B, 2)``.

    Plain Newton, ``-H^-1 g``, climbs where the curvature is negative; with the absolute eigenvalues (saddle-free Newton,
    Dauphin et al. 2014) it descends everywhere, and the lesson does not jump where an eigenvalue changes its sign
    (Deviation D10). Eigenvalues below a millionth of the largest are raised to it, and the step is at most 10 long.
    """
    values, vectors = symmetric_eigen(hessian)
    size = values.abs()
    curvature = size.clamp(min=1e-6 * size.amax(-1, keepdim=True)).clamp(min=1e-150)
    if not saddle_free:
        curvature = torch.where(values < 0, -curvature, curvature)
    inner = (vectors.mT @ gradient[..., None])[..., 0]
    step = -(vectors @ (inner / curvature)[..., None])[..., 0]
    length = step.abs().amax(-1, keepdim=True)  # a norm would overflow
    return step * (10 / length.clamp(min=10))


def line_search(landscape: Landscape, theta: Tensor, step: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """The best of ``theta + factor * step`` over a ladder of factors, all evaluated at once.

    Args:
        landscape: B instances.
        theta, step: ``(B, 2)``.
        factors: ``(K,)``.

    Returns:
        the best factor and the value there, ``(B,)`` each.
    """
    values = landscape.mean(theta[:, None] + factors[:, None] * step[:, None])
    best, index = values.min(-1)
    return factors[index], best


def teach(landscape: Landscape, theta: Tensor, *, saddle_free: bool = True) -> Lesson:
    """The step of the better teacher at ``theta (B, 2)``; `saddle_free` says which Newton, see :func:`newton_step`."""
    here, gradient, hessian = derivatives(landscape, theta)
    downhill, newton = gradient_step(gradient), newton_step(gradient, hessian, saddle_free=saddle_free)
    lengths = torch.logspace(-3, 1, 21, dtype=theta.dtype, device=theta.device)
    damping = 2.0 ** torch.arange(-6, 4, dtype=theta.dtype, device=theta.device)
    length, value = line_search(landscape, theta, downhill, lengths)
    factor, newton_value = line_search(landscape, theta, newton, damping)
    chosen = newton_value < value
    step = torch.where(chosen[:, None], factor[:, None] * newton, length[:, None] * downhill)
    return Lesson(step, here - torch.minimum(value, newton_value), chosen)
