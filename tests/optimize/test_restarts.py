"""Where and when a rover begins anew."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import rover
from rover.optimize.restarts import SEPARATION, Restarts


def many_basins(x: np.ndarray) -> np.ndarray:
    """Nine bowls of different depth in [-3, 3]^2; the deepest, at (2, -2), is 0."""
    centers = np.array([[i, j] for i in (-2.0, 0.0, 2.0) for j in (-2.0, 0.0, 2.0)])
    depths = np.array([0.7, 0.6, 0.8, 0.5, 0.3, 0.9, 0.0, 0.4, 0.2])
    return (depths + 4 * ((x[:, None] - centers) ** 2).sum(-1)).min(-1)


def test_restarts_find_the_deepest_of_nine_basins() -> None:
    box = [(-3.0, 3.0)] * 2
    options = {"bounds": box, "batched": True, "policy": "grid5", "maxiter": 400}
    once = rover.minimize(many_basins, [-2.0, 2.0], initial_step=0.1, initial_resolution=0.1, **options)
    again = rover.minimize(many_basins, [-2.0, 2.0], initial_step=0.1, initial_resolution=0.1, restarts=40, **options)
    assert once.fun > 0.1  # the basin in which it stands
    assert again.fun < 1e-8
    np.testing.assert_allclose(again.x, [2.0, -2.0], atol=1e-3)


def test_a_new_start_is_the_best_sample_away_from_all_visited_places() -> None:
    restarts = Restarts(1, torch.zeros(2, dtype=torch.float64))
    points = torch.tensor([[[0.5, 0.5], [0.52, 0.5], [0.9, 0.9], [0.1, 0.1]]], dtype=torch.float64)
    restarts.remember(points, torch.tensor([[0.0, 1.0, 3.0, math.nan]], dtype=torch.float64))
    restarts.visit(0, points[0, 0])
    theta, radius = restarts.elsewhere(0)
    assert torch.equal(theta, points[0, 2]) and radius < 0.5
    seen = [theta]
    for _ in range(20):  # the samples are used up: an even sequence, never the same twice
        theta, _ = restarts.elsewhere(0)
        assert all(not torch.equal(theta, other) for other in seen)
        seen.append(theta)
    assert SEPARATION > 0


@pytest.mark.parametrize(("shortfall", "given_up"), [(10.0, True), (1.0, False)])
def test_a_rover_is_given_up_when_it_cannot_reach_the_incumbent(shortfall: float, given_up: bool) -> None:
    restarts = Restarts(1, torch.zeros(2, dtype=torch.float64))
    for _ in range(10):
        restarts.note(0, shortfall)
    assert restarts.hopeless(0, incumbent=0.0, spread=1.0) is given_up
