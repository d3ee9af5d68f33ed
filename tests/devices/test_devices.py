"""The GPU's paths without a GPU: on the meta device every mixture of devices and every copy to the host is an error.

Meta tensors have a device and a shape but no data. Whatever needs data on the host (``item``, ``bool``, ``tolist``, ``cpu``)
raises.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import train
from lit_modules.ddpg import DDPGModelConfig, DDPGModule, soft_update
from rover.landscapes import Prototypes, sample_prototypes
from rover.learning.losses import cloning_loss
from rover.learning.replay import EpisodeReplay
from rover.learning.rollout import rollout
from rover.navigation.environment import Navigation, NavigationConfig
from rover.networks import AngleNet, NetworkConfig
from tests.direction.test_training import GRID5, SMALL

NETWORK = NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8)
CONFIG = DDPGModelConfig(
    network=NETWORK, navigation=NavigationConfig(horizon=4), memory_size=6, replay_capacity=16, warmup_episodes=8,
    episodes_per_update=8,
)  # fmt: skip


def module_of(device: str) -> DDPGModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = DDPGModule(CONFIG, AngleNet(NETWORK)).to(device)
    module._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    return module


def surfaces_on(device: str) -> Prototypes:
    surfaces = sample_prototypes(8, torch.Generator().manual_seed(0))
    groups, rows = surfaces._layout()  # found once for each batch, on the host
    moved = surfaces.to(device)
    moved._layout_of, moved._kept_layout = moved.centers, (groups, type(rows)(*(part.to(device) for part in rows)))
    return moved


def replay_on(device: str) -> EpisodeReplay:
    return EpisodeReplay(16, 4, 5, Navigation.num_state(CONFIG.navigation), device)


def iterate(module: DDPGModule, surfaces: Prototypes, replay: EpisodeReplay, generator: Any) -> dict[str, torch.Tensor]:
    """What a training step does: roll out, remember, update critic, actor and targets."""
    module.generator = generator
    navigation = Navigation(surfaces, CONFIG.navigation, 5, module.angle_net.direction, generator)
    episodes = rollout(navigation, module.actor, 0.3)
    replay.add(episodes)
    sample = replay.sample(8, generator)
    actor_optimizer, critic_optimizer = module.configure_optimizers()
    metrics = module._update_critic(sample, critic_optimizer) | module._update_actor(sample, actor_optimizer)
    soft_update(module.target_actor, module.actor, 0.1)
    soft_update(module.target_critics, module.critics, 0.1)
    return metrics | {"return": episodes.reward.sum(1).mean()}


def test_rollout_and_updates_stay_on_the_device() -> None:
    module, surfaces = module_of("meta"), surfaces_on("meta")
    metrics = iterate(module, surfaces, replay_on("meta"), None)
    assert all(value.is_meta for value in metrics.values())
    assert all(part.is_meta for part in surfaces.mean_and_std(torch.empty(8, 3, 2, dtype=torch.float64, device="meta")))
    assert all(parameter.is_meta for parameter in module.parameters())


def test_the_direction_net_stays_on_the_device() -> None:
    net = AngleNet(NETWORK).to("meta")
    grid, teacher = torch.rand(6, 5, 5, device="meta"), torch.rand(6, 2, device="meta")
    loss = cloning_loss(net(grid), teacher, teacher[:, None].expand(6, 3, 2))
    loss.backward()
    assert loss.is_meta and all(p.grad is not None and p.grad.is_meta for p in net.parameters())


def test_what_these_tests_rest_on() -> None:
    """A copy to the host, a look at a value and a mixture of devices are errors there."""
    there = torch.rand(3, device="meta")
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        there.cpu()
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        bool((there > 0).all())
    with pytest.raises(RuntimeError, match="device"):
        there + torch.rand(3)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_a_device_computes_what_the_cpu_computes(device: str) -> None:
    """Noise-free, because generators of different devices give different numbers."""
    here, there = surfaces_on("cpu"), surfaces_on(device)
    x = here.sample_starts(torch.Generator().manual_seed(1))[:, None] + torch.linspace(-1, 1, 9)[:, None]
    torch.testing.assert_close(there.mean(x.to(device)).cpu(), here.mean(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(there.noise_std(x.to(device)).cpu(), here.noise_std(x), rtol=1e-6, atol=1e-9)
    module, other = module_of("cpu"), module_of(device)
    grid = torch.rand(16, 5, 5, generator=torch.Generator().manual_seed(2))
    expected, found = module.angle_net.direction(grid), other.angle_net.direction(grid.to(device)).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    metrics = iterate(other, there, replay_on(device), torch.Generator(device).manual_seed(0))
    assert all(value.isfinite() and value.device.type == device for value in metrics.values())


def test_the_direction_net_trains_in_bfloat16(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed: curvature is a tiny signal in a small window, and grids in 8 bits of precision would lose it."""
    monkeypatch.chdir(tmp_path)
    words = [
        *SMALL,
        *GRID5,
        "trainer.precision=bf16-mixed",
        "trainer.limit_train_batches=6",
        "trainer.val_check_interval=6",
    ]
    assert train.main(["--config", "angle.yaml", *words, "trainer.logger=false"]) == 0
