"""One DDPG update of ours against those of TorchRL and Stable-Baselines3: same batch, same layers, random data.

TorchRL is the peer of equal work: its actor runs an LSTM over the same 32 episodes of 30 steps. Stable-Baselines3 has no
recurrent DDPG and takes the 960 transitions as independent rows, which saves it a tenth of the update.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import interleaved, rate_row
from lit_modules.ddpg import DDPGModelConfig, DDPGModule, soft_update
from rover.learning.replay import EpisodeReplay, Episodes
from rover.navigation.environment import Navigation, NavigationConfig
from rover.networks import AngleNet, Encoder, NetworkConfig

EPISODES, HORIZON, GRID_SIZE = 32, 30, 15
STORED = 512  # episodes in the replay
MEMORY, GAMMA, TAU, ACTOR_LR, CRITIC_LR, CLIP = 64, 0.98, 0.01, 5e-4, 1e-3, 1.0
NETWORK = NetworkConfig(
    grid_size=GRID_SIZE, channels=(8, 16), hidden_size=64, canonical=False, features=False, context=False
)


def rows() -> list[dict[str, Any]]:
    """What was measured; a peer that is not installed (extra ``bench``) has no row."""
    peers: dict[str, tuple[str, Callable[[], Callable[[], Any]], str]] = {
        "torchrl": ("TorchRL's at the same batch, sequence length and network size", torchrl, ">= 1"),
        "stable_baselines3": ("Stable-Baselines3's, which has no memory", stable_baselines, ""),
    }
    updates = {"ours": ours()}
    for name, (_, make, _) in peers.items():
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed (pip install 'rover-descent[bench]'): its row is left out")
        else:
            updates[name] = make()
    seconds = interleaved(updates, rounds=9)
    return [
        rate_row(
            f"DDPG updates/s (32 episodes of 30 steps, the paper's networks) against {what}",
            seconds["ours"], seconds[name], asked,
        )
        for name, (what, _, asked) in peers.items()
        if name in seconds
    ]  # fmt: skip


def ours() -> Callable[[], None]:
    """One update of our module, single critic and no delay as in the paper."""
    config = DDPGModelConfig(
        network=NETWORK, navigation=NavigationConfig(horizon=HORIZON), twin=False, smoothing=0.0, actor_delay=1,
        privileged_critic=False,
    )  # fmt: skip
    module = DDPGModule(config, AngleNet(NETWORK))
    module._trainer = type("Alone", (), {"world_size": 1})()  # type: ignore[assignment]
    actor_optimizer, critic_optimizer = module.configure_optimizers()
    states = Navigation.num_state(config.navigation)
    replay = EpisodeReplay(STORED, HORIZON, GRID_SIZE, states)
    shapes = [(HORIZON + 1, GRID_SIZE, GRID_SIZE), (HORIZON + 1, 2), (HORIZON + 1, 5), (HORIZON + 1, states)]
    parts = [torch.rand(STORED, *shape) for shape in [*shapes, (HORIZON, 2), (HORIZON,)]]
    replay.add(Episodes(*parts))
    generator = torch.Generator().manual_seed(0)

    def update() -> None:
        sample = replay.sample(EPISODES, generator)
        module._update_critic(sample, critic_optimizer)
        module._update_actor(sample, actor_optimizer)
        soft_update(module.target_actor, module.actor, config.tau)
        soft_update(module.target_critics, module.critics, config.tau)

    return update


class Features(nn.Module):
    """Our encoder and the fully connected layer behind it, for the peers: ``(..., n, n) -> (..., hidden_size)``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(NETWORK, norm="layer")
        self.fc = nn.Linear(self.encoder.out_features, NETWORK.hidden_size)

    def forward(self, grid: Tensor) -> Tensor:
        """As the trunk of actor and critic."""
        return torch.relu(self.fc(self.encoder(grid.flatten(0, -3)))).unflatten(0, grid.shape[:-2])


def layers(*sizes: int) -> list[nn.Module]:
    """Fully connected, ReLU between them."""
    found: list[nn.Module] = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        found += [nn.Linear(before, after), nn.ReLU()]
    return found[:-1]


