"""Steps of the navigator's environment a second: all rovers at once, against a vector of scalar environments."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.landscapes import numpy_function
from benchmarks.measure import interleaved, rate_row, row
from rover.landscapes import sample_prototypes
from rover.navigation.environment import Navigation, NavigationConfig
from rover.networks import AngleNet, NetworkConfig

GRID_SIZE, HORIZON, BATCH, SCALAR = 15, 30, 256, 8


def rows() -> list[dict[str, Any]]:
    """What was measured, see :mod:`benchmarks.measure`."""
    angle_net = AngleNet(NetworkConfig(grid_size=GRID_SIZE)).eval().requires_grad_(False)
    navigation, still = _navigation(angle_net), torch.zeros(BATCH, 2)
    vector = gymnasium.vector.SyncVectorEnv([lambda k=k: ScalarRover(angle_net, seed=k) for k in range(SCALAR)])
    keep = np.zeros((SCALAR, 2), dtype=np.float32)
    steps = 10

    def ours() -> None:
        _episode(navigation, still)

    def theirs() -> None:
        vector.reset(seed=0)
        for _ in range(steps):
            vector.step(keep)

    seconds = interleaved({"ours": ours, "theirs": theirs}, rounds=5)
    vector.close()
    return [
        rate_row(
            "environment steps/s (15 x 15 grid, noise, direction net) against a Gymnasium SyncVectorEnv of scalar ones",
            seconds["ours"], seconds["theirs"], ">= 20", work=BATCH * HORIZON, their_work=SCALAR * steps,
        ),
        row("environment steps/s, two processes, in units of 40,000", two_processes(), 40_000, ">= 1"),
    ]  # fmt: skip


def two_processes() -> float:
    """Steps a second of two processes at once, by the CPU time of each."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(_process_rate, range(2)))


def _process_rate(seed: int) -> float:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    navigation = _navigation(AngleNet(NetworkConfig(grid_size=GRID_SIZE)).eval().requires_grad_(False))
    times = []
    for _ in range(6):
        begin = time.process_time()
        _episode(navigation, torch.zeros(BATCH, 2))
        times.append(time.process_time() - begin)
    return BATCH * HORIZON / min(times)


def _navigation(angle_net: AngleNet) -> Navigation:
    generator = torch.Generator().manual_seed(0)
    surfaces = sample_prototypes(BATCH, generator)
    return Navigation(surfaces, NavigationConfig(horizon=HORIZON), GRID_SIZE, angle_net.direction, generator)


@torch.no_grad()
def _episode(navigation: Navigation, action: torch.Tensor) -> None:
    navigation.reset()
    for _ in range(HORIZON):
        navigation.step(action)


class ScalarRover(gymnasium.Env):
    """One rover as one would write it: NumPy, the paper's transition and reward (7), the direction net on a batch of one.

    It does less than ours: no frame, no context, no full state.
    """

    def __init__(self, angle_net: AngleNet, seed: int) -> None:
        self.angle_net = angle_net
        self.rng = np.random.default_rng(seed)
        surfaces = sample_prototypes(4, torch.Generator().manual_seed(seed)).select(slice(seed % 4, seed % 4 + 1))
        self.surface, self.minimum = numpy_function(surfaces, 0), float(surfaces.minimum)
        self.start = surfaces.sample_starts(torch.Generator().manual_seed(seed))[0].numpy()
        axis = np.arange(GRID_SIZE) - (GRID_SIZE - 1) / 2
        self.offsets = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (GRID_SIZE, GRID_SIZE), np.float32)
        self.action_space = gymnasium.spaces.Box(-0.5, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.theta, self.alpha, self.delta, self.time = self.start.copy(), 0.3, 0.1, 0
        self.gaps = [self._value() - self.minimum]
        return self._look(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.theta = self.theta + self.alpha * self.direction
        self.alpha, self.delta = self.alpha * (1 + float(action[0])), self.delta * (1 + float(action[1]))
        self.time += 1
        self.gaps = [*self.gaps[-4:], self._value() - self.minimum]
        reward = -self.gaps[-1] / max(float(np.mean(self.gaps)), 1e-30)
        return self._look(), reward, self.time == HORIZON, False, {}

    def _value(self) -> float:
        return float(self.surface(self.theta[None])[0][0])

    def _look(self) -> np.ndarray:
        mean, std = self.surface(self.theta + self.delta * self.offsets)
        values = mean + std * self.rng.standard_normal(len(mean))
        grid = ((values - values.min()) / max(np.ptp(values), 1e-300)).astype(np.float32).reshape(GRID_SIZE, GRID_SIZE)
        with torch.no_grad():
            self.direction = self.angle_net.direction(torch.from_numpy(grid)[None])[0].numpy()
        return grid


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    for found in rows():
        print(f"{found['ratio']:10.3g} (asked {found['asked']}): {found['name']}; {found['ours']:.3g}")
