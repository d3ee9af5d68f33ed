"""A run that is saved and resumed after any round, before or after `ask`, goes on as if nothing had happened."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import rover
from rover.policy import Policy

BOX = [(-5.0, 5.0)] * 2
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": ([3.0, 3.0], {}),
    "box": ([3.0, 3.0], {"bounds": BOX}),
    "lengths": ([3.0, 3.0], {"initial_step": 0.3, "initial_resolution": 0.1}),
    "starts": ([[3.0, 3.0], [-4.0, 1.0]], {"bounds": BOX}),
    "restarts": ([3.0, 3.0], {"restarts": 5, "xatol": 0.3, "fatol": 0.0, "bounds": BOX}),
    "free restarts": ([3.0, 3.0], {"restarts": 5, "xatol": 0.5, "fatol": 0.0}),
    "noisy": ([3.0, 3.0], {"noisy": True, "bounds": BOX}),
    "one variable": ([3.0], {}),
    "slices": ([3.0] * 5, {}),
    "random slices": ([3.0] * 7, {"slices": rover.optimize.RandomAxes(3)}),
    "adaptive slices": ([3.0] * 7, {"slices": rover.optimize.AdaptiveAxes(3), "bounds": [(-5, 5)] * 7}),
    "faithful slices": ([3.0] * 4, {"combine": "mean", "inherit": False}),
    "budget": ([3.0, 3.0], {"maxfev": 300}),
}
ROUNDS = 14


def f(points: np.ndarray) -> np.ndarray:
    """Wavy, and noisy in a way that repeats for the same points."""
    wave = np.cos(3 * points).sum(-1) + 0.1 * (points**2).sum(-1)
    return wave + 0.05 * np.sin(1e6 * points.sum(-1))


def rounds(opt: rover.Optimizer) -> Iterator[np.ndarray]:
    while not opt.stop():
        points = opt.ask()
        yield points
        opt.tell(points, f(points))


def through_torch_save(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint would keep it: readable without executing anything."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_resumed_after_every_round(policy: Policy, case: str, asked: bool) -> None:
    x0, options = CASES[case]
    options = {"policy": policy, "maxiter": ROUNDS, "seed": 3, **options}
    whole = rover.Optimizer(x0, **options)
    expected = list(rounds(whole))

    opt = rover.Optimizer(x0, **options)
    for points in expected:
        if asked:
            opt.ask()
        state = through_torch_save(opt.state_dict())
        opt = rover.Optimizer(x0, **options)
        opt.load_state_dict(state)
        assert np.array_equal(opt.ask(), points)
        opt.tell(points, f(points))
    assert opt.stop()
    _same(opt, whole)


@pytest.mark.parametrize("case", CASES)
def test_pickled_after_every_round(policy: Policy, case: str) -> None:
    x0, options = CASES[case]
    options = {"policy": policy, "maxiter": ROUNDS, "seed": 3, **options}
    whole = rover.Optimizer(x0, **options)
    opt = rover.Optimizer(x0, **options)
    for points in rounds(whole):
        opt = pickle.loads(pickle.dumps(opt))
        assert np.array_equal(opt.ask(), points)
        opt.tell(points, f(points))
    _same(pickle.loads(pickle.dumps(opt)), whole)


def test_a_saved_state_does_not_move_on(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy)
    for _ in range(3):
        opt.tell(opt.ask(), f(opt.ask()))
    state = opt.state_dict()
    expected = opt.ask()
    for _ in range(3):
        opt.tell(opt.ask(), f(opt.ask()))
    again = rover.Optimizer([3.0, 3.0], policy=policy)
    again.load_state_dict(state)
    assert np.array_equal(again.ask(), expected)


def test_the_clock_goes_on_where_it_stopped(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy, maxtime=100.0)
    state = {**opt.state_dict(), "seconds": 100.0}
    again = rover.Optimizer([3.0, 3.0], policy=policy, maxtime=100.0)
    again.load_state_dict(state)
    assert not opt.stop() and again.stop()
    assert again.result.status == rover.optimize.Status.MAXTIME


def test_who_was_told_to_go_on_may_ask(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy, maxtime=100.0)
    assert not opt.stop()
    opt._began -= 200.0  # the time is up between `stop` and `ask`
    opt.tell(opt.ask(), f(opt.ask()))
    assert opt.stop() and opt.result.nit == 1


def _same(opt: rover.Optimizer, other: rover.Optimizer) -> None:
    one, two = opt.result, other.result
    assert np.array_equal(one.x, two.x)
    assert (one.fun, one.nfev, one.nit, one.status) == (two.fun, two.nfev, two.nit, two.status)
    for name in one.trajectory:
        assert np.array_equal(one.trajectory[name], two.trajectory[name]), name
