"""How well a direction can be told from one noisy grid, whoever looks: bounds for the *field* protocol.

**Orientation.** Suppose that someone knows everything about the surface, the point, the resolution and the noise, except how
the surface is turned and mirrored around the point. From a noisy grid he computes the posterior of that one angle and that
one bit and answers with the circular median of the direction. F_train is invariant under rotations and reflections (the
saddles only under those of a square), so that no predictor that sees one grid can have a smaller mean error than his.

**Quadratics.** Suppose that someone knows that the surface is a quadratic of condition at most 100, and how large the noise
is, and nothing else. The posterior of the six coefficients is normal around the least-squares fit, cut off where the
condition is larger; he answers with its circular median.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rover.landscapes import Prototypes, sample_prototypes
from rover.learning.losses import angle_error
from rover.learning.teachers import derivatives, gradient_step, newton_step, teach
from rover.navigation.grid import grid_offsets, grid_points, rescale
from rover.navigation.quadratic_fit import solve_2x2, symmetric_eigenvalues

_DELTA_RANGE = (0.02, 1.5)
_STEPS = 10
_CHUNK = 16  # states whose posterior is computed at once
_SAMPLES = 400  # of a posterior
_CONDITION = 100.0  # of a quadratic's Hessian, at most: that of A squared


def degrees(direction: Tensor, action: Tensor) -> Tensor:
    """Angle between unit vectors, in degrees: ``(..., 2), (..., 2) -> (...)``."""
    return torch.rad2deg(angle_error(direction, action))


class States(NamedTuple):
    """N points on N surfaces, as a damped teacher's rollout visits them."""

    landscape: Prototypes
    theta: Tensor  # (N, 2)
    delta: Tensor  # (N,)
    action: Tensor  # (N, 2) unit, of the better teacher
    teachers: Tensor  # (N, 2, 2) unit, of gradient descent and of Newton


def visit(num_functions: int, generator: torch.Generator, grid_size: int) -> States:
    """States of the *field* protocol, see :func:`rover.learning.cloning.generate_tuples`."""
    landscape = sample_prototypes(num_functions, generator)
    theta = landscape.sample_starts(generator)
    depth = landscape.mean(theta[:, None])[:, 0] - landscape.minimum
    low, high = _DELTA_RANGE
    index, points, deltas, actions, teachers = [], [], [], [], []
    for _ in range(_STEPS):
        u = torch.rand(num_functions, 2, generator=generator, dtype=theta.dtype)
        lesson = teach(landscape, theta)
        _, gradient, hessian = derivatives(landscape, theta)
        kept = (lesson.gain > 1e-9 * depth).nonzero()[:, 0]
        index.append(kept)
        points.append(theta[kept])
        deltas.append((low * (high / low) ** u[kept, 0]) * 14 / (grid_size - 1))
        actions.append(lesson.step[kept])
        teachers.append(torch.stack([gradient_step(gradient), newton_step(gradient, hessian)], 1)[kept])
        theta = theta + (0.1 + 0.4 * u[:, 1:]) * lesson.step
    unit = [torch.nn.functional.normalize(torch.cat(part), dim=-1) for part in (actions, teachers)]
    return States(landscape.select(torch.cat(index)), torch.cat(points), torch.cat(deltas), *unit)


def look_at(states: States, looks: float, generator: torch.Generator, grid_size: int) -> Tensor:
    """Grids ``(N, n, n)`` with the noise of the mean of so many looks."""
    mean, std = states.landscape.mean_and_std(grid_points(states.theta, states.delta, grid_size))
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return rescale(mean + std * noise / math.sqrt(looks), grid_size)


