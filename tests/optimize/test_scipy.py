"""SciPy's custom-method protocol: ``scipy.optimize.minimize(f, x0, method=rover.minimize)``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, basinhopping, minimize

import rover
from rover.policy import Policy

BOX = [(-5.0, 5.0), (-5.0, 5.0)]


def bowl(x: np.ndarray, center: float = 1.0, weight: float = 3.0) -> float:
    return float((x[0] - center) ** 2 + weight * (x[1] + 2) ** 2)


def test_it_is_a_method(policy: Policy) -> None:
    options = {"maxiter": 8, "policy": policy, "seed": 0}
    theirs = minimize(bowl, [3.0, 3.0], method=rover.minimize, options=options)
    ours = rover.minimize(bowl, [3.0, 3.0], **options)
    assert isinstance(theirs, OptimizeResult) and theirs.nit == 8
    assert np.array_equal(theirs.x, ours.x) and theirs.fun == ours.fun


@pytest.mark.parametrize("bounds", [BOX, Bounds([-5, -5], [5, 5])])
def test_bounds_and_arguments_arrive(policy: Policy, bounds: Any) -> None:
    options = {"maxiter": 8, "policy": policy}
    theirs = minimize(bowl, [3.0, 3.0], args=(0.5, 2.0), method=rover.minimize, bounds=bounds, options=options)
    ours = rover.minimize(lambda x: bowl(x, 0.5, 2.0), [3.0, 3.0], bounds=BOX, **options)
    assert np.array_equal(theirs.x, ours.x)
    one = minimize(bowl, [3.0, 3.0], args=0.5, method=rover.minimize, bounds=bounds, options=options)
    assert one.fun == bowl(one.x, 0.5)


def test_tol_sets_the_tolerances_that_are_not_given(policy: Policy) -> None:
    options = {"policy": policy, "maxiter": 100}
    loose = minimize(lambda x: 1.0, [3.0, 3.0], method=rover.minimize, bounds=BOX, tol=10.0, options=options)
    assert loose.success and loose.nit < 5
    never = {"xatol": 0.0, "fatol": 0.0, **options}
    assert minimize(lambda x: 1.0, [3.0, 3.0], method=rover.minimize, tol=10.0, options=never).nit == 100


def test_derivatives_are_not_used_and_a_warning_says_so(policy: Policy) -> None:
    def zero(x: np.ndarray) -> np.ndarray:
        return np.zeros(2)

    options = {"maxiter": 2, "policy": policy}
    for name, words in (
        ("jac", "does not use gradient information"),
        ("hess", "does not use Hessian information"),
        ("hessp", "does not use Hessian-vector product information"),
    ):
        with pytest.warns(RuntimeWarning, match=words):
            rover.minimize(bowl, [3.0, 3.0], **{name: zero}, **options)
    with pytest.warns(RuntimeWarning, match="gradient"):
        result = minimize(bowl, [3.0, 3.0], method=rover.minimize, jac=zero, options=options)
    assert result.nit == 2
    with pytest.warns(RuntimeWarning, match="gradient"):  # a function that returns both
        pair = minimize(lambda x: (bowl(x), zero(x)), [3.0, 3.0], method=rover.minimize, jac=True, options=options)
    assert pair.fun == result.fun
    with pytest.warns(RuntimeWarning, match="gradient"):
        assert rover.minimize(lambda x: (bowl(x), zero(x)), [3.0, 3.0], jac=True, **options).fun == result.fun
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rover.minimize(bowl, [3.0, 3.0], jac=None, hess=None, hessp=None, constraints=(), **options)
        rover.minimize(bowl, [3.0, 3.0], jac=False, constraints=[], **options)


def test_constraints_are_refused(policy: Policy) -> None:
    constraint = LinearConstraint([[1.0, 1.0]], 0, 1)
    with pytest.raises(ValueError, match="constraints.*not supported.*bounds"):
        minimize(bowl, [3.0, 3.0], method=rover.minimize, constraints=constraint, options={"policy": policy})


def test_callbacks_through_scipy(policy: Policy) -> None:
    seen = []

    def stop(intermediate_result: OptimizeResult) -> None:
        seen.append(intermediate_result.fun)
        if len(seen) == 3:
            raise StopIteration

    result = minimize(bowl, [3.0, 3.0], method=rover.minimize, callback=stop, options={"policy": policy})
    assert result.nit == 3 and result.status == 99 and result.fun == seen[-1]
    points = []
    minimize(bowl, [3.0, 3.0], method=rover.minimize, callback=points.append, options={"policy": policy, "maxiter": 4})
    assert len(points) == 4 and all(x.shape == (2,) for x in points)


def test_unknown_options_are_refused(policy: Policy) -> None:
    with pytest.raises(ValueError, match="did you mean `maxiter`"):
        minimize(bowl, [3.0, 3.0], method=rover.minimize, options={"maxier": 4, "policy": policy})


def test_inside_basin_hopping(policy: Policy) -> None:
    result = basinhopping(
        bowl, [3.0, 3.0], niter=2, rng=0,
        minimizer_kwargs={"method": rover.minimize, "bounds": BOX, "options": {"maxiter": 5, "policy": policy}},
    ) if "rng" in basinhopping.__code__.co_varnames else basinhopping(
        bowl, [3.0, 3.0], niter=2, seed=0,
        minimizer_kwargs={"method": rover.minimize, "bounds": BOX, "options": {"maxiter": 5, "policy": policy}},
    )  # fmt: skip
    assert result.fun <= bowl([3.0, 3.0]) and result.nfev > 10
