"""The rover's state and its transition (eq 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rover.navigation.grid import Sight

NUM_CONTEXT = 5


class RoverState(NamedTuple):
    """All that a rover carries; every field has the same leading dimensions ``...``."""

    theta: Tensor  # (..., 2)
    alpha: Tensor  # (...,) step size
    delta: Tensor  # (...,) resolution: distance between neighbouring grid points
    frame: Tensor  # (..., 2, 2); the identity is the paper's method
    action: Tensor  # (..., 2) the previous action as log2 factors (u_alpha, u_delta) in [-1, 1]; zero at the start
    memory: Tensor  # (..., 2, H) hidden and cell state of the actor's LSTM
    level: Tensor  # (...,) of the last sight, NaN at the start: what "better than before" is measured against
    span: Tensor  # (...,) of the last sight, NaN at the start


class Decision(NamedTuple):
    """What a policy makes of one grid."""

    direction: Tensor  # (..., 2) unit vector in the frame
    action: Tensor  # (..., 2) log2 factors (u_alpha, u_delta) in [-1, 1]
    memory: Tensor  # (..., 2, H)
    frame: Tensor  # (..., 2, 2) the frame from the next grid on


def initial_state(theta: Tensor, alpha: Tensor, delta: Tensor, hidden_size: int) -> RoverState:
    """A rover that has seen nothing: identity frame, zero memory.

    Args:
        theta: ``(..., 2)``.
        alpha: ``(...,)``.
        delta: ``(...,)``.
        hidden_size: H of the actor's LSTM.
    """
    lead = theta.shape[:-1]
    return RoverState(
        theta=theta,
        alpha=alpha,
        delta=delta,
        frame=torch.eye(2, dtype=theta.dtype, device=theta.device).expand(*lead, 2, 2),
        action=torch.zeros(*lead, 2, device=theta.device),
        memory=torch.zeros(*lead, 2, hidden_size, device=theta.device),
        level=torch.full_like(alpha, float("nan")),
        span=torch.full_like(alpha, float("nan")),
    )


def rates(action: Tensor) -> Tensor:
    """Update rates ``(alpha_rate, delta_rate) = 2^u - 1`` in [-0.5, 1] of log2 factors u in [-1, 1]: ``(..., 2)``.

    The set is the paper's; the parametrisation makes zero mean "keep", and exploration symmetric (Deviation D3).
    """
    return torch.exp2(action) - 1


def context_of(state: RoverState, sight: Sight) -> Tensor:
    """What an actor may know besides the grid, all of it zeroth-order and invariant: ``(..., 5)``, float32.

    The previous action (2), ``log2(alpha / delta) / 4``, by how much the level has changed in units of the previous span,
    and the logarithm of the ratio of the spans. The last two are 0 at the start.
    """
    ratio = torch.log2(state.alpha / state.delta).clamp(-16, 16) / 4
    change = (sight.level - state.level) / torch.where(state.span > 0, state.span, 1.0)
    zoom = torch.log2((sight.span / state.span).clamp(1e-30, 1e30)) / 4
    numbers = torch.nan_to_num(torch.stack([ratio, change, zoom], -1), nan=0.0)
    bound = numbers.new_tensor([4.0, 2.0, 2.0])
    return torch.cat([state.action, numbers.clamp(-bound, bound).to(state.action.dtype)], -1)


def transition(state: RoverState, decision: Decision, sight: Sight, *, act_first: bool) -> RoverState:
    """Move the rover (eq 4): ``theta + alpha M direction``, ``alpha (1 + alpha_rate)``, ``delta (1 + delta_rate)``.

    Args:
        state: where it stands.
        decision: of the policy.
        sight: what it was made of.
        act_first: False is the paper: the move uses the old step size, the new one serves the next move. True lets the
            step size that was chosen from this grid serve the move out of this grid (Deviation D4).
    """
    factor = torch.exp2(decision.action.to(state.theta.dtype))
    alpha, delta = state.alpha * factor[..., 0], state.delta * factor[..., 1]
    step = alpha if act_first else state.alpha
    move = (state.frame @ decision.direction.to(state.theta.dtype)[..., None])[..., 0]
    theta = state.theta + step[..., None] * move
    return RoverState(theta, alpha, delta, decision.frame, decision.action, decision.memory, sight.level, sight.span)
