"""Behavioural-cloning tuples: grids labelled with the better teacher's direction and with opposite ones (3.2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rover.landscapes.prototypes import MODALITIES, sample_prototypes
from rover.learning.teachers import teach
from rover.navigation.grid import grid_offsets, rescale

FIXED_DELTA = 0.6
"""The predetermined resolution of the *fixed* protocol, for a 15 x 15 grid; other grids span the same window."""
PROTOCOLS = ("fixed", "field", "mixed")


class CloningTuples(NamedTuple):
    """N states with one positive and K negative actions each."""

    grid: Tensor  # (N, n, n) float32 in [0, 1]
    teacher_action: Tensor  # (N, 2) float32 unit, label 1
    negative_action: Tensor  # (N, K, 2) float32 unit, label 0
    modality: Tensor  # (N,) int64
    delta: Tensor  # (N,) float32
    newton: Tensor  # (N,) bool: the teacher was Newton


def negative_actions(teacher_action: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Directions in the half-space ``{a: a' a* < 0}``, uniform in angle and stratified: ``(N, 2) -> (N, count, 2)``."""
    u = torch.rand(len(teacher_action), count, generator=generator, device=teacher_action.device)
    strata = torch.arange(count, device=u.device)
    angle = (math.pi * (0.5 + (strata + u) / count))[..., None].to(teacher_action.dtype)  # in (90, 270) degrees
    a = teacher_action[:, None]
    turned = torch.stack([-a[..., 1], a[..., 0]], -1)
    return angle.cos() * a + angle.sin() * turned


def generate_tuples(
    num_functions: int,
    generator: torch.Generator,
    *,
    grid_size: int = 15,
    protocol: str = "field",
    modalities: Sequence[str] = MODALITIES,
    num_steps: int = 10,
    num_negatives: int = 1,
    delta_range: tuple[float, float] = (0.02, 1.5),
    noise: str = "full",
    saddle_free: bool = True,
) -> CloningTuples:
    """Roll the better teacher out on fresh functions and record what a rover would see.

    The rollout is damped: each move is a random share in [0.1, 0.5] of the teacher's step, so that ten states of a
    function are ten different lessons (after one exact Newton step a quadratic is solved).

    Args:
        num_functions: fresh surfaces from F_train.
        generator: source of randomness; its device is where the work is done.
        grid_size: n.
        protocol: ``fixed`` (delta = 0.6, noise-free), ``field`` (log-uniform delta, noise), or ``mixed``
            (a third of the functions *fixed*, a third *field*, a third *field* without noise).
        modalities: kinds of surface.
        num_steps: states a function.
        num_negatives: opposite directions a state.
        delta_range: of the *field* protocol, for a 15 x 15 grid; other sizes span the same windows.
        noise: of the *field* protocol, see :func:`sample_prototypes`.
        saddle_free: which Newton teaches, see :func:`~rover.learning.teachers.newton_step`; False is the paper's.

    Returns:
        ``num_functions * num_steps`` states, that is ``2 * num_functions * num_steps`` labelled tuples at one negative.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {PROTOCOLS}, got {protocol!r}")
    low, high = delta_range
    if not 0 < low <= high:
        raise ValueError(f"`delta_range` must be 0 < low <= high, got {delta_range}")
    landscape = sample_prototypes(num_functions, generator, modalities, noise=noise)
    theta = starts = landscape.sample_starts(generator)
    depth = landscape.mean(starts[:, None])[:, 0] - landscape.minimum
    own = torch.arange(num_functions, device=theta.device)
    share = torch.rand(num_functions, generator=generator, dtype=theta.dtype, device=theta.device)
    fixed = share < {"fixed": 2.0, "field": -1.0, "mixed": 1 / 3}[protocol]
    quiet = fixed | (share < 2 / 3) if protocol == "mixed" else fixed
    landscape.noise_scale = torch.where(quiet, 0.0, landscape.noise_scale)
    offsets = grid_offsets(grid_size, theta.device)
    rounds = []
    for _ in range(num_steps):
        u = torch.rand(num_functions, 2, generator=generator, dtype=theta.dtype, device=theta.device)
        delta = torch.where(fixed, FIXED_DELTA, low * (high / low) ** u[:, 0]) * 14 / (grid_size - 1)
        basis = delta[:, None, None] * torch.eye(2, dtype=delta.dtype, device=delta.device)
        values = landscape.on_grid(theta, basis, offsets, None if protocol == "fixed" else generator)
        lesson = teach(landscape, theta, saddle_free=saddle_free)
        length = lesson.step.norm(dim=-1, keepdim=True)
        # A rollout that has run out onto a flat teaches nothing: another function's state takes the place of its own.
        lost = (lesson.gain <= 1e-9 * depth) | (length[:, 0] < 1e-9)
        taken = torch.where(lost, (~lost).double().multinomial(num_functions, True, generator=generator), own)
        action = (lesson.step / length.clamp(min=1e-9))[taken]
        kinds = landscape.modality[taken]
        grid = rescale(values, grid_size)[taken]
        rounds.append((grid, action.float(), kinds, delta[taken].float(), lesson.newton[taken]))
        theta = torch.where(lost[:, None], starts, theta + (0.1 + 0.4 * u[:, 1:]) * lesson.step)
    grid, action, kinds, delta32, newton = (torch.stack(parts).flatten(0, 1) for parts in zip(*rounds, strict=True))
    return CloningTuples(
        grid=grid,
        teacher_action=action,
        negative_action=negative_actions(action, num_negatives, generator),
        modality=kinds,
        delta=delta32,
        newton=newton,
    )
