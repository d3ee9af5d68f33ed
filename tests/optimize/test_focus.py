"""Exact models are followed at once, noise keeps the window open, and walls are mirrors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rover
from rover.navigation.grid import grid_points
from rover.optimize.focus import COARSEST, FINEST, SIGNAL, focus, focus_noisy
from rover.optimize.recent import Recent
from rover.optimize.space import Space


def grid_of(f, center=(0.0, 0.0), half: float = 1.0, n: int = 7) -> torch.Tensor:
    theta = torch.tensor([center], dtype=torch.float64)
    return f(*grid_points(theta, torch.tensor([2 * half / (n - 1)], dtype=torch.float64), n).unbind(-1))


def test_the_minimiser_of_an_exact_model_is_the_next_centre() -> None:
    seen = focus(grid_of(lambda x, y: 3 * (x - 0.1) ** 2 + (x - 0.1) * (y + 0.2) + 2 * (y + 0.2) ** 2), 7)
    torch.testing.assert_close(seen.move, torch.tensor([[0.1, -0.2]], dtype=torch.float64))
    assert seen.finest == seen.coarsest == pytest.approx(2 * np.hypot(0.1, 0.2))
    seen = focus(grid_of(lambda x, y: x**2 + y**2), 7)
    assert seen.finest == seen.coarsest == FINEST


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x + 2 * y,  # a slope
        lambda x, y: x**2 - y**2,  # a saddle
        lambda x, y: -(x**2) - y**2,  # a hill
        lambda x, y: (x - 3) ** 2 + y**2,  # a minimiser out of sight
        lambda x, y: (3 * x).sin() * (4 * y).cos(),  # no quadratic at all
        lambda x, y: 0 * x,  # a plain
        lambda x, y: x / 0,  # not finite
    ],
)
def test_everything_else_is_left_to_the_policy(f) -> None:
    seen = focus(grid_of(f), 7)
    assert seen.move.isnan().all() and seen.finest == 0 and seen.coarsest == float("inf")


@pytest.mark.parametrize(
    ("f", "bracket"),
    [
        (lambda x, y: (x - 0.4).abs() + 3 * (y + 0.3).abs(), True),
        (lambda x, y: (x - 2).abs() + 3 * (y + 0.3).abs(), False),  # the best point is on the rim
        (lambda x, y: (x.abs() + y.abs() + (7 * x).cos() * (5 * y).cos()), False),  # more basins than seven by seven can tell
    ],
)  # fmt: skip
def test_a_bracket_halves_the_window(f, bracket: bool) -> None:
    seen = focus(grid_of(f), 7)
    assert seen.move.isnan().all() and seen.finest == 0
    assert seen.coarsest == (COARSEST if bracket else float("inf"))


@pytest.mark.parametrize(("n", "bracket"), [(3, False), (5, True), (7, True)])
def test_two_basins_are_a_bracket_if_the_best_has_points_all_around(n: int, bracket: bool) -> None:
    seen = focus(grid_of(lambda x, y: (x.abs() - 0.55).abs() + 0.1 * x + 2 * y.abs(), n=n), n)
    assert seen.coarsest == (COARSEST if bracket else float("inf"))


def test_kinks_are_no_obstacle() -> None:
    rng, gaps = np.random.default_rng(3), []
    for _ in range(20):
        slope, offset = rng.normal(size=(5, 2)), rng.uniform(0.2, 1, 5)

        def kinked(x: np.ndarray, slope=slope, offset=offset) -> np.ndarray:
            return np.abs(x @ slope.T).sum(-1) + np.maximum(x @ slope.T - offset, 0).sum(-1)

        x0 = rng.uniform(-1, 1, 2)
        gaps.append(rover.minimize(kinked, x0, bounds=[(-1.2, 1)] * 2, batched=True, policy="grid3", maxfev=500).fun)
    assert max(gaps) < 1e-6  # without brackets up to 1e-3


def test_the_error_of_the_model_limits_the_zoom() -> None:
    for half in (0.3, 0.1, 0.03):  # a cubic term of relative size `half`: what is unexplained falls with the window
        seen = focus(grid_of(lambda x, y: x**2 + y**2 + x**2 * y, half=half), 7)
        assert FINEST < float(seen.finest) < min(COARSEST, 2 * half)


def noisy_focus(std: float, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    values = grid_of(lambda x, y: (x - 0.2) ** 2 + y**2, n=15)
    values = values + std * torch.randn(values.shape, generator=generator, dtype=torch.float64)
    recent, active, eye = Recent(1, 225), torch.tensor([0]), torch.eye(2, dtype=torch.float64)[None]
    points = grid_points(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([1 / 7], dtype=torch.float64), 15)
    recent.add(active, points, values)
    model = recent.model(active, torch.zeros(1, 2, dtype=torch.float64), eye)
    return focus_noisy(values, 15, model), model


def test_under_noise_the_window_stays_as_large_as_the_noise_demands() -> None:
    little, model = noisy_focus(0.01)
    assert little.move[0, 0] == pytest.approx(0.2, abs=0.02) and float(model.value[0]) == pytest.approx(0.04, abs=0.01)
    some, much = noisy_focus(0.3)[0], noisy_focus(3.0)[0]
    assert float(little.finest) < 0.5 < float(some.finest) < float(much.finest) <= 2.0
    assert SIGNAL > 0 and (much.move == 0).all()  # nothing to be seen: stay, and look wider


def test_a_noisy_run_does_not_shrink_to_nothing() -> None:
    rng = np.random.default_rng(0)
    gaps = {}
    for rule in (True, False):
        result = rover.minimize(
            lambda x: (x**2).sum(-1) + 0.1 * rng.normal(size=len(x)),
            [0.7, -0.6], bounds=[(-1, 1)] * 2, batched=True, noisy=True, maxiter=30, focus=rule,
        )  # fmt: skip
        gaps[rule] = result.trajectory.delta[-1]
        if rule:
            assert (result.x**2).sum() < 5e-3  # a twentieth of the noise
    assert gaps[True] > 100 * gaps[False]


def test_it_converges_quadratically() -> None:
    rounds = {
        rule: rover.minimize(
            lambda x: (1 - x[..., 0]) ** 2 + 100 * (x[..., 1] - x[..., 0] ** 2) ** 2,
            [-1.2, 1.0], bounds=[(-2, 2)] * 2, batched=True, ftarget=1e-13, focus=rule,
        ).nit
        for rule in (True, False)
    }  # fmt: skip
    assert rounds[True] < 0.7 * rounds[False]


def test_folded_coordinates() -> None:
    bounds = [(0, 1), (-3, None), (None, 4), (None, None)]
    space = Space(np.array([[0.5, 0.5, 0.0, 0.0]]), bounds, fold=True)
    x = np.random.default_rng(0).uniform([0, -3, -20, -20], [1, 20, 4, 20], (1000, 4))
    np.testing.assert_allclose(space.outward(space.inward(x)), x, atol=1e-13)
    u = torch.linspace(-4, 6, 10001, dtype=torch.float64)[:, None].expand(-1, 4)
    y = space.outward(u)
    assert y[:, 0].min() >= 0 and y[:, 0].max() <= 1 and y[:, 1].min() >= -3 and y[:, 2].max() <= 4
    steps = abs(np.diff(y, axis=0))
    assert steps.max() <= 1e-3 + 1e-12  # never steeper than x itself, and without a jump


@pytest.mark.parametrize("policy", ["default", "grid5"])
def test_a_minimum_on_a_wall_or_in_a_corner_is_found_to_the_last_digits(policy: str) -> None:
    wall = rover.minimize(
        lambda x: (x[..., 0] - 2) ** 2 + 3 * (x[..., 1] - 0.3) ** 2 + x[..., 0] * x[..., 1],
        [0.0, 0.0], bounds=[(-1, 1)] * 2, batched=True, policy=policy, maxiter=40,
    )  # fmt: skip
    assert wall.x == pytest.approx([1.0, 0.3 - 1 / 6], abs=1e-6) and (wall.x <= 1).all()
    corner = rover.minimize(
        lambda x: x[..., 0] + 2 * x[..., 1], [0.5, 0.5], bounds=[(-1, 1)] * 2, batched=True, policy=policy, maxiter=40
    )
    assert corner.fun == pytest.approx(-3.0, abs=1e-9)
