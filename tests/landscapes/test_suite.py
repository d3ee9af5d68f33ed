"""The development suite: reproducible, split without leaks, every target within reach."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from rover.landscapes.suite import HELD_OUT, TARGETS, function_names, suite
from rover.landscapes.test_functions import TEST_FUNCTIONS


@pytest.fixture(scope="module")
def halves():
    return suite("tuning", instances=3), suite("evaluation", instances=3)


def test_sizes_and_names(halves):
    tuning, evaluation = halves
    assert len(function_names("tuning")) >= 24
    assert len(tuning) == 3 * len(function_names("tuning"))
    assert set(function_names("evaluation")) - set(function_names("tuning")) == HELD_OUT
    assert not set(function_names("evaluation")) & set(TEST_FUNCTIONS)
    assert {p.name for p in tuning} == {f"{n}/{k}" for n in function_names("tuning") for k in range(3)}
    assert {"quadratic", "ill-conditioned", "valley", "ridge", "multimodal", "plateau"} == {
        c for p in evaluation for c in p.categories
    }
    assert TARGETS[0] == 1e2 and TARGETS[-1] == 1e-8 and len(TARGETS) == 11


def test_halves_share_no_instance(halves):
    tuning, evaluation = halves
    assert not {p.lower.tobytes() for p in tuning} & {p.lower.tobytes() for p in evaluation}
    assert len({p.lower.tobytes() for p in (*tuning, *evaluation)}) == len(tuning) + len(evaluation)


def test_same_arguments_same_problems_and_subsets_do_not_shift_them(halves):
    again = suite("tuning", instances=4, functions=["leon", "branin"], noise_rel=0.5)
    known = {p.name: p for p in halves[0]}
    for problem in again:
        if problem.name in known:
            twin = known[problem.name]
            np.testing.assert_array_equal(problem.start, twin.start)
            np.testing.assert_array_equal(problem.lower, twin.lower)
            assert (problem.minimum, problem.gap_scale) == (twin.minimum, twin.gap_scale)
    assert sum(p.name in known for p in again) == 6
    moved = suite("tuning", seed=1, instances=1, functions=["leon"])[0]
    assert not np.array_equal(moved.start, known["leon/0"].start)


def test_every_target_can_be_reached_and_none_is_undercut(halves):
    rng = np.random.default_rng(0)
    for problem in (*halves[0], *halves[1]):
        f, width = problem.objective(), problem.upper - problem.lower
        assert problem.gap(f(problem.landscape.minimizer.numpy())).item() <= 1e-3 * TARGETS[-1], problem.name
        values = f(problem.lower + width * rng.random((4000, 2)))
        assert (values >= problem.minimum - 1e-12 * problem.gap_scale).all(), problem.name
        assert 0.7 < np.median(problem.gap(values)) < 1.4, problem.name


def test_box_and_start_give_nothing_away(halves):
    for problem in (*halves[0], *halves[1]):
        width = problem.upper - problem.lower
        place = (problem.landscape.minimizer[0].numpy() - problem.lower) / width
        assert (place > 0.19).all() and (place < 0.81).all()
        assert np.abs(place - 0.5).max() > 0.099, problem.name
        where = (problem.start - problem.lower) / width
        assert (where >= 0).all() and (where <= 1).all()
        assert np.linalg.norm(where - place) > 0.17, problem.name


def test_scales_span_six_decades_either_way():
    problems = suite("evaluation", instances=8)
    widths = np.log10([p.upper[0] - p.lower[0] for p in problems])
    heights = np.log10([p.landscape.base.value_scale.item() for p in problems])
    assert widths.min() < -3 and widths.max() > 5
    assert -6 <= heights.min() < -5 and 5 < heights.max() <= 6


def test_noise_is_relative_to_the_local_range():
    problem = suite("tuning", instances=1, functions=["branin"], noise_rel=0.1)[0]
    points = np.repeat(problem.start[None], 20_000, 0)
    noise = problem.objective(seed=1)(points) - problem.objective()(points)
    assert noise.std() == pytest.approx(0.1 * problem.local_range, rel=0.03)
    np.testing.assert_array_equal(problem.objective(seed=1)(points), problem.objective(seed=1)(points))
    # the range itself, by an independent sample of the same ellipsoid
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (40_000, 2))
    u = u[np.linalg.norm(u, axis=1) <= 1]
    values = problem.objective()(problem.start + 0.1 * (problem.upper - problem.lower) * u)
    assert problem.local_range == pytest.approx(np.diff(np.quantile(values, [0.25, 0.75])).item(), rel=0.1)


def test_plains_still_have_noise():
    for problem in suite("evaluation", instances=5, functions=["easom", "well"]):
        assert problem.local_range >= 0.01 * problem.gap_scale * (1 - 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "`split` must be 'tuning' or 'evaluation', got 'test'"),
        ({"split": "tuning", "functions": ["griewank"]}, "of the tuning half.*griewank"),
        ({"split": "tuning", "instances": 0}, "`instances` must be positive"),
        ({"split": "tuning", "noise_rel": -0.1}, "`noise_rel` not negative"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        suite(**options)


@pytest.mark.slow
def test_scipy_finds_nothing_below_the_minimum(halves):
    """Nelder-Mead from 6 starts in unit coordinates, on every second problem: never lower, and usually there."""
    rng, reached = np.random.default_rng(0), 0
    problems = (*halves[0][::2], *halves[1][1::2])
    for problem in problems:
        f, low, width = problem.objective(), problem.lower, problem.upper - problem.lower
        best = min(
            minimize(
                lambda u, f=f, low=low, width=width: f((low + width * u)[None])[0],
                rng.random(2),
                method="Nelder-Mead",
                options={"xatol": 1e-12, "fatol": 0},
            ).fun
            for _ in range(6)
        )
        assert best >= problem.minimum - 1e-12 * problem.gap_scale, problem.name
        reached += problem.gap(best) < 1e-6
    assert reached / len(problems) > 0.6
