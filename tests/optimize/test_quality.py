"""The trained policies do what is promised, without a tuning argument. The test functions are for this count only."""

from __future__ import annotations

import numpy as np
import pytest

import rover
from rover.landscapes.test_functions import TEST_FUNCTIONS
from rover.landscapes.transforms import as_objective

# Median gap of twenty perturbed starts after at most 60 rounds.
PROMISED = {"rosenbrock": 1e-3, "ackley": 1e-6, "rastrigin": 1e-4, "mccormick": 1e-8, "beale": 1e-10}


def gaps(name: str, **options: object) -> np.ndarray:
    """Of twenty starts, perturbed with a standard deviation of 0.1, each a rover of its own."""
    landscape = TEST_FUNCTIONS[name]()
    low, high = landscape.lower[0].numpy(), landscape.upper[0].numpy()
    starts = landscape.start[0].numpy() + 0.1 * np.random.default_rng(7).normal(size=(20, 2))
    result = rover.minimize(
        as_objective(landscape), starts.clip(low, high), bounds=list(zip(low, high, strict=True)),
        batched=True, maxiter=60, **options,
    )  # fmt: skip
    return np.array([one.fun for one in result.starts]) - landscape.minimum.item()


@pytest.mark.parametrize("name", PROMISED)
def test_functions_of_the_paper(name: str) -> None:
    assert np.median(gaps(name)) <= PROMISED[name]


def test_bowls_under_ripples() -> None:
    """The family on which the size of the first window was chosen (docs/decisions.md 18)."""
    rng, found = np.random.default_rng(5), 0
    for _ in range(40):
        angle, center = rng.uniform(0, np.pi), rng.uniform(-0.6, 0.6, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        waves, height, bowl = rng.uniform(2, 6), 10 ** rng.uniform(-1.5, -0.3), rng.uniform(0.5, 2, 2)

        def rippled(x: np.ndarray, turn=turn, center=center, waves=waves, height=height, bowl=bowl) -> np.ndarray:
            z = (x - center) @ turn
            return (bowl * z**2 + height * (1 - np.cos(np.pi * waves * z))).sum(-1)

        found += rover.minimize(rippled, [0.9, -0.9], bounds=[(-1, 1)] * 2, batched=True, maxiter=60).fun < 1e-6
    assert found >= 39  # 40 with half-windows of 0.16 box widths and more, 39 with less


def test_the_global_basin_of_styblinski_and_tang() -> None:
    assert (gaps("styblinski") < 1.0).sum() >= 15  # the next best minimum is 14 higher


def test_names_load_and_say_where_they_come_from() -> None:
    assert "default" in rover.available()
    for name in rover.available():
        policy = rover.load(name)
        assert policy.provenance and policy.grid_size >= 3
    assert rover.load("default").grid_size == 15 and rover.load().config.act_first


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_without_bounds_on_any_scale(scale: float) -> None:
    def bowl(x: np.ndarray) -> np.ndarray:
        return ((x / scale - np.array([1.0, -2.0])) ** 2 @ np.array([1.0, 10.0])) + 1.0

    result = rover.minimize(bowl, scale * np.array([4.0, 3.0]), batched=True)
    assert result.success and result.fun - 1.0 < 1e-10
    np.testing.assert_allclose(result.x, scale * np.array([1.0, -2.0]), rtol=1e-4)


def test_restarts_go_elsewhere_and_keep_the_best() -> None:
    def many(x: np.ndarray) -> np.ndarray:  # a broad bowl away from the start, and a narrow deep hole
        return (
            0.1 * (x**2).sum(-1)
            + 2 * np.sin(3 * x).prod(-1)
            - 6 * np.exp(-8 * ((x - np.array([3.1, 2.3])) ** 2).sum(-1))
        )

    options = {"bounds": [(-5, 5)] * 2, "batched": True, "maxiter": 150, "probe": False}
    once = rover.minimize(many, [-4.0, -4.0], **options)
    often = rover.minimize(many, [-4.0, -4.0], restarts=30, **options)
    assert often.fun <= once.fun == once.starts[0].fun and often.trajectory.restart.max() >= 1 and often.nit > once.nit
