"""The POMDP of section 3.2.3: B rovers on B surfaces, stepped at once.

State {theta, alpha, delta}, observation the grid alone (and what is computed from it), action the log2 factors of alpha and
delta, transition (4), reward (5), (6) or (7), horizon T. The frozen direction predictor is part of the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rover.landscapes.prototypes import Prototypes
from rover.navigation.frame import FRAME_RULES, update_frame
from rover.navigation.grid import grid_offsets, look
from rover.navigation.moves import Decision, RoverState, context_of, initial_state, transition
from rover.navigation.rewards import REWARDS, start_reward, value_reward, window_reward


@dataclass
class NavigationConfig:
    """The rules of an episode."""

    horizon: int = 30
    reward: str = "window"
    """``value`` (eq 5), ``start`` (eq 6) or ``window`` (eq 7)."""
    reward_window: int = 5
    alpha_range: tuple[float, float] = (0.01, 10.0)
    """Initial step sizes, log-uniform."""
    window_range: tuple[float, float] = (0.05, 15.0)
    """Initial half-widths of the grid, ``delta (n - 1) / 2``, log-uniform: the same window for every grid size."""
    frame: str = "quadratic"
    act_first: bool = True

    def __post_init__(self) -> None:
        self.alpha_range = (float(self.alpha_range[0]), float(self.alpha_range[1]))
        self.window_range = (float(self.window_range[0]), float(self.window_range[1]))
        if self.horizon < 1 or self.reward_window < 1:
            raise ValueError(
                f"`horizon` and `reward_window` must be at least 1, got {self.horizon}, {self.reward_window}"
            )
        if self.reward not in REWARDS:
            raise ValueError(f"`reward` must be one of {REWARDS}, got {self.reward!r}")
        if self.frame not in FRAME_RULES:
            raise ValueError(f"`frame` must be one of {FRAME_RULES}, got {self.frame!r}")
        for name in ("alpha_range", "window_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"`{name}` must be 0 < low <= high, got ({low}, {high})")


class Observation(NamedTuple):
    """What is known after a look around; only `grid`, `direction` and the action in `context` come from observation."""

    grid: Tensor  # (B, n, n)
    direction: Tensor  # (B, 2) of the frozen direction predictor
    context: Tensor  # (B, 5), see rover.navigation.moves.context_of
    state: Tensor  # (B, num_state): the full state, for critics that may see it during training


class Navigation:
    """B episodes in parallel on one batch of surfaces.

    Args:
        landscape: where.
        config: rules.
        grid_size: n.
        predict_direction: ``(B, n, n) -> (B, 2)`` unit vectors.
        generator: source of start points, of initial alpha and delta, and of observation noise.
    """

    def __init__(
        self,
        landscape: Prototypes,
        config: NavigationConfig,
        grid_size: int,
        predict_direction: Callable[[Tensor], Tensor],
        generator: torch.Generator,
    ) -> None:
        self.landscape = landscape
        self.config = config
        self.grid_size = grid_size
        self.predict_direction = predict_direction
        self.generator = generator

    @staticmethod
    def num_state(config: NavigationConfig) -> int:
        """Entries of the full state that a critic may see."""
        return 8 + config.reward_window

    def reset(
        self,
        theta: Tensor | None = None,
        alpha: Tensor | None = None,
        delta: Tensor | None = None,
        hidden_size: int = 0,
    ) -> Observation:
        """Begin B episodes; what is not given is drawn as in training."""
        batch, dtype = self.landscape.batch_size, self.landscape.minimizer.dtype
        device = self.landscape.minimizer.device
        u = torch.rand(batch, 2, generator=self.generator, dtype=dtype, device=device)
        start = self.landscape.sample_starts(self.generator)
        (a, b), (c, d) = self.config.alpha_range, self.config.window_range
        theta = start if theta is None else theta
        alpha = a * (b / a) ** u[:, 0] if alpha is None else alpha
        delta = c * (d / c) ** u[:, 1] * 2 / (self.grid_size - 1) if delta is None else delta
        self.rover: RoverState = initial_state(theta, alpha, delta, hidden_size)
        self.time = 0
        value = self.landscape.mean(theta[:, None])[:, 0]
        self.start_value = value
        self.window = torch.full((batch, self.config.reward_window), float("nan"), dtype=dtype, device=device)
        self.window[:, -1] = value
        return self._look()

    def step(self, action: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Observation]:
        """Act, move, look.

        Args:
            action: ``(B, 2)``, log2 factors (u_alpha, u_delta) in [-1, 1].
            memory: ``(B, 2, H)`` of the policy, carried along if given.

        Returns:
            the reward ``(B,)`` of where the rovers have arrived (noise-free f), and what they see there.
        """
        if action.shape != self.rover.action.shape:
            raise ValueError(f"`action` must have shape {tuple(self.rover.action.shape)}, got {tuple(action.shape)}")
        frame = update_frame(self.rover.frame, self.sight.grid, self.config.frame)
        memory = self.rover.memory if memory is None else memory
        decision = Decision(self.direction, action, memory, frame)
        self.rover = transition(self.rover, decision, self.sight, act_first=self.config.act_first)
        self.time += 1
        value = self.landscape.mean(self.rover.theta[:, None])[:, :1]
        self.window = torch.cat([self.window[:, 1:], value], 1)
        return self._reward(value[:, 0]), self._look()

    def _reward(self, value: Tensor) -> Tensor:
        if self.config.reward == "value":
            return value_reward(value)
        if self.config.reward == "start":
            return start_reward(value, self.start_value, self.landscape.minimum)
        return window_reward(self.window, self.landscape.minimum)

    def _look(self) -> Observation:
        rover = self.rover
        offsets = grid_offsets(self.grid_size, rover.theta.device, rover.theta.dtype)
        basis = rover.delta[:, None, None] * rover.frame
        values = self.landscape.on_grid(rover.theta, basis, offsets, self.generator)
        self.sight = look(values, self.grid_size)
        self.direction = self.predict_direction(self.sight.grid)
        return Observation(self.sight.grid, self.direction, context_of(rover, self.sight), self._full_state())

    def _full_state(self) -> Tensor:
        """Logarithms of alpha, delta and gaps, the way to the minimiser in the rover's own units, time."""
        rover, minimum = self.rover, self.landscape.minimum
        way = torch.linalg.solve(rover.frame, self.landscape.minimizer - rover.theta)
        distance = way.norm(dim=-1).clamp(min=1e-12)
        ahead = (way * self.direction).sum(-1) / distance
        gaps = (self.window - minimum[:, None]).clamp(min=1e-20)
        gap = gaps[:, -1]
        past = torch.log10(torch.nan_to_num(gaps / gap[:, None], nan=1.0)).clamp(-4, 4)
        clock = torch.full_like(gap, self.time / self.config.horizon)
        parts = [
            torch.log2(rover.alpha).clamp(-40, 40) / 8,
            torch.log2(rover.delta).clamp(-40, 40) / 8,
            torch.log2(distance / rover.alpha).clamp(-20, 20) / 4,
            torch.log2(distance / rover.delta).clamp(-20, 20) / 4,
            ahead,
            torch.log10(gap).clamp(-20, 4) / 4,
            torch.log10(gap / (self.start_value - minimum).clamp(min=1e-20)).clamp(-20, 4) / 4,
            clock,
        ]
        return torch.cat([torch.stack(parts, -1), past], -1).float()
