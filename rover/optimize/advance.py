"""One decision and transition of many two-dimensional rovers, in chunks of bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from rover.navigation.grid import look
from rover.navigation.moves import RoverState, transition
from rover.policy import Policy

_ROWS_AT_ONCE = 4096  # grids in one network call: bounds the memory of the activations


def advance(policy: Policy, values: Tensor, state: RoverState, *, line: bool = False) -> RoverState:
    """See, decide and move (eq 4).

    Args:
        policy: what decides.
        values: ``(R, n * n)``; with `line` ``(R, n)``.
        state: of R rovers.
        line: whether they see n points along their first axis: a grid that is constant across it, and of the direction
            that the policy takes only the sign counts.
    """
    n = policy.grid_size
    if line:
        values = values[..., None].expand(-1, n, n).flatten(1)
    parts = []
    for first in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        part = state if len(values) <= _ROWS_AT_ONCE else RoverState(*(field[rows] for field in state))
        sight = look(values[rows], n)
        decision = policy.decide(sight, part)
        if line:
            sign = torch.where(decision.direction[:, :1] < 0, -1.0, 1.0)
            decision = decision._replace(direction=torch.cat([sign, 0 * sign], -1), frame=part.frame)
        parts.append(transition(part, decision, sight, act_first=policy.config.act_first))
    return parts[0] if len(parts) == 1 else RoverState(*(torch.cat(field) for field in zip(*parts, strict=True)))
