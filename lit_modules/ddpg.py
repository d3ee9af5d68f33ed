"""Recurrent DDPG in manual optimisation: step size and resolution (section 3.2.3).

``training_step`` is the whole algorithm: roll out, remember, update the critic, update the actor, let the targets follow.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from lit_modules.callbacks.divergence import StopOnDivergence
from lit_modules.callbacks.meta_test import MetaTest
from lit_modules.precision import check_precision
from rover.evaluation.held_out import Yardstick, held_out_scores, summarise
from rover.landscapes.prototypes import Prototypes
from rover.learning.losses import TD_LOSSES, policy_gradient_loss, td_loss, td_target
from rover.learning.replay import EpisodeReplay, Episodes
from rover.learning.rollout import rollout
from rover.navigation.environment import Navigation, NavigationConfig
from rover.networks import Actor, AngleNet, Critic, NetworkConfig, Seen, see
from rover.policy import Policy, PolicyConfig, load_angle_net


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
    td: str = "huber"
    """Loss of the temporal difference: ``huber``, or ``squared`` as in the paper."""
    figures_every: int = 5
    """Validations between two sets of figures in TensorBoard; 0 draws none."""

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
        if self.td not in TD_LOSSES:
            raise ValueError(f"`td` must be one of {TD_LOSSES}, got {self.td!r}")
        if self.replay_capacity < max(self.episodes_per_update, self.warmup_episodes):
            raise ValueError("`replay_capacity` must hold `warmup_episodes` and `episodes_per_update`")


class DDPGModule(pl.LightningModule):
    """Actor, critics, their targets and the replay.

    Logged against the module's own count of iterations: ``train/*``; after each validation ``held_out/return`` (eq 7, noise
    on), ``held_out/log_gap/<modality>``, ``development/solved`` (share of (function, target) pairs that the policy reaches on
    the tuning half of the development suite) and ``score/held_out``, by which the best weights are chosen: the mean reward a
    step plus the solved share.

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

    @classmethod
    def from_config(cls, config: DDPGModelConfig, *, seed: int = 0) -> DDPGModule:
        """Load the direction predictor that the config names.

        Raises:
            ValueError: if there is none, it is damaged, or it looks at grids of another size.
        """
        return cls(config, load_angle_net(config.angle_net), seed)

    def configure_callbacks(self) -> list[pl.Callback]:
        """When to look, and when to give up."""
        return [MetaTest(figures_every=self.config.figures_every), StopOnDivergence()]

    def policy(self) -> Policy:
        """A copy of direction predictor and actor as they are now, on the CPU."""
        config = self.config
        navigation = config.navigation
        rules = PolicyConfig(
            self.angle_net.config, config.network, config.memory_size, navigation.frame, navigation.act_first
        )
        with torch.random.fork_rng(devices=[]):  # its initial weights are not wanted
            policy = Policy(rules)
        policy.angle_net.load_state_dict(self.angle_net.state_dict())
        policy.actor.load_state_dict(self.actor.state_dict())
        return policy

    def export(self, path: Path, *, name: str, provenance: Mapping[str, Any]) -> None:
        """Write the policy bundle for :func:`rover.load`, with the provenance of both trainings."""
        path.parent.mkdir(parents=True, exist_ok=True)
        policy = self.policy()
        policy.provenance = {"name": name, **provenance, "direction": self.angle_net.provenance}
        policy.save(path)

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
        check_precision(self.trainer, ("32-true", "bf16-mixed"))  # 16-mixed scales losses, which `_descend` does not
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
            _restore(self.generator, mine["generator"].cpu(), self.seed + 7919 * self.global_rank + self.iterations)
            self.replay.load_state_dict(mine["replay"])
            self._restored = {}

    # ------------------------------------------------------------------------------------------------ the algorithm

    def training_step(self, batch: Prototypes, batch_idx: int) -> dict[str, Tensor]:
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
        return {name: value.detach() for name, value in metrics.items()}

    @property
    def exploration(self) -> float:
        """Standard deviation of the exploration now: linear from the configured one to a quarter of it."""
        done = min(1.0, self.iterations / max(1, self.config.exploration_iterations))
        return self.config.exploration * (1 - 0.75 * done)

    def _update_critic(self, sample: Episodes, optimizer: Any) -> dict[str, Tensor]:
        """Minimise the temporal difference against the target networks."""
        config = self.config
        seen, state = self._seen(sample), sample.state[..., : self.num_state]
        now, then = slice(None, -1), slice(1, None)
        with torch.no_grad():
            logits, _ = self.target_actor(seen)
            action = self.target_actor.squash(logits, self._smoothing(logits))
            if config.recurrent_critic:  # its memory runs from the start of the episode
                values = [critic(seen, state, action)[:, then] for critic in self.target_critics]
            else:
                values = [critic(seen.at(then), state[:, then], action[:, then]) for critic in self.target_critics]
            target = td_target(sample.reward, torch.stack(values).amin(0), config.gamma)
        predictions = [critic(seen.at(now), state[:, now], sample.action) for critic in self.critics]
        loss = torch.stack([td_loss(q, target, config.td) for q in predictions]).sum()
        norm = self._descend(loss, self.critics, optimizer)
        return {"critic_loss": loss.detach(), "q": predictions[0].detach().mean(), "critic_gradient": norm}

    def _smoothing(self, logits: Tensor) -> Tensor | None:
        """Noise on the target action (TD3), in units of the tanh as the exploration is."""
        if not self.config.smoothing:
            return None
        noise = torch.randn(logits.shape, generator=self.generator, dtype=logits.dtype, device=logits.device)
        return (self.config.smoothing * noise).clamp(-0.3, 0.3)

    def _update_actor(self, sample: Episodes, optimizer: Any) -> dict[str, Tensor]:
        """Climb the critic: the deterministic policy gradient."""
        now = slice(None, -1)
        seen = self._seen(sample).at(now)
        logits, _ = self.actor(seen)
        q = self.critics[0](seen, sample.state[:, now, : self.num_state], self.actor.squash(logits))
        loss = policy_gradient_loss(q, logits, self.config.actor_penalty)
        norm = self._descend(loss, self.actor, optimizer)
        return {"actor_loss": loss.detach(), "actor_gradient": norm, "logit": logits.detach().abs().mean()}

    def _seen(self, sample: Episodes) -> Seen:
        return see(sample.grid, sample.direction, sample.context, self.config.network)

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

    # ---------------------------------------------------------------------------------------------------- validation

    def validation_step(self, batch: Prototypes, batch_idx: int) -> None:
        """How good the deterministic policy is on held-out prototypes and on the development functions."""
        del batch_idx
        found, solved = self._scores(batch, seed=0)
        score = found["return"] / 30 + solved
        # Every rank computes the same figures, up to rounding: all must agree which checkpoint is the best.
        options: dict[str, Any] = {"logger": False, "batch_size": 1, "sync_dist": True}
        self.log("score/held_out", score, **options)
        self.log("held_out/return", found["return"], prog_bar=True, **options)
        self.log("development/solved", solved, prog_bar=True, **options)
        if self.logger is not None and not self.trainer.sanity_checking:
            values = {f"held_out/{name}": value for name, value in found.items()}
            values |= {"development/solved": solved, "score/held_out": score}
            self.logger.log_metrics(values, step=self.iterations)

    def test_step(self, batch: Prototypes, batch_idx: int) -> None:
        """The same figures, on other held-out prototypes, for the final table."""
        del batch_idx
        found, solved = self._scores(batch, seed=1)
        for name, value in (found | {"solved": solved}).items():
            self.log(f"test/{name}", value, logger=False, batch_size=1, sync_dist=True)

    def _scores(self, batch: Prototypes, seed: int) -> tuple[dict[str, float], float]:
        """Figures on prototypes, and the share solved of the development functions."""
        policy = self.policy()
        development = Yardstick.development()
        found = summarise(held_out_scores(policy, batch.to("cpu"), seed=seed))
        return found, development.share_solved(development.best(policy))

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


def _restore(generator: torch.Generator, state: Tensor, seed: int) -> None:
    """The generator of a checkpoint; one from another kind of device says nothing here, and another stream begins."""
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
        return
    generator.manual_seed(seed)
    rank_zero_warn(
        "the checkpoint comes from another kind of device: weights and replay go on, random numbers start anew"
    )


def _gather(mine: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry a rank, on every rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, mine)
    return everyone
