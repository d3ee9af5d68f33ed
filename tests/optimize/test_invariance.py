"""Translating x, scaling x with its box, and f -> a f + b leave the path the same up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rover
from rover.policy import Policy

ROUNDS = 6
START = np.array([1.5, 2.25])
LOW, HIGH = np.array([-4.0, -4.0]), np.array([4.0, 4.0])
WAYS: dict[str, dict[str, Any]] = {
    "box": {"bounds": True},
    "free": {},
    "lengths": {"initial_step": 0.5, "initial_resolution": 0.25},
    "no probe": {"bounds": True, "probe": False},
}


def f(points: np.ndarray) -> np.ndarray:
    """Smooth, curved and wavy."""
    return ((points - 0.3) ** 2 @ np.array([1.0, 4.0])) + np.sin(2 * points[:, 0]) * np.cos(points[:, 1])


def path(policy: Policy, fun: Any, x0: np.ndarray, low: np.ndarray, high: np.ndarray, **options: Any) -> Any:
    bounds = list(zip(low, high, strict=True)) if options.pop("bounds", False) else None
    result = rover.minimize(fun, x0, batched=True, policy=policy, bounds=bounds, maxiter=ROUNDS, **options)
    return result.trajectory


def assert_same(
    one: Any, two: Any, scale: float = 1.0, shift: np.ndarray | float = 0.0, tolerance: float = 1e-4
) -> None:
    """`two` is `one` after ``x -> scale x + shift``, as far as float32 networks can tell."""
    size = scale * one.delta[:, None] * 10
    assert (abs(two.theta - (scale * one.theta + shift)) <= tolerance * size + 1e-9 * abs(two.theta)).all()
    np.testing.assert_allclose(two.alpha, scale * one.alpha, rtol=tolerance)
    np.testing.assert_allclose(two.delta, scale * one.delta, rtol=tolerance)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=15)
@given(shift=st.tuples(st.integers(-64, 64), st.integers(-64, 64)))
def test_translation_of_x(policy: Policy, way: str, shift: tuple[int, int]) -> None:
    by = np.array(shift, dtype=float) / 2
    one = path(policy, f, START, LOW, HIGH, **WAYS[way])
    two = path(policy, lambda x: f(x - by), START + by, LOW + by, HIGH + by, **WAYS[way])
    assert_same(one, two, shift=by)


@pytest.mark.parametrize("way", ["box", "no probe"])
@settings(max_examples=25)
@given(power=st.integers(-60, 60))
def test_scaling_of_x_with_its_box(policy: Policy, way: str, power: int) -> None:
    scale = 2.0**power
    one = path(policy, f, START, LOW, HIGH, **WAYS[way])
    two = path(policy, lambda x: f(x / scale), START * scale, LOW * scale, HIGH * scale, **WAYS[way])
    assert_same(one, two, scale=scale)


@settings(max_examples=15)
@given(power=st.integers(-20, 20))
def test_scaling_of_x_with_the_initial_lengths(policy: Policy, power: int) -> None:
    scale = 2.0**power
    one = path(policy, f, START, LOW, HIGH, initial_step=0.5, initial_resolution=0.25)
    two = path(policy, lambda x: f(x / scale), START * scale, LOW, HIGH,
               initial_step=0.5 * scale, initial_resolution=0.25 * scale)  # fmt: skip
    assert_same(one, two, scale=scale)


@settings(max_examples=15)
@given(powers=st.tuples(st.integers(-20, 20), st.integers(-20, 20)))
def test_scaling_of_each_axis_with_its_bounds(policy: Policy, powers: tuple[int, int]) -> None:
    scale = 2.0 ** np.array(powers)
    one = path(policy, f, START, LOW, HIGH, bounds=True)
    two = path(policy, lambda x: f(x / scale), START * scale, LOW * scale, HIGH * scale, bounds=True)
    size = 10 * one.delta[:, None] * scale
    assert (abs(two.theta - scale * one.theta) <= 1e-4 * size).all()


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25)
@given(power=st.integers(-100, 100), offset=st.integers(-100, 100))
def test_affine_maps_of_f(policy: Policy, way: str, power: int, offset: int) -> None:
    factor = 2.0**power
    one = path(policy, f, START, LOW, HIGH, **WAYS[way])
    two = path(policy, lambda x: factor * (f(x) + offset), START, LOW, HIGH, **WAYS[way])
    assert_same(one, two)
    np.testing.assert_allclose(two.fun, factor * (one.fun + offset), rtol=1e-4, atol=factor * 1e-3)


@settings(max_examples=10)
@given(power=st.integers(-30, 30), shift=st.integers(-32, 32))
def test_more_than_two_variables(policy: Policy, power: int, shift: int) -> None:
    def g(x: np.ndarray) -> np.ndarray:
        return ((x - 0.3) ** 2).sum(-1) + np.sin(2 * x).sum(-1)

    x0, low, high = np.full(4, 1.5), np.full(4, -4.0), np.full(4, 4.0)
    one = path(policy, g, x0, low, high, bounds=True)
    by = float(shift) / 2
    two = path(policy, lambda x: 2.0**power * g(x - by), x0 + by, low + by, high + by, bounds=True)
    assert_same(one, two, shift=by, tolerance=1e-3)
