"""The first round when nobody has said how large a step is: samples on many scales at once.

In a box of one or two variables: samples scattered evenly over it. The rover begins at the best of them, with a window
of a third to a sixth of the box's width. Without bounds: a few points on each level of a geometric ladder of radii, 1e-9
to 1e9, around the start. In a box of more variables both: a ladder from half the box down to 1e-6 of it, and scattered
samples. From the values (compared with each other only, so that a f + b changes nothing) follow the start, and a first
grid whose window is as large as the scale on which the surface was seen to fall.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rover.optimize.space import Space

_STEP = 0.5  # decades between two levels
_PAIRS = 6  # of opposite directions on a level, for d > 2, where the budget allows
_PATIENCE = 3  # levels without an improvement after which a walk outwards ends: beyond a barrier lies another basin


SCATTER = 50
"""Least number of samples of the first round in a box of one or two variables, where the budget allows."""


def box_radius(grid_size: int) -> float:
    """Half-window of the first grid in a box, and first step size, in box widths: larger where more points fill it."""
    return max(0.0115 * (grid_size - 1), 0.08)


class Probe(NamedTuple):
    """What to sample, in the space's coordinates, for S starts."""

    points: Tensor  # (S, P, d): the start, then the ladder level by level, then the scatter
    radii: Tensor  # (L,) of the levels, ascending
    per_level: int
    spread_radius: (
        float  # typical distance from a point of the box to the nearest scattered sample; 0 without a scatter
    )


class Choice(NamedTuple):
    """Where S rovers begin, and how large the half-window of their first grids is."""

    theta: Tensor  # (S, d)
    radius: Tensor  # (S,)
    step: Tensor  # (S,) first step sizes


def plan_scatter(space: Space, theta: Tensor, num_points: int, grid_size: int) -> Probe:
    """The starts ``(S, d)`` themselves and `num_points` - 1 samples all over the unit box, the same for each start."""
    scatter = low_discrepancy(num_points - 1, space.dim).expand(len(theta), -1, -1)
    nothing = torch.empty(0, dtype=torch.float64)
    return Probe(torch.cat([theta[:, None], scatter], 1), nothing, 0, box_radius(grid_size))


