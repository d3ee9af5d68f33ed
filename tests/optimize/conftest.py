"""Rovers with random weights (what holds for them holds for any), and the trained ones where the result must be good."""

from __future__ import annotations

import pytest
import torch

from rover.networks import NetworkConfig
from rover.policy import Policy, PolicyConfig


def make_policy(grid_size: int = 5, seed: int = 0, **options: object) -> Policy:
    """Random weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = NetworkConfig(grid_size=grid_size, channels=(4, 4), hidden_size=8)
        return Policy(PolicyConfig(angle=network, actor=network, memory_size=8, **options))


@pytest.fixture(scope="session")
def policy() -> Policy:
    """A 5 x 5 rover with random weights."""
    return make_policy()
