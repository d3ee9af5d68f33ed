"""A POMDP small enough to be solved in seconds, which needs a memory: does the learner solve it?

The first grid shows a slope, up or down; all later ones are blank. At every step the right first action is +0.5 or -0.5
as the slope was, the right second one its opposite; the reward is minus the squared error. The best return is 0; whoever
forgets the slope earns -1.5 at best, whoever does not look -2.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import lit_modules.ddpg
from lit_modules.ddpg import DDPGModelConfig, DDPGModule
from rover.learning.rollout import rollout
from rover.navigation.environment import NavigationConfig, Observation
from rover.networks import AngleNet, NetworkConfig

HORIZON, BATCH = 4, 32
NETWORK = NetworkConfig(
    grid_size=3, channels=(4, 4), hidden_size=16, canonical=False, features=False, context=False, layer_norm=False
)


class Toy:
    """The face of Navigation that a rollout needs."""

    def __init__(
        self, landscape: Any, config: NavigationConfig, grid_size: int, direction: Any, generator: Any
    ) -> None:
        del landscape, grid_size, direction
        self.config, self.generator = config, generator

    @staticmethod
    def num_state(config: NavigationConfig) -> int:
        del config
        return 2

    def reset(self, hidden_size: int = 0, **given: Any) -> Observation:
        self.up = (torch.rand(BATCH, generator=self.generator) < 0.5).float()
        self.time = 0
        self.rover = SimpleNamespace(memory=torch.zeros(BATCH, 2, hidden_size))
        return self.look()

    def step(self, action: Tensor, memory: Tensor) -> tuple[Tensor, Observation]:
        self.rover.memory = memory
        self.time += 1
        right = (self.up - 0.5)[:, None] * torch.tensor([1.0, -1.0])
        return -(action - right).square().sum(-1), self.look()

    def look(self) -> Observation:
        slope = torch.linspace(0, 1, 3)[:, None].expand(3, 3)
        shown = torch.where(self.up[:, None, None] > 0, slope, slope.flip(0))
        grid = shown if self.time == 0 else torch.full((BATCH, 3, 3), 0.5)
        state = torch.stack([self.up, torch.full((BATCH,), self.time / HORIZON)], -1)
        return Observation(grid, torch.zeros(BATCH, 2), torch.zeros(BATCH, 5), state)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:You defined a `validation_step` but",
    "ignore:The .*_dataloader",
    "ignore:.*LeafSpec",
    "ignore:Found .* in eval mode",
)
@pytest.mark.parametrize(
    "variant",
    [{}, {"twin": False, "recurrent_critic": True, "privileged_critic": False, "smoothing": 0.0, "actor_delay": 1}],
    ids=["best", "recurrent, as the actor sees"],
)
def test_it_is_solved(variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lit_modules.ddpg, "Navigation", Toy)
    config = DDPGModelConfig(
        network=NETWORK,
        navigation=NavigationConfig(horizon=HORIZON),
        memory_size=16,
        actor_lr=2e-3,
        critic_lr=2e-3,
        tau=0.02,
        exploration_iterations=150,
        replay_capacity=1024,
        warmup_episodes=64,
        **variant,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = DDPGModule(config, AngleNet(NETWORK), seed=0)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(range(250), batch_size=1))  # type: ignore[arg-type]
    episodes = rollout(Toy(None, config.navigation, 3, None, torch.Generator().manual_seed(1)), module.actor)  # type: ignore[arg-type]
    assert episodes.reward.sum(1).mean().item() > -0.1
    assert module.replay is not None
    module.replay.check_valid()
