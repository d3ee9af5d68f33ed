"""F_test against the printed formulas (13-18), and every claimed minimum against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import differential_evolution, minimize

from rover.landscapes.multimodal import MULTIMODAL
from rover.landscapes.test_functions import TEST_FUNCTIONS, Ackley, McCormick, Styblinski
from rover.landscapes.transforms import as_objective
from rover.landscapes.unimodal import UNIMODAL, Quadratic

PRINTED = {
    "rosenbrock": lambda x, y: 100 * (y - x**2) ** 2 + (x - 1) ** 2,
    "ackley": lambda x, y: (
        -20 * np.exp(-0.2 * np.sqrt(0.5 * (x**2 + y**2)))
        - np.exp(0.5 * np.cos(2 * np.pi * x) + 0.5 * np.cos(2 * np.pi * y))
        + 20
        + np.e
    ),
    "rastrigin": lambda x, y: 20 + x**2 - 10 * np.cos(2 * np.pi * x) + y**2 - 10 * np.cos(2 * np.pi * y),
    "mccormick": lambda x, y: np.sin(x + y) + (x - y) ** 2 - 1.5 * x + 2.5 * y + 1,
    "styblinski": lambda x, y: 0.5 * (x**4 - 16 * x**2 + 5 * x + y**4 - 16 * y**2 + 5 * y),
    "beale": lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2,
}
CLASSIC = (*UNIMODAL, *MULTIMODAL)


def test_there_are_six_in_the_papers_order():
    assert tuple(TEST_FUNCTIONS) == tuple(PRINTED)


@pytest.mark.parametrize("name", TEST_FUNCTIONS)
def test_formula_is_the_printed_one(name):
    f = TEST_FUNCTIONS[name](2)
    points = np.random.default_rng(0).uniform(-5, 5, (300, 2))
    expected = PRINTED[name](points[:, 0], points[:, 1])
    np.testing.assert_allclose(as_objective(f, 1)(points), expected, rtol=1e-12, atol=1e-11)


def test_polished_minimisers():
    x, y = McCormick.known_minimizer
    assert np.cos(x + y) == pytest.approx(-0.5, abs=1e-15) and x - y == pytest.approx(1, abs=1e-15)
    x = Styblinski.known_minimizer[0]
    assert abs(4 * x**3 - 32 * x + 5) < 1e-13 and min(np.roots([4, 0, -32, 5]).real) == pytest.approx(x, abs=1e-14)


def test_mccormick_is_unbounded_outside_its_box():
    f = as_objective(McCormick())
    s = -50.0
    assert f(np.array([[(s + 1) / 2, (s - 1) / 2]]))[0] < McCormick.known_minimum
    assert not McCormick.minimum_is_global


@pytest.mark.parametrize("distance", [0.0, 1e-300, 1e-165, 1e-160, 1e-20, 1e-8, 1.0, 1e6])
def test_ackley_has_finite_gradients_even_at_its_tip(distance):
    x = torch.tensor([[[distance, -2 * distance]]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(Ackley()(x).sum(), x)
    assert gradient.isfinite().all()
    if 1e-160 <= distance <= 1e-8:
        assert gradient.norm().item() == pytest.approx(2 * np.sqrt(2), rel=1e-2)


def test_ackley_has_no_cancellation_near_its_tip():
    f = as_objective(Ackley())
    assert f(np.array([[3e-20, 4e-20]]))[0] == pytest.approx(4 * 5e-20 / np.sqrt(2), rel=1e-12)


def test_quadratic_has_the_condition_it_was_given():
    f = Quadratic(3, condition=torch.tensor([1.0, 10.0, 1e6]))
    x = torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i, condition in enumerate((1.0, 10.0, 1e6)):
        hessian = torch.autograd.functional.hessian(lambda p, i=i: f.select(slice(i, i + 1))(p).sum(), x[i : i + 1])
        eigen = torch.linalg.eigvalsh(hessian.reshape(2, 2))
        assert (eigen[1] / eigen[0]).item() == pytest.approx(condition)
    with pytest.raises(ValueError, match="`condition` must be at least 1"):
        Quadratic(condition=0.5)


def test_no_classic_function_is_a_test_function():
    """Not even a shifted, rotated, scaled copy: then the sorted Hessian spectra at the minima would be proportional."""
    assert not {cls.name for cls in CLASSIC} & set(TEST_FUNCTIONS)
    names = [cls.name for cls in CLASSIC]
    assert len(set(names)) == len(names)
    values = {}
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4000, 2))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The distribution of the gap on circles around the minimiser does not change under rotation and shift.
    for cls in (*CLASSIC, *TEST_FUNCTIONS.values()):
        f, x = as_objective(cls()), np.array(cls.known_minimizer)
        radius = 0.2 * min(high - low for low, high in cls.box)
        profile = np.concatenate([np.quantile(f(x + r * radius * directions), [0.1, 0.5, 0.9]) for r in (0.3, 1.0)])
        profile = profile - cls.known_minimum
        values[cls.name] = np.log(np.maximum(profile, 1e-12) / max(profile[4], 1e-12))
    for name in names:
        for test in TEST_FUNCTIONS:
            assert np.abs(values[name] - values[test]).max() > 0.02, (name, test)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [*TEST_FUNCTIONS.values(), *CLASSIC], ids=lambda cls: cls.name)
def test_scipy_finds_the_claimed_minimum_and_nothing_lower(cls):
    f = as_objective(cls())
    found = []
    for seed in range(3):
        start = differential_evolution(
            lambda x: f(x.T), cls.box, rng=seed, popsize=40, maxiter=400, tol=1e-12, vectorized=True, polish=False,
            updating="deferred",
        )  # fmt: skip
        end = minimize(lambda x: f(x[None])[0], start.x, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-15})
        found.append(end.fun if all(a <= v <= b for v, (a, b) in zip(end.x, cls.box, strict=True)) else start.fun)
    tolerance = 1e-8 * max(1.0, abs(cls.known_minimum))
    assert min(found) == pytest.approx(cls.known_minimum, abs=1e-5 if not cls.smooth else tolerance)
    assert min(found) >= cls.known_minimum - 1e-12 * max(1.0, abs(cls.known_minimum))
    # and SciPy, started at the claimed minimiser, does not leave it for something lower
    polished = minimize(lambda x: f(x[None])[0], cls.known_minimizer, method="Nelder-Mead")
    assert polished.fun >= cls.known_minimum - 1e-12 * max(1.0, abs(cls.known_minimum))
