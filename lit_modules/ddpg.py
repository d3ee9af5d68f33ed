"""Recurrent DDPG in manual optimisation: step size and resolution (section 3.2.3).

``training_step`` is the whole algorithm: roll out, remember, update the critic, update the actor, let the targets follow.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from rover.landscapes.prototypes import Prototypes
from rover.learning.losses import policy_gradient_loss, td_loss, td_target
from rover.learning.replay import EpisodeReplay, Episodes
from rover.learning.rollout import rollout
from rover.navigation.environment import Navigation, NavigationConfig
from rover.networks import Actor, AngleNet, Critic, NetworkConfig


@dataclass
class DDPGModelConfig:
    """Hyper-parameters of the navigator; the defaults are what works best, ``ddpg_paper.yaml`` is the paper."""

    angle_net: str = "runs/angle/angle.safetensors"
    """The trained direction predictor, written by ``train.py --config angle.yaml``."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Of actor and critics; `grid_size` must be the direction predictor's."""
    navigation: NavigationConfig = field(default_factory=NavigationConfig)
    memory_size: int = 64
    gamma: float = 0.98
    tau: float = 0.01
    actor_lr: float = 5e-4
    critic_lr: float = 1e-3
    actor_penalty: float = 1e-2
    """Weight of the L2 penalty on the actor's output before the tanh; 0 is the paper."""
    gradient_clip: float = 1.0
    exploration: float = 0.6
    """Standard deviation of the exploration at the start, in log2 units; it decays linearly to a quarter."""
    exploration_iterations: int = 1000
    replay_capacity: int = 4096
    warmup_episodes: int = 256
    episodes_per_update: int = 32
    updates_per_iteration: int = 8
    twin: bool = True
    """Two critics, the smaller value is the target (TD3)."""
    smoothing: float = 0.1
    """Standard deviation of noise on the target action (TD3); 0 switches it off."""
    actor_delay: int = 2
    """Critic updates per actor update (TD3)."""
    recurrent_critic: bool = False
    privileged_critic: bool = True
    """The critic sees the full state during training; it is not needed afterwards."""
    lr_decay_iterations: int = 0
    """Learning rates fall linearly to a tenth over so many iterations; 0 keeps them."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"`gamma` must lie in [0, 1], got {self.gamma}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"`tau` must lie in (0, 1], got {self.tau}")
        for name in ("actor_lr", "critic_lr", "gradient_clip", "updates_per_iteration", "actor_delay"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}")
        for name in ("exploration", "smoothing", "actor_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}")
        if self.replay_capacity < max(self.episodes_per_update, self.warmup_episodes):
            raise ValueError("`replay_capacity` must hold `warmup_episodes` and `episodes_per_update`")


class DDPGModule(L.LightningModule):
    """Actor, critics, their targets and the replay.

    Args:
        config: hyper-parameters.
        angle_net: the frozen direction predictor.
        seed: of exploration, observation noise and replay sampling; every rank adds its own number.
    """

    def __init__(self, config: DDPGModelConfig, angle_net: AngleNet, seed: int = 0) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.seed = seed
        if angle_net.config.grid_size != config.network.grid_size:
            raise ValueError(
                f"`network.grid_size` is {config.network.grid_size}, but the direction net was trained at "
                f"{angle_net.config.grid_size}: set them alike or train another direction net"
            )
        self.angle_net = angle_net.eval().requires_grad_(False)
        self.num_state = Navigation.num_state(config.navigation) if config.privileged_critic else 0
        self.actor = Actor(config.network, config.memory_size)
        self.critics = nn.ModuleList(self._new_critic() for _ in range(1 + config.twin))
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.replay: EpisodeReplay | None = None
        self.generator: torch.Generator | None = None
        self.iterations = 0
        self.updates = 0
        self.environment_steps = 0
        self._restored: dict[str, Any] = {}

    def _new_critic(self) -> Critic:
        config = self.config
        return Critic(
            config.network, recurrent=config.recurrent_critic, num_state=self.num_state, memory_size=config.memory_size
        )

    def train(self, mode: bool = True) -> DDPGModule:
        """Lightning calls this every epoch; the frozen direction predictor stays in eval mode."""
        super().train(mode)
        self.angle_net.eval()
        return self

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for the actor, one for the critics."""
        return [
            torch.optim.Adam(self.actor.parameters(), self.config.actor_lr),
            torch.optim.Adam(self.critics.parameters(), self.config.critic_lr),
        ]

    def on_fit_start(self) -> None:
        """Make generator and replay where the module lives, or restore them from the checkpoint."""
        config = self.config
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(self.seed + 7919 * self.global_rank)
        self.replay = EpisodeReplay(
            config.replay_capacity,
            config.navigation.horizon,
            config.network.grid_size,
            Navigation.num_state(config.navigation),
            self.device,
        )
        if self._restored:
            mine = self._restored["ranks"][min(self.global_rank, len(self._restored["ranks"]) - 1)]
            self.generator.set_state(mine["generator"].cpu())
            self.replay.load_state_dict(mine["replay"])
            self._restored = {}

    # ------------------------------------------------------------------------------------------------ the algorithm

    def training_step(self, batch: Prototypes, batch_idx: int) -> None:
        """One iteration: the batch is the set of landscapes to navigate."""
        del batch_idx
        assert self.replay is not None and self.generator is not None
        config = self.config
        actor_optimizer, critic_optimizer = self.optimizers()
        navigation = Navigation(
            batch, config.navigation, config.network.grid_size, self.angle_net.direction, self.generator
        )
        episodes = rollout(navigation, self.actor, self.exploration)
        self.replay.add(episodes)
        self.iterations += 1
        self.environment_steps += episodes.reward.numel()
        metrics = {"return": episodes.reward.sum(1).mean()}
        if len(self.replay) >= config.warmup_episodes:
            self._decay_learning_rates()
            for _ in range(config.updates_per_iteration):
                sample = self.replay.sample(config.episodes_per_update, self.generator)
                metrics |= self._update_critic(sample, critic_optimizer)
                self.updates += 1
                if self.updates % config.actor_delay == 0:
                    metrics |= self._update_actor(sample, actor_optimizer)
                    soft_update(self.target_actor, self.actor, config.tau * config.actor_delay)
                soft_update(self.target_critics, self.critics, config.tau)
        self.log_metrics("train", metrics)

    @property
    def exploration(self) -> float:
        """Standard deviation of the exploration now: linear from the configured one to a quarter of it."""
        done = min(1.0, self.iterations / max(1, self.config.exploration_iterations))
        return self.config.exploration * (1 - 0.75 * done)

    def _update_critic(self, sample: Episodes, optimizer: Any) -> dict[str, Tensor]:
        """Minimise the temporal difference against the target networks."""
        config = self.config
        now, then = _observations(sample, slice(None, -1)), _observations(sample, slice(1, None))
        with torch.no_grad():
            whole = _observations(sample, slice(None))
            logits, _ = self.target_actor(*whole[:3])
            action = logits.tanh()
            if config.smoothing:
                noise = torch.randn(action.shape, generator=self.generator, device=action.device)
                action = (action + (config.smoothing * noise).clamp(-0.3, 0.3)).clamp(-1, 1)
            if config.recurrent_critic:  # its memory runs from the start of the episode
                values = [critic(*self._critic_view(whole), action)[:, 1:] for critic in self.target_critics]
            else:
                values = [critic(*self._critic_view(then), action[:, 1:]) for critic in self.target_critics]
            target = td_target(sample.reward, torch.stack(values).amin(0), config.gamma)
        predictions = [critic(*self._critic_view(now), sample.action) for critic in self.critics]
        loss = torch.stack([td_loss(q, target) for q in predictions]).sum()
        norm = self._descend(loss, self.critics, optimizer)
        return {"critic_loss": loss.detach(), "q": predictions[0].detach().mean(), "critic_gradient": norm}

    def _update_actor(self, sample: Episodes, optimizer: Any) -> dict[str, Tensor]:
        """Climb the critic: the deterministic policy gradient."""
        now = _observations(sample, slice(None, -1))
        logits, _ = self.actor(*now[:3])
        loss = policy_gradient_loss(
            self.critics[0](*self._critic_view(now), logits.tanh()), logits, self.config.actor_penalty
        )
        norm = self._descend(loss, self.actor, optimizer)
        return {"actor_loss": loss.detach(), "actor_gradient": norm, "logit": logits.detach().abs().mean()}

    def _critic_view(self, observed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        grid, direction, context, state = observed
        return grid, direction, context, state[..., : self.num_state]

    def _descend(self, loss: Tensor, module: nn.Module, optimizer: Any) -> Tensor:
        """Gradient of one network only, averaged over the ranks, clipped; returns its norm.

        ``autograd.grad`` never touches the other network's gradients nor DDP's reducer, which expects one backward a
        forward and every parameter in it; the mean over the ranks is written out instead.
        """
        parameters = list(module.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        if self.trainer.world_size > 1:
            flat = torch.cat([g.flatten() for g in gradients])
            flat = self.trainer.strategy.reduce(flat, reduce_op="mean")
            sizes = [p.numel() for p in parameters]
            gradients = tuple(g.view_as(p) for g, p in zip(flat.split(sizes), parameters, strict=True))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def _decay_learning_rates(self) -> None:
        if self.config.lr_decay_iterations:
            share = 1 - 0.9 * min(1.0, self.iterations / self.config.lr_decay_iterations)
            for optimizer, rate in zip(self.optimizers(), (self.config.actor_lr, self.config.critic_lr), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * share

    # -------------------------------------------------------------------------------------------- logs, checkpoints

    def log_metrics(self, stage: str, metrics: dict[str, Tensor]) -> None:
        """Log to TensorBoard against the own iteration counter (Lightning's counts every optimiser's step)."""
        for name in ("return", "critic_loss"):
            if name in metrics:
                self.log(f"{stage}/{name}", metrics[name], prog_bar=True, logger=False)
        if self.logger is not None and self.iterations % 10 == 0:
            values = {f"{stage}/{name}": float(value) for name, value in metrics.items()}
            counters = {"updates": self.updates, "environment_steps": self.environment_steps}
            self.logger.log_metrics(values | counters | {"exploration": self.exploration}, step=self.iterations)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Replay, generator and counters of every rank: a resumed run goes on as the uninterrupted one."""
        assert self.replay is not None and self.generator is not None
        mine = {"replay": self.replay.state_dict(), "generator": self.generator.get_state()}
        checkpoint["ddpg"] = {
            "ranks": _gather(mine),
            "iterations": self.iterations,
            "updates": self.updates,
            "environment_steps": self.environment_steps,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Counters now; replay and generator when their device is known (:meth:`on_fit_start`)."""
        kept = checkpoint["ddpg"]
        self.iterations, self.updates = kept["iterations"], kept["updates"]
        self.environment_steps = kept["environment_steps"]
        self._restored = kept


def soft_update(target: nn.Module, source: nn.Module, tau: float) -> None:
    """``target <- (1 - tau) target + tau source``, buffers included."""
    with torch.no_grad():
        old, new = list(target.parameters()), list(source.parameters())
        torch._foreach_lerp_(old, new, tau)
        for kept, current in zip(target.buffers(), source.buffers(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(current, tau)
            else:
                kept.copy_(current)


def _observations(sample: Episodes, when: slice) -> tuple[Tensor, ...]:
    return sample.grid[:, when], sample.direction[:, when], sample.context[:, when], sample.state[:, when]


def _gather(mine: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry a rank, on every rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, mine)
    return everyone