def torchrl() -> Callable[[], None]:
    """One update of TorchRL's ``DDPGLoss`` with an ``LSTMModule`` in its actor."""
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
    from torchrl.modules import LSTMModule, ValueOperator, set_recurrent_mode
    from torchrl.objectives import DDPGLoss, SoftUpdate, ValueEstimators

    class Value(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = Features()
            self.head = nn.Sequential(*layers(NETWORK.hidden_size + 2, 128, 128, 1))

        def forward(self, grid: Tensor, action: Tensor) -> Tensor:
            return self.head(torch.cat([self.features(grid), action], -1))

    memory = LSTMModule(NETWORK.hidden_size, MEMORY, in_key="seen", out_key="remembered")
    head = nn.Sequential(*layers(MEMORY, 64, 64, 2), nn.Tanh())
    actor = TensorDictSequential(
        TensorDictModule(Features(), ["grid"], ["seen"]), memory, TensorDictModule(head, ["remembered"], ["action"])
    )
    loss = DDPGLoss(
        actor, ValueOperator(Value(), ["grid", "action"]), loss_function="smooth_l1", delay_actor=True, delay_value=True
    )
    loss.make_value_estimator(ValueEstimators.TD0, gamma=GAMMA)
    targets = SoftUpdate(loss, tau=TAU)
    optimizers = [
        torch.optim.Adam(loss.actor_network_params.values(True, True), ACTOR_LR),
        torch.optim.Adam(loss.value_network_params.values(True, True), CRITIC_LR),
    ]

    def seen() -> dict[str, Tensor]:
        zeros = torch.zeros(STORED, HORIZON, 1, MEMORY)
        grid = torch.rand(STORED, HORIZON, GRID_SIZE, GRID_SIZE)
        state = {"recurrent_state_h": zeros, "recurrent_state_c": zeros.clone()}
        return {"grid": grid, "is_init": torch.zeros(STORED, HORIZON, 1, dtype=torch.bool), **state}

    now, then = seen(), seen()
    now["is_init"][:, 0] = True
    end = torch.zeros(STORED, HORIZON, 1, dtype=torch.bool)
    end[:, -1] = True
    then |= {"reward": torch.rand(STORED, HORIZON, 1), "done": end, "terminated": end.clone()}
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(STORED), batch_size=EPISODES)
    buffer.extend(
        TensorDict({**now, "action": 2 * torch.rand(STORED, HORIZON, 2) - 1, "next": then}, [STORED, HORIZON])
    )

    def update() -> None:
        with set_recurrent_mode(True):
            losses = loss(buffer.sample())
        (losses["loss_actor"] + losses["loss_value"]).backward()
        for optimizer in optimizers:
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], CLIP)
            optimizer.step()
            optimizer.zero_grad()
        targets.step()

    return update


def stable_baselines() -> Callable[[], None]:
    """One update of Stable-Baselines3's DDPG with our encoder and hidden layers of our sizes."""
    import gymnasium
    import numpy as np
    from stable_baselines3 import DDPG
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class Extractor(BaseFeaturesExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space, NETWORK.hidden_size)
            self.features = Features()

        def forward(self, seen: Tensor) -> Tensor:
            return self.features(seen)

    class Blank(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0.0, 1.0, (GRID_SIZE, GRID_SIZE), np.float32)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    kinds = {"features_extractor_class": Extractor, "net_arch": {"pi": [64, 64], "qf": [128, 128]}}
    batch = EPISODES * HORIZON
    model = DDPG("MlpPolicy", Blank(), policy_kwargs=kinds, batch_size=batch, buffer_size=4 * batch, device="cpu")
    model.set_logger(configure(None, []))
    rng = np.random.default_rng(0)
    for _ in range(4 * batch):
        grid, after = rng.random((2, 1, GRID_SIZE, GRID_SIZE), dtype=np.float32)
        action, reward = rng.uniform(-1, 1, (1, 2)), rng.random(1)
        model.replay_buffer.add(grid, after, action, reward, np.zeros(1), [{}])
    return lambda: model.train(1, batch)
