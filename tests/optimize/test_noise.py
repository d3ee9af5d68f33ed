"""``noisy=True``: the incumbent is judged by repeated evaluation, and the result says how sure it is."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rover
from rover.optimize.incumbents import FairPool
from rover.policy import Policy

BOX = [(-5.0, 5.0), (-5.0, 5.0)]


def bowl(x: np.ndarray) -> np.ndarray:
    return (x[..., 0] - 1) ** 2 + 3 * (x[..., 1] + 2) ** 2


class Noisy:
    """A bowl with normal noise, and a list of all that was evaluated."""

    def __init__(self, std: float, seed: int = 0) -> None:
        self.rng, self.std, self.points = np.random.default_rng(seed), std, []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.points.append(x.copy())
        return bowl(x) + self.std * self.rng.normal(size=len(x))


def test_the_result_says_how_sure_it_is(policy: Policy) -> None:
    f = Noisy(2.0)
    result = rover.minimize(f, [3.0, 3.0], batched=True, bounds=BOX, policy=policy, noisy=True, maxiter=40)
    assert result.nfev == sum(len(points) for points in f.points)
    assert any((points == result.x).all(-1).any() for points in f.points)
    assert 3 <= result.fun_evaluations <= result.nfev
    assert result.fun_std == pytest.approx(2.0, rel=0.3)
    assert result.fun_stderr == pytest.approx(result.fun_std / math.sqrt(result.fun_evaluations))
    assert abs(result.fun - bowl(result.x)) < 4 * result.fun_stderr


def test_the_value_is_not_the_luckiest_of_many(policy: Policy) -> None:
    lucky, fair = [], []
    for seed in range(12):
        options = {"batched": True, "bounds": BOX, "policy": policy, "maxiter": 25}
        one = rover.minimize(Noisy(2.0, seed), [3.0, 3.0], **options)
        two = rover.minimize(Noisy(2.0, seed), [3.0, 3.0], noisy=True, **options)
        lucky.append(one.fun - bowl(one.x))
        fair.append((two.fun - bowl(two.x)) / two.fun_stderr)
    assert np.mean(lucky) < -2.0  # the lowest of hundreds of values is luck
    assert abs(np.mean(fair)) < 1.0


def test_without_noise_it_is_exact(policy: Policy) -> None:
    result = rover.minimize(bowl, [3.0, 3.0], bounds=BOX, policy=policy, noisy=True, maxiter=20)
    assert result.fun == pytest.approx(bowl(result.x)) and result.fun_std == pytest.approx(0.0, abs=1e-9)


def test_budgets_count_the_questions(policy: Policy) -> None:
    f = Noisy(1.0)
    result = rover.minimize(f, [3.0, 3.0], batched=True, bounds=BOX, policy=policy, noisy=True, maxfev=500)
    assert result.nfev == sum(len(points) for points in f.points) <= 500


def test_a_pool_by_hand() -> None:
    pool = FairPool()

    def answer(values: dict[float, float]) -> None:
        pool.answer(np.array([values[float(x[0])] for x in pool.questions()]))

    pool.nominate(np.array([0.0]), -9.0, chosen=True)  # chosen for its value, which therefore does not count
    assert pool.fun == math.inf and pool.x is None
    answer({0.0: 1.0})
    answer({0.0: 3.0})
    assert pool.fun == 2.0 and pool.std == pytest.approx(math.sqrt(2.0))
    pool.nominate(np.array([1.0]), -8.0, chosen=True)
    answer({0.0: 2.0, 1.0: 0.0})
    assert np.array_equal(pool.x, [0.0])  # three values against one: the newcomer must prove itself
    answer({0.0: 2.0, 1.0: 0.0})
    answer({0.0: 2.0, 1.0: 0.0})
    assert np.array_equal(pool.x, [1.0]) and pool.fun == 0.0
    answer({0.0: 2.0, 1.0: math.nan})
    assert np.array_equal(pool.x, [0.0]) and len(pool.questions()) == 1
