"""What the shipped 5 x 5 policy reaches in more than two dimensions, untuned; and what the mean of eq 9 does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rover
from rover.landscapes.problems import LinearClassification, QuadraticProblem, RosenbrockProblem
from rover.optimize import Partners, RandomAxes

RUN = {"batched": True, "policy": "grid5", "xatol": 0.0, "fatol": 0.0}


def gen(seed):
    return torch.Generator().manual_seed(seed)


def test_a_quadratic_in_three_dimensions():
    for seed in range(3):
        problem = QuadraticProblem(3, gen(seed))
        result = rover.minimize(problem, problem.sample_starts(1, gen(9))[0].numpy(), maxiter=60, **RUN)
        assert result.fun <= 1e-6


def test_rosenbrock_in_ten_dimensions():
    result = rover.minimize(RosenbrockProblem(10), np.zeros(10), maxiter=300, **RUN)
    assert result.fun <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_rosenbrock_from_its_classic_start_in_a_box(seed: int) -> None:
    """There is a second minimum, 3.99, near (-1, 1, ..., 1), the side of the start."""
    x0 = np.tile([-1.2, 1.0], 5) + 0.1 * np.random.default_rng(seed).standard_normal(10)
    box = [(-5, 5)] * 10
    result = rover.minimize(RosenbrockProblem(10), x0, bounds=box, batched=True, probe=False, maxiter=300, seed=seed)
    assert result.fun <= 1e-10


def test_linear_classification_beats_any_learning_rate_of_gradient_descent():
    problem = LinearClassification(30, seed=5)
    start = problem.sample_starts(1, gen(5))
    found = rover.minimize(problem, start[0].numpy(), maxiter=100, slices=Partners(2), **RUN).fun
    lowest = []
    for rate in (0.5, 1.0, 2.0, 3.0, 5.0, 8.0):
        x, best = start.clone(), float("inf")
        for _ in range(100):
            x = x - rate * problem.gradient(x)
            best = min(best, problem(x).item())
        lowest.append(best)
    assert found <= min(lowest)
    assert found <= 1.001 * problem.minimum


def test_the_mean_of_many_slices_is_worse_than_trying_it_out():
    """All axes of a strongly coupled quadratic at once: eq 9 overshoots, whatever the policy."""
    problem = LinearClassification(12, seed=6)
    start = problem.sample_starts(4, gen(6)).numpy()
    gaps = {}
    for combine in ("mean", "search"):
        result = rover.minimize(problem, start, maxiter=60, slices=RandomAxes(12), combine=combine, **RUN)
        gaps[combine] = np.median([one.fun for one in result.starts]) - problem.minimum
    assert gaps["search"] < gaps["mean"] / 10
