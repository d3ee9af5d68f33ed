"""Gradient descent, Nesterov, Adam and Newton on exact derivatives, all instances of a landscape at once.

They see what the rover never sees: noise-free first and second derivatives. A round costs one evaluation (the value at
the new iterate) and one gradient, Newton d more for the Hessian.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rover.evaluation.runs import Run, check_start, true_gaps
from rover.landscapes.base import Landscape

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (theta, velocity) -> the next pair


def value_and_gradient(problem: Landscape, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Noise-free values and gradients: ``(B, d) -> (B,), (B, d)``."""
    theta = theta.detach().requires_grad_()
    value = problem.mean(theta[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(value.sum(), theta)
    return value.detach(), gradient


def learning_rate(problem: Landscape, start: Tensor, length: float) -> Tensor:
    """The rate at which the first step is ``length`` times the smallest box width: ``(B, 1)``; 0 on a flat start."""
    steepness = value_and_gradient(problem, start)[1].norm(dim=-1, keepdim=True)
    width = (problem.upper - problem.lower).amin(-1, keepdim=True)
    return torch.where(steepness > 0, length * width / steepness, 0.0)


def gradient_and_hessian(problem: Landscape, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Noise-free derivatives: ``(B, d) -> (B, d), (B, d, d)``; zero curvature where f is linear piece by piece."""
    theta = theta.detach().requires_grad_()
    value = problem.mean(theta[:, None]).sum()
    (gradient,) = torch.autograd.grad(value, theta, create_graph=True)
    if not gradient.requires_grad:
        return gradient, torch.zeros(*theta.shape, theta.shape[1], dtype=theta.dtype)
    columns = [
        torch.autograd.grad(gradient[:, i].sum(), theta, retain_graph=True, allow_unused=True, materialize_grads=True)[
            0
        ]
        for i in range(theta.shape[1])
    ]
    return gradient.detach(), torch.stack(columns, -1)


def newton_direction(gradient: Tensor, hessian: Tensor, *, absolute: bool, floor: float = 1e-12) -> Tensor:
    """``-H^-1 g`` that survives singular, indefinite and non-finite Hessians: ``(B, d), (B, d, d) -> (B, d)``.

    Args:
        gradient: g.
        hessian: H, symmetric.
        absolute: use ``|H|`` (saddle-free Newton, Dauphin et al. 2014) instead of H, which walks to the nearest
            stationary point of whatever kind.
        floor: eigenvalues below this share of the largest one count as this share of it.
    """
    scale = hessian.abs().amax((-1, -2), keepdim=True)
    usable = (scale.isfinite() & (scale > 0))[:, 0] & gradient.isfinite().all(-1, keepdim=True)
    safe = torch.where(usable[..., None], hessian / scale, torch.eye(hessian.shape[-1], dtype=hessian.dtype))
    eigenvalues, vectors = torch.linalg.eigh(safe)
    magnitude = eigenvalues.abs()
    magnitude = torch.maximum(magnitude, floor * magnitude.amax(-1, keepdim=True))
    divisor = magnitude if absolute else torch.where(eigenvalues < 0, -magnitude, magnitude)
    clean = torch.where(usable, gradient / torch.where(usable, scale[..., 0], 1.0), 0.0)
    return -(vectors @ ((vectors.mT @ clean[..., None]) / divisor[..., None]))[..., 0]


def gradient_descent(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    lr: float = 0.1,
    relative: bool = False,
    **options: Any,
) -> Run:
    """``theta <- theta - lr * g``.

    With ``relative``, `lr` is the length of the first step in box widths instead, so that one value can serve problems
    of every scale. Other options as :func:`descend`.
    """
    hyper = {"lr": lr, "relative": relative}
    rate = learning_rate(problem, start, lr) if relative else lr

    def step(theta: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        return theta - rate * value_and_gradient(problem, theta)[1], velocity

    return descend("gradient_descent", step, problem, start, rounds=rounds, hyper=hyper, **options)


def nesterov(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    lr: float = 0.1,
    momentum: float = 0.9,
    relative: bool = False,
    **options: Any,
) -> Run:
    """``v <- momentum v - lr g(theta + momentum v)``, ``theta <- theta + v``. Options as :func:`gradient_descent`."""
    rate = learning_rate(problem, start, lr) if relative else lr

    def step(theta: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        ahead = theta + momentum * velocity
        velocity = momentum * velocity - rate * value_and_gradient(problem, ahead)[1]
        return theta + velocity, velocity

    hyper = {"lr": lr, "momentum": momentum, "relative": relative}
    return descend("nesterov", step, problem, start, rounds=rounds, hyper=hyper, **options)


def adam(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    lr: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.999,
    **options: Any,
) -> Run:
    """Adam (Kingma & Ba 2015) with bias correction and epsilon 1e-8. Options as :func:`descend`."""
    square = torch.zeros_like(start.double())
    t = 0

    def step(theta: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal square, t
        t += 1
        gradient = value_and_gradient(problem, theta)[1]
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient.square()
        length = (square / (1 - beta2**t)).sqrt() + 1e-8
        return theta - lr * mean / (1 - beta1**t) / length, mean

    hyper = {"lr": lr, "beta1": beta1, "beta2": beta2}
    return descend("adam", step, problem, start, rounds=rounds, hyper=hyper, **options)


def newton(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    lr: float = 1.0,
    absolute: bool = False,
    **options: Any,
) -> Run:
    """``theta <- theta - lr H^-1 g``, see :func:`newton_direction`. Options as :func:`descend`."""

    def step(theta: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        return theta + lr * newton_direction(*gradient_and_hessian(problem, theta), absolute=absolute), velocity

    hyper = {"lr": lr, "absolute": absolute}
    return descend("newton", step, problem, start, rounds=rounds, hyper=hyper, calls=1 + problem.dim, **options)


def descend(
    method: str,
    step: Step,
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    hyper: dict[str, Any],
    calls: int = 1,
    max_evaluations: int | None = None,
    noisy: bool = False,
    bounded: bool = False,
) -> Run:
    """Iterate a step on all instances together and keep the best iterate of each.

    Args:
        method: name in the result.
        step: maps ``(theta, velocity)`` to the next pair.
        problem: B instances.
        start: ``(B, d)``.
        rounds: number of steps T.
        hyper: kept in the result.
        calls: derivative calls a step.
        max_evaluations: at one evaluation a step, a limit on the steps.
        noisy: ignored, derivatives are exact.
        bounded: project every iterate onto the box.
    """
    del noisy
    check_start(problem, start)
    if max_evaluations is not None:
        rounds = min(rounds, max_evaluations - 1)
    theta = start.to(problem.minimum.dtype).clone()
    velocity = torch.zeros_like(theta)
    path, seconds, began = [theta], [0.0], time.perf_counter()
    for _ in range(rounds):
        moved, velocity = step(theta, velocity)
        if bounded:
            projected = moved.clamp(problem.lower, problem.upper)
            velocity = torch.where(moved == projected, velocity, 0.0)  # a wall stops the motion into it
            moved = projected
        # A run that has left the finite numbers stays where it was last seen.
        gone = ~moved.isfinite().all(-1, keepdim=True)
        theta = torch.where(gone, theta, moved)
        velocity = torch.where(gone, 0.0, velocity)
        path.append(theta)
        seconds.append(time.perf_counter() - began)
    gap = true_gaps(problem, torch.stack(path, 1), bounded=bounded)
    rows = np.arange(rounds + 1)[None].repeat(problem.batch_size, 0)
    return Run(
        method=method,
        current=gap,
        best=np.minimum.accumulate(gap, 1),
        evaluations=rows + 1,
        derivatives=calls * rows,
        seconds=np.array(seconds)[None].repeat(problem.batch_size, 0),
        hyper=hyper,
    )
