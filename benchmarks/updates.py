"""The navigator's training: against a plain PyTorch loop with the same networks, and against other libraries' DDPG."""

from __future__ import annotations

import copy
import logging
import statistics
import time
import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from benchmarks import peers
from benchmarks.measure import row
from datamodules.navigation import NavigationDataConfig, NavigationDataModule, training_batch
from lit_modules.ddpg import DDPGModelConfig, DDPGModule, soft_update
from rover.learning.losses import policy_gradient_loss, td_loss, td_target
from rover.learning.replay import EpisodeReplay
from rover.learning.rollout import rollout
from rover.navigation.environment import Navigation
from rover.networks import Actor, AngleNet, Critic, NetworkConfig, see

GRID_SIZE = 15
ITERATIONS = 12


def rows() -> list[dict[str, Any]]:
    """What was measured, see :mod:`benchmarks.measure`."""
    return [lightning_overhead(), *peers.rows()]


def lightning_overhead() -> dict[str, Any]:
    """CPU seconds of an iteration (rollout, replay, 8 updates) under Lightning against those of a plain loop.

    Iterations of both take turns: the plain loop makes one of its own after each of Lightning's.
    """
    network = NetworkConfig(grid_size=GRID_SIZE, channels=(8, 16), hidden_size=64)
    config = DDPGModelConfig(network=network, warmup_episodes=64, replay_capacity=1024)
    data = NavigationDataConfig()
    module = DDPGModule(config, AngleNet(network))
    turns = _Turns(PlainLoop(config, data, AngleNet(network)))
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module.configure_callbacks = lambda: []  # type: ignore[method-assign]
            trainer = pl.Trainer(
                accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=ITERATIONS + 2, limit_val_batches=0,
                num_sanity_val_steps=0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False, callbacks=[turns],
            )  # fmt: skip
            trainer.fit(module, NavigationDataModule(data, seed=0))
    finally:
        log.setLevel(level)
    ours, plain = turns.ours[1:], turns.plain[1:]
    updates, median = config.updates_per_iteration, statistics.median(plain) / statistics.median(ours)
    name = "updates/s under Lightning (rollouts included) against a plain PyTorch loop with the same networks"
    return row(name, updates / min(ours), updates / min(plain), ">= 0.9", median=median)


class _Turns(pl.Callback):
    """Times every whole iteration of the trainer, data included, and lets the plain loop make one in between."""

    def __init__(self, plain_loop: PlainLoop) -> None:
        self.loop = plain_loop
        self.ours: list[float] = []
        self.plain: list[float] = []
        self.begin: float | None = None

    def on_train_batch_end(self, *args: Any) -> None:
        now = time.process_time()
        if self.begin is not None:
            self.ours.append(now - self.begin)
        begin = time.process_time()
        self.loop.iterate()
        self.begin = time.process_time()
        self.plain.append(self.begin - begin)


class PlainLoop:
    """The same algorithm in one screen of PyTorch."""

    def __init__(self, config: DDPGModelConfig, data: NavigationDataConfig, angle_net: AngleNet) -> None:
        self.config, self.data, self.angle_net = config, data, angle_net.eval().requires_grad_(False)
        states = Navigation.num_state(config.navigation)
        self.actor = Actor(config.network, config.memory_size)
        self.critics = nn.ModuleList(Critic(config.network, recurrent=False, num_state=states) for _ in range(2))
        self.target_actor, self.target_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), config.actor_lr)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), config.critic_lr)
        self.replay = EpisodeReplay(config.replay_capacity, config.navigation.horizon, GRID_SIZE, states)
        self.generator = torch.Generator().manual_seed(0)
        self.iterations = 0

    def iterate(self) -> None:
        config = self.config
        surfaces = training_batch(self.data, 0, 0, self.iterations)
        self.iterations += 1
        navigation = Navigation(surfaces, config.navigation, GRID_SIZE, self.angle_net.direction, self.generator)
        self.replay.add(rollout(navigation, self.actor, config.exploration))
        for k in range(config.updates_per_iteration):
            sample = self.replay.sample(config.episodes_per_update, self.generator)
            seen = see(sample.grid, sample.direction, sample.context, config.network)
            now = seen.at(slice(None, -1)), sample.state[:, :-1]
            then = seen.at(slice(1, None)), sample.state[:, 1:]
            with torch.no_grad():
                logits, _ = self.target_actor(seen)
                noise = torch.randn(logits.shape, generator=self.generator)
                action = self.target_actor.squash(logits, (config.smoothing * noise).clamp(-0.3, 0.3))[:, 1:]
                values = torch.stack([critic(*then, action) for critic in self.target_critics]).amin(0)
                target = td_target(sample.reward, values, config.gamma)
            loss = sum(td_loss(critic(*now, sample.action), target) for critic in self.critics)
            self._descend(loss, self.critics, self.critic_optimizer)  # type: ignore[arg-type]
            if k % config.actor_delay:
                logits, _ = self.actor(now[0])
                loss = policy_gradient_loss(self.critics[0](*now, self.actor.squash(logits)), logits, 0.01)
                self._descend(loss, self.actor, self.actor_optimizer)
                soft_update(self.target_actor, self.actor, config.tau * config.actor_delay)
            soft_update(self.target_critics, self.critics, config.tau)

    def _descend(self, loss: torch.Tensor, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), self.config.gradient_clip)
        optimizer.step()
