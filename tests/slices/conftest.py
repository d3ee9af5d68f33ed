"""A small random policy: enough for everything but quality."""

from __future__ import annotations

import pytest
import torch

from rover.networks import NetworkConfig
from rover.policy import Policy, PolicyConfig


@pytest.fixture(scope="session")
def policy() -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8)
        result = Policy(PolicyConfig(angle=config, actor=config, memory_size=4))
        torch.nn.init.normal_(result.actor.out.weight, std=0.5)  # as built it always answers "keep"
    return result


@pytest.fixture
def quadratic():
    """A coupled quadratic: ``f(points (m, d)) -> (m,)`` for any d."""

    def f(points):
        points = torch.as_tensor(points)
        weights = 1.0 + torch.arange(points.shape[1], dtype=torch.float64)
        return ((points - 1).square() * weights).sum(-1) + points.sum(-1).square() / 2

    return f
