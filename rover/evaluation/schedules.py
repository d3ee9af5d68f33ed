"""The hand-made rivals of a learnt navigator: step size and resolution on a schedule, blind to what is seen.

All use the direction net, the frame and the order of moves of the policy they are compared with, so that the difference
is the actor's. A constant pair of rates is an exponential schedule: ``alpha_t = alpha_0 (1 + alpha_rate)^t``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rover.evaluation.held_out import HeldOutScores, held_out_scores, initial_rovers
from rover.landscapes.prototypes import Prototypes
from rover.navigation.frame import update_frame
from rover.navigation.grid import look
from rover.navigation.moves import Decision, RoverState, transition
from rover.policy import Policy

RATES = tuple(-0.5 + 0.25 * k for k in range(7))
"""Seven rates over the paper's [-0.5, 1]; zero is among them."""


class Schedule:
    """Constant rates in place of the actor.

    Args:
        policy: whose direction net, frame rule and order of moves are used.
        alpha_rate, delta_rate: in [-0.5, 1].
    """

    def __init__(self, policy: Policy, alpha_rate: float, delta_rate: float) -> None:
        if not (-0.5 <= alpha_rate <= 1 and -0.5 <= delta_rate <= 1):
            raise ValueError(f"rates must lie in [-0.5, 1], got {alpha_rate} and {delta_rate}")
        self.policy = policy
        self.action = torch.log2(1 + torch.tensor([alpha_rate, delta_rate], dtype=torch.float64))

    @property
    def grid_size(self) -> int:
        """As the policy's."""
        return self.policy.grid_size

    def initial_state(self, theta: Tensor, alpha: Tensor, delta: Tensor) -> RoverState:
        """As the policy's."""
        return self.policy.initial_state(theta, alpha, delta)

    @torch.no_grad()
    def advance(self, state: RoverState, values: Tensor) -> tuple[RoverState, Decision]:
        """Move with the scheduled rates."""
        config = self.policy.config
        sight = look(values, self.grid_size)
        frame = update_frame(state.frame, sight.grid, config.frame)
        action = self.action.to(state.theta.device).expand(len(values), 2)
        decision = Decision(self.policy.direction(sight.grid), action, state.memory, frame)
        return transition(state, decision, sight, act_first=config.act_first), decision


@dataclass(frozen=True)
class Decay:
    """One exponential schedule: rates, and the start that all rovers share (None: each keeps the one it was given)."""

    alpha_rate: float
    delta_rate: float
    alpha: float | None = None
    half_width: float | None = None


def constant_schedules() -> list[Decay]:
    """The 7 x 7 pairs of :data:`RATES`, from the start that each rover was given."""
    return [Decay(*pair) for pair in itertools.product(RATES, RATES)]


def exponential_decays(alphas: Sequence[float], half_widths: Sequence[float], rates: Sequence[float]) -> list[Decay]:
    """Every combination of initial step size, initial half-width of the grid, and two rates."""
    return [Decay(a, d, alpha, half) for alpha, half, a, d in itertools.product(alphas, half_widths, rates, rates)]


def schedule_scores(
    policy: Policy, decay: Decay, surfaces: Prototypes, *, horizon: int = 30, seed: int = 0
) -> HeldOutScores:
    """The scores of one schedule, from the same starts and under the same noise as the policy's own."""
    theta, alpha, delta = initial_rovers(surfaces, policy.grid_size, seed)
    if decay.alpha is not None:
        alpha = torch.full_like(alpha, decay.alpha)
    if decay.half_width is not None:
        delta = torch.full_like(delta, decay.half_width * 2 / (policy.grid_size - 1))
    schedule = Schedule(policy, decay.alpha_rate, decay.delta_rate)
    return held_out_scores(schedule, surfaces, horizon=horizon, seed=seed, start=(theta, alpha, delta))