def orientation_error(states: States, generator: torch.Generator, grid_size: int) -> Tensor:
    """Mean angle error (degrees) of whoever knows all but the orientation, given one noisy grid: ``(N,)``."""
    arc = torch.logspace(-2, math.log10(180), 60, dtype=torch.float64)
    angle = torch.deg2rad(torch.cat([-arc.flip(0), torch.zeros(1, dtype=torch.float64), arc]))  # dense around the truth
    width = torch.gradient(angle)[0]
    width[[0, -1]] /= 2  # -180 and 180 degrees are one angle
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)  # (J, 2, 2)
    eye = torch.eye(2, dtype=torch.float64)
    errors = []
    for part in torch.arange(len(states.theta)).split(_CHUNK):
        landscape, theta = states.landscape.select(part), states.theta[part]
        slope = states.teachers[part, 0]
        mirror = (
            2 * slope[:, :, None] * slope[:, None] - eye
        )  # at the slope: it changes what is seen as little as may be
        mirrored = rotation @ mirror[:, None]
        turns = torch.cat([rotation.expand_as(mirrored), mirrored], 1)  # (S, 2 J, 2, 2), the first half without mirror
        away = grid_points(torch.zeros_like(theta), states.delta[part], grid_size)[:, None]  # (S, 1, P, 2)
        points = theta[:, None, None] + away @ turns  # (S, 2 J, P, 2): the turned surface is f(theta + T' away)
        mean, std = (v.view(points.shape[:-1]) for v in landscape.mean_and_std(points.flatten(1, 2)))
        std = std.clamp(min=1e-6 * landscape.prior[:, None, None])
        truth = len(arc)
        noise = torch.randn(mean[:, truth].shape, generator=generator, dtype=mean.dtype)
        seen = (mean[:, truth] + std[:, truth] * noise)[:, None]
        likelihood = -((seen - mean) / std).square().sum(-1) / 2 - std.log().sum(-1)
        posterior = (likelihood + width.log().repeat(2)).softmax(-1)  # (S, 2 J)
        action = (turns @ states.action[part, None, :, None])[..., 0]  # (S, 2 J, 2), which is also what can be answered
        distance = degrees(action[:, :, None].expand(-1, -1, len(posterior[0]), -1), action[:, None])
        errors.append((distance @ posterior[..., None])[..., 0].amin(-1))
    return torch.cat(errors)


def quadratic_error(states: States, generator: torch.Generator, grid_size: int) -> Tensor:
    """Mean angle error (degrees) of whoever knows that the states are on quadratics, and the noise: ``(N,)``."""
    u, v = (grid_offsets(grid_size) * (2 / (grid_size - 1))).unbind(-1)
    basis = torch.stack([torch.ones_like(u), u, v, u * u / 2, u * v, v * v / 2], -1)  # (n * n, 6)
    root = torch.linalg.cholesky(torch.linalg.inv(basis.mT @ basis))
    errors = []
    for part in torch.arange(len(states.theta)).split(_CHUNK):
        points = grid_points(states.theta[part], states.delta[part], grid_size)
        mean, std = states.landscape.select(part).mean_and_std(points)
        seen = mean + std * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        fit = seen @ torch.linalg.pinv(basis).mT  # (S, 6)
        normal = torch.randn(len(part), _SAMPLES, 6, generator=generator, dtype=fit.dtype)
        _, a, b, aa, ab, bb = (fit[:, None] + std[:, :1, None] * (normal @ root.mT)).unbind(-1)
        hessian = torch.stack([torch.stack([aa, ab], -1), torch.stack([ab, bb], -1)], -2)
        low, high = symmetric_eigenvalues(hessian).unbind(-1)
        possible = (low > 0) & (high < _CONDITION * low)
        possible |= ~possible.any(-1, keepdim=True)
        step = -solve_2x2(hessian, torch.stack([a, b], -1))[0]
        step = step / step.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        distance = degrees(step[:, :, None].expand(-1, -1, _SAMPLES, -1), step[:, None])
        weight = possible.to(fit.dtype) / possible.sum(-1, keepdim=True)
        expected = torch.where(possible, (distance @ weight[..., None])[..., 0], math.inf)
        answer = step[torch.arange(len(part)), expected.argmin(-1)]
        errors.append(degrees(answer, states.action[part]))
    return torch.cat(errors)
