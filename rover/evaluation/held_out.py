"""How good a policy is, in numbers small enough to look at during its training.

On held-out prototypes (section 3.2.3): the return of eq 7 over T = 30 steps with noise, and
``log10 (f_T - f*) / (f_0 - f*)`` without noise. On other functions: how many come close to their minimum.
None of it touches the generators of a training: every draw follows from the seed given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rover.evaluation.navigate import Navigator, Trajectory, navigate
from rover.evaluation.protocol import meta_test_starts
from rover.landscapes.base import Landscape
from rover.landscapes.prototypes import MODALITIES, Prototypes
from rover.landscapes.stack import Stack
from rover.landscapes.suite import TARGETS, suite
from rover.landscapes.test_functions import TEST_FUNCTIONS
from rover.landscapes.transforms import Transformed
from rover.navigation.rewards import window_reward

ALPHA_RANGE = (0.01, 10.0)
WINDOW_RANGE = (0.05, 15.0)
"""Initial step sizes and half-widths of the grid on held-out prototypes, whatever a training has used."""

_SMALLEST = 1e-30  # gaps below count as this: the logarithm of an exact hit stays finite


class HeldOutScores(NamedTuple):
    """Scores of B rovers."""

    total: Tensor  # (B,) return of eq 7, noise on; -T is about what standing still earns
    log_gap: Tensor  # (B,) log10 (f_T - f*) / (f_0 - f*), noise-free
    modality: Tensor  # (B,)


def episode_return(gap: Tensor, window: int = 5) -> Tensor:
    """Undiscounted return of eq 7 along trajectories of noise-free gaps: ``(R + 1, B) -> (B,)``."""
    padded = torch.cat([gap.new_full((window - 1, *gap.shape[1:]), float("nan")), gap])
    windows = padded.unfold(0, window, 1)  # (R + 1, B, window)
    return window_reward(windows[1:], gap.new_zeros(gap.shape[1:])).sum(0)


def initial_rovers(landscape: Prototypes, grid_size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Starts ``(B, 2)``, step sizes ``(B,)`` and resolutions ``(B,)`` on held-out prototypes."""
    device, dtype = landscape.minimizer.device, landscape.minimizer.dtype
    generator = torch.Generator(device).manual_seed(seed)
    theta = landscape.sample_starts(generator)
    u = torch.rand(2, len(theta), generator=generator, dtype=dtype, device=device)
    (a, b), (c, d) = ALPHA_RANGE, WINDOW_RANGE
    return theta, a * (b / a) ** u[0], c * (d / c) ** u[1] * 2 / (grid_size - 1)


def held_out_scores(
    policy: Navigator,
    landscape: Prototypes,
    *,
    horizon: int = 30,
    seed: int = 0,
    start: tuple[Tensor, Tensor, Tensor] | None = None,
) -> HeldOutScores:
    """Run a policy twice on held-out prototypes, with and without noise.

    Args:
        policy: the rover.
        landscape: prototypes with the noise that the return is to be measured under.
        horizon: T.
        seed: of starts, step sizes, resolutions and noise.
        start: instead of the drawn starts, step sizes and resolutions.
    """
    start = initial_rovers(landscape, policy.grid_size, seed) if start is None else start
    noise = torch.Generator(landscape.minimizer.device).manual_seed(seed + 1)
    noisy = navigate(policy, landscape, *start, horizon, noise)
    exact = navigate(policy, landscape, *start, horizon)
    ratio = exact.gap[-1].clamp(min=_SMALLEST) / exact.gap[0].clamp(min=_SMALLEST)
    return HeldOutScores(episode_return(noisy.gap), ratio.log10(), landscape.modality)


def summarise(scores: HeldOutScores) -> dict[str, float]:
    """``return``, ``return/<modality>`` (means), ``log_gap/<modality>`` (median), ``log_gap_p90/<modality>``."""
    result = {"return": scores.total.mean().item()}
    for kind, name in enumerate(MODALITIES):
        mine = scores.modality == kind
        if mine.any():
            result[f"return/{name}"] = scores.total[mine].mean().item()
            result[f"log_gap/{name}"] = scores.log_gap[mine].median().item()
            result[f"log_gap_p90/{name}"] = scores.log_gap[mine].quantile(0.9).item()
    return result


class Yardstick:
    """Functions that a policy was not trained on, with a box each, navigated together without bounds or restarts.

    Args:
        landscape: B instances.
        theta: starts ``(B, 2)``.
        name: ``(B,)`` names; scores are taken by name.
        scale: ``(B,)``, the unit of the gaps.
    """

    def __init__(self, landscape: Landscape, theta: Tensor, name: Sequence[str], scale: Tensor) -> None:
        self.landscape, self.theta, self.name, self.scale = landscape, theta, list(name), scale

    @classmethod
    def test_functions(cls, count: int = 20, perturbation: float = 0.01, seed: int = 0) -> Yardstick:
        """F_test from `count` perturbed starts each; McCormick is continued by reflection beyond its box.

        To be looked at, never to choose by: F_test is for the final count.
        """
        drawn = [
            meta_test_starts(name, "perturbed", count, seed=seed, perturbation=perturbation) for name in TEST_FUNCTIONS
        ]
        stack = Stack([Transformed(problem) for problem, _ in drawn])
        names = [name for name in TEST_FUNCTIONS for _ in range(count)]
        return cls(stack, torch.cat([start for _, start in drawn]), names, torch.ones_like(stack.minimum))

    @classmethod
    def development(cls, instances: int = 2, seed: int = 0) -> Yardstick:
        """The tuning half of the development suite: what may be chosen by."""
        problems = suite("tuning", seed=seed, instances=instances)
        theta = torch.stack([torch.from_numpy(problem.start) for problem in problems])
        scale = torch.tensor([problem.gap_scale for problem in problems], dtype=torch.float64)
        return cls(Stack([p.landscape for p in problems]), theta, [p.function for p in problems], scale)

    def run(self, policy: Navigator, rounds: int = 60) -> Trajectory:
        """Navigate from a step of a tenth and a window of half the width of the box, noise-free."""
        width = (self.landscape.upper - self.landscape.lower).amin(-1)
        delta = 0.5 * width / (policy.grid_size - 1)
        return navigate(policy, self.landscape, self.theta, 0.1 * width, delta, rounds)

    def best(self, policy: Navigator, rounds: int = 60) -> Tensor:
        """Smallest gap among the evaluated points in units of `scale`: ``(B,)``."""
        return self.run(policy, rounds).best_gap[-1] / self.scale

    def share_solved(self, best: Tensor) -> float:
        """Share of (instance, target) pairs reached, over the suite's targets 1e2 to 1e-8."""
        targets = torch.tensor(TARGETS, dtype=best.dtype)
        return (best[:, None] <= targets).double().mean().item()

    def by_name(self, values: Tensor) -> dict[str, Tensor]:
        """The values of each name, names in their order."""
        rows = {name: [i for i, other in enumerate(self.name) if other == name] for name in dict.fromkeys(self.name)}
        return {name: values[index] for name, index in rows.items()}
