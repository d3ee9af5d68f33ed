"""The three losses: cloning with negative sampling (eq 2), the TD error, the deterministic policy gradient (3.2.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cloning_loss(output: Tensor, teacher_action: Tensor, negative_action: Tensor) -> Tensor:
    """Eq 2, with the minus sign that the print lacks: ``-log s(y'a*) - mean_k log(1 - s(y'a_k))``.

    Args:
        output: ``(N, 2)``, y before normalisation.
        teacher_action: ``(N, 2)``, label 1.
        negative_action: ``(N, K, 2)``, label 0.

    Returns:
        the mean over N.
    """
    positive = F.softplus(-(output * teacher_action).sum(-1))
    negative = F.softplus((output[:, None] * negative_action).sum(-1)).mean(-1)
    return (positive + negative).mean()


def angle_error(direction: Tensor, teacher_action: Tensor) -> Tensor:
    """Angle between unit vectors in radians, exact near 0 and pi: ``(..., 2), (..., 2) -> (...)``."""
    cross = direction[..., 0] * teacher_action[..., 1] - direction[..., 1] * teacher_action[..., 0]
    return torch.atan2(cross.abs(), (direction * teacher_action).sum(-1))


def td_target(r_t: Tensor, q_t: Tensor, gamma: float) -> Tensor:
    """``r_t + gamma Q'(s_t, mu'(s_t))`` along episodes whose last step is terminal.

    Args:
        r_t: ``(B, T)``, the reward that follows action ``a_{t-1}``.
        q_t: ``(B, T)``, the target networks' value of the state that follows; its last column is ignored.
        gamma: discount in [0, 1].
    """
    follows = torch.ones_like(r_t)
    follows[:, -1] = 0.0
    return (r_t + gamma * follows * q_t).detach()


TD_LOSSES = ("huber", "squared")
"""The paper squares the temporal difference."""


def td_loss(q_tm1: Tensor, target: Tensor, kind: str = "huber") -> Tensor:
    """Mean loss of the temporal difference, ``(B, T), (B, T) -> ()``; `kind` is one of :data:`TD_LOSSES`."""
    if kind not in TD_LOSSES:
        raise ValueError(f"`kind` must be one of {TD_LOSSES}, got {kind!r}")
    return F.mse_loss(q_tm1, target) if kind == "squared" else F.smooth_l1_loss(q_tm1, target)


def policy_gradient_loss(q: Tensor, logits: Tensor, penalty: float) -> Tensor:
    """``-mean Q(s, mu(s))``, whose gradient is ``-grad_a Q' grad_eta mu``, plus an L2 penalty before the tanh.

    Args:
        q: ``(B, T)``, with gradients to the actor.
        logits: ``(B, T, 2)``, the actor's output before the tanh: without the penalty it saturates (Deviation D9).
        penalty: weight of the penalty, 0 is the paper.
    """
    return -q.mean() + penalty * logits.square().mean()
