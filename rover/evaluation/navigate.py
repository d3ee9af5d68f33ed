"""Run a policy on a batch of landscapes, all instances at once, and keep the trajectory."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rover.landscapes.base import Landscape
from rover.navigation.grid import grid_offsets
from rover.navigation.moves import Decision, RoverState


class Navigator(Protocol):
    """What is needed of a policy: a :class:`rover.policy.Policy`, or a schedule with the same face."""

    @property
    def grid_size(self) -> int:
        """Points along a side of the grid, n."""

    def initial_state(self, theta: Tensor, alpha: Tensor, delta: Tensor) -> RoverState:
        """A rover that has seen nothing."""

    def advance(self, state: RoverState, values: Tensor) -> tuple[RoverState, Decision]:
        """One round from the values of a grid."""


class Trajectory(NamedTuple):
    """B runs of R rounds; entry 0 is the start."""

    theta: Tensor  # (R + 1, B, 2)
    gap: Tensor  # (R + 1, B) noise-free f(theta) - f*
    alpha: Tensor  # (R + 1, B)
    delta: Tensor  # (R + 1, B)
    frame: Tensor  # (R + 1, B, 2, 2)
    best_gap: Tensor  # (R + 1, B) smallest noise-free gap of all points evaluated so far (of theta at the start)


@torch.no_grad()
def navigate(
    policy: Navigator,
    landscape: Landscape,
    theta: Tensor,
    alpha: Tensor,
    delta: Tensor,
    rounds: int,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Let B rovers run for `rounds` rounds without bounds, stops or restarts: the method itself.

    Args:
        policy: the rover.
        landscape: B two-dimensional instances.
        theta, alpha, delta: initial ``(B, 2)``, ``(B,)``, ``(B,)``.
        rounds: number of grids sampled.
        generator: of observation noise; None observes noise-free.
    """
    state = policy.initial_state(theta, alpha, delta)
    gap = landscape.mean(theta[:, None])[:, 0] - landscape.minimum
    offsets = grid_offsets(policy.grid_size, theta.device, theta.dtype)
    kept = [(theta, gap, alpha, delta, state.frame, gap)]
    for _ in range(rounds):
        grid = state.theta, state.delta[:, None, None] * state.frame, offsets
        values = landscape.on_grid(*grid, generator)
        exact = values if generator is None else landscape.on_grid(*grid)
        best = torch.minimum(kept[-1][-1], exact.amin(-1) - landscape.minimum)
        state, _ = policy.advance(state, values)
        gap = landscape.mean(state.theta[:, None])[:, 0] - landscape.minimum
        kept.append((state.theta, gap, state.alpha, state.delta, state.frame, torch.minimum(best, gap)))
    return Trajectory(*(torch.stack(parts) for parts in zip(*kept, strict=True)))
