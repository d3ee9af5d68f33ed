"""Collect whole episodes with a deterministic policy and exploration that is correlated in time."""

from __future__ import annotations

import torch
from torch import Tensor

from rover.learning.replay import Episodes
from rover.navigation.environment import Navigation
from rover.networks import Actor, see

CORRELATION = 0.7
"""Of the exploration noise from one step to the next: a rover must grow alpha several times in a row to learn from it."""


@torch.no_grad()
def rollout(navigation: Navigation, actor: Actor, noise: float = 0.0, horizon: int | None = None) -> Episodes:
    """Run B episodes to the horizon.

    Args:
        navigation: the environment; it is reset here.
        actor: mu.
        noise: largest standard deviation of the exploration, in units of the tanh; each rover draws its own share of it, so
            that a batch holds bold and careful episodes. Zero is the deterministic policy.
        horizon: steps, the configured T by default.

    Returns:
        :class:`Episodes` of T steps.
    """
    horizon = navigation.config.horizon if horizon is None else horizon
    generator = navigation.generator
    seen = [navigation.reset(hidden_size=actor.memory_size)]
    actions, rewards = [], []
    memory = navigation.rover.memory

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(memory), *shape, generator=generator, device=memory.device)

    share = noise * torch.rand(len(memory), 1, generator=generator, device=memory.device) if noise else None
    wander = normal(2) if noise else None
    for _ in range(horizon):
        look = seen[-1]
        shown = see(look.grid[:, None], look.direction[:, None], look.context[:, None], actor.trunk.config)
        logits, memory = actor(shown, memory)
        action = actor.squash(logits[:, 0], None if share is None or wander is None else share * wander)
        if wander is not None:
            wander = CORRELATION * wander + (1 - CORRELATION**2) ** 0.5 * normal(2)
        reward, look = navigation.step(action, memory)
        actions.append(action)
        rewards.append(reward)
        seen.append(look)
    grid, direction, context, state = (torch.stack(parts, 1) for parts in zip(*seen, strict=True))
    return Episodes(grid, direction, context, state, torch.stack(actions, 1), torch.stack(rewards, 1).float())