def plan_probe(space: Space, theta: Tensor, num_points: int) -> Probe:
    """Choose about `num_points` samples a start (twice as many in a box).

    Args:
        space: coordinates and limits.
        theta: ``(S, d)``, starts.
        num_points: price of one ordinary round; the ladder has at least one point a level.
    """
    dim = theta.shape[-1]
    low, high = (-6.0, math.log10(0.5)) if space.bounded else (-9.0, 9.0)
    num_levels = round((high - low) / _STEP) + 1
    radii = 10 ** torch.linspace(low, high, num_levels, dtype=torch.float64)
    per_level = min(max(num_points // num_levels, 1), 8)
    if dim > 2:  # opposite pairs: in many dimensions a few directions may all lead upwards
        per_level = 2 * max(min(num_points // 2, _PAIRS), 1)
    directions = spread_directions(num_levels * per_level, dim) * math.sqrt(max(dim, 2) / 2)
    ladder = theta[:, None] + radii.repeat_interleave(per_level)[:, None] * directions
    parts = [theta[:, None], space.reflect(ladder)]
    spread_radius = 0.0
    if space.bounded and num_points > 1:
        scatter = low_discrepancy(num_points, dim)
        parts.append(scatter.expand(len(theta), -1, -1))
        spread_radius = min(0.5 * num_points ** (-1 / dim), 0.5)
    return Probe(torch.cat(parts, 1), radii, per_level, spread_radius)


def choose(probe: Probe, values: Tensor) -> Choice:
    """Start at the best sample, with a window as large as the scale that led there.

    Without noise this is the level with the lowest value. The spread of the values on the finest levels, where a smooth
    surface does not vary, measures the noise; the coarsest level that is as good up to the noise is taken.

    Args:
        probe: what was sampled.
        values: ``(S, P)``; at least one finite value a start.
    """
    values = torch.where(values.isfinite(), values, float("inf"))
    if not len(probe.radii):
        theta = probe.points[torch.arange(len(values)), values.argmin(-1)]
        radius = torch.full((len(values),), probe.spread_radius, dtype=torch.float64)
        return Choice(theta, radius, radius)
    num_levels, per_level = len(probe.radii), probe.per_level
    chosen = [_choose_one(probe, row, num_levels, per_level) for row in values]
    theta = torch.stack([probe.points[s, where] for s, (where, _) in enumerate(chosen)])
    radius = torch.tensor([radius for _, radius in chosen], dtype=torch.float64)
    return Choice(theta, radius, radius / 2)


def _choose_one(probe: Probe, values: Tensor, num_levels: int, per_level: int) -> tuple[int, float]:
    start, ladder = values[0], values[1 : 1 + num_levels * per_level].view(num_levels, per_level)
    scatter = values[1 + num_levels * per_level :]
    level_best, level_where = ladder.min(-1)
    noise = _noise(start, ladder)
    if probe.spread_radius and scatter.min() < torch.minimum(level_best.min(), start) - noise:
        return 1 + num_levels * per_level + int(scatter.argmin()), 1.5 * probe.spread_radius
    reach = num_levels if probe.spread_radius else _outward_walk(start, level_best)
    best = level_best[:reach].min()
    if not best.isfinite() and start.isfinite():
        return 0, float(probe.radii[0])
    level = int((level_best[:reach] <= best + noise).nonzero()[-1])
    where = 1 + level * per_level + int(level_where[level])
    if start < level_best[level] - noise:  # every sample is worse: look at the finest scale on which that is so
        return 0, float(probe.radii[level])
    return where, float(probe.radii[level])


def _noise(start: Tensor, ladder: Tensor) -> Tensor:
    """Twice the spread of the values on the three finest levels, where a smooth surface hardly varies."""
    finest = torch.cat([start[None], ladder[:3].flatten()])
    finest = finest[finest.isfinite()]
    if not len(finest):
        return torch.zeros((), dtype=ladder.dtype)
    spread = finest.max() - finest.min()
    return 2 * spread if spread.isfinite() else torch.zeros((), dtype=ladder.dtype)


def _outward_walk(start: Tensor, level_best: Tensor) -> int:
    """How many levels belong to the start's own basin: walk outwards until several levels in a row get worse."""
    lowest, waited = start, 0
    for level, value in enumerate(level_best):
        if value <= lowest:
            lowest, waited = value, 0
        elif lowest.isfinite():
            waited += 1
            if waited >= _PATIENCE:
                return level + 1
    return len(level_best)


def low_discrepancy(count: int, dim: int, shift: Tensor | float = 0.5, first: int = 1) -> Tensor:
    """Points of a Kronecker sequence in the unit box, ``(count, dim)``: even, extensible, the same in every process.

    Multiples of the powers of 1 / g, where g is the root of ``g^(dim + 1) = g + 1`` (the golden ratio for dim = 1),
    after M. Roberts (2018). Beyond 40 dimensions the powers are too close to one: a fixed pseudo-random set is used.
    """
    if dim > 40:
        generator = torch.Generator().manual_seed(first)
        return (torch.rand(count, dim, generator=generator, dtype=torch.float64) + shift) % 1.0
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dim + 1))
    step = root ** -torch.arange(1, dim + 1, dtype=torch.float64)
    return (torch.arange(first, first + count, dtype=torch.float64)[:, None] * step + shift) % 1.0


def spread_directions(count: int, dim: int) -> Tensor:
    """Unit vectors that fill the circle or sphere evenly, the same in every process: ``(count, dim)``.

    For dim > 2 each second one is the opposite of the one before.
    """
    if dim == 1:
        return (1 - 2 * (torch.arange(count, dtype=torch.float64) % 2))[:, None]
    if dim == 2:
        angle = 0.7 + torch.arange(count, dtype=torch.float64) * math.pi * (3 - math.sqrt(5))  # the golden angle
        return torch.stack([angle.cos(), angle.sin()], -1)
    half = torch.randn((count + 1) // 2, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    normal = torch.stack([half, -half], 1).flatten(0, 1)[:count]
    return normal / normal.norm(dim=-1, keepdim=True)
