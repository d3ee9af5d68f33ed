"""Scores and curves against SciPy and by hand."""

import numpy as np
import pytest
import scipy.stats

from rover.evaluation.curves import curve, gaps_at, log_gap, longer, profiles
from rover.evaluation.runs import Run, concatenate
from rover.evaluation.scores import (
    bootstrap,
    cost_to_target,
    expected_cost,
    median_cost,
    median_gap,
    ranks,
    share_within,
    solved_share,
)


def make_run(best, per_round=10, method="m"):
    best = np.asarray(best, dtype=float)
    rows = np.broadcast_to(np.arange(best.shape[1]), best.shape)
    return Run(method, best, best, per_round * rows + 1, 0 * rows, 0.5 * rows)


HAND = make_run([[1.0, 0.1, 1e-3, 1e-3], [1.0, 1.0, 1.0, 0.5], [1.0, 1e-4, 1e-4, 1e-9]])


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=80)
    ours = bootstrap(values, np.mean, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, rel=0.01) and ours.high == pytest.approx(theirs.high, rel=0.01)


def test_bootstrap_is_seeded_and_takes_rows_together():
    values = np.random.default_rng(0).normal(size=40)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)
    twice = np.repeat(values[:, None], 5, axis=1)  # five copies of a run are one run, not five
    assert bootstrap(twice, seed=1).low == pytest.approx(bootstrap(values, seed=1).low)
    with pytest.raises(ValueError, match="R > 0"):
        bootstrap(np.empty(0))


def test_bootstrap_covers():
    """About 95 of 100 intervals for the mean of 50 normal numbers hold the true mean."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap(rng.normal(size=50), seed=i, resamples=400) for i in range(200)]
    share = np.mean([e.low <= 0 <= e.high for e in intervals])
    assert 0.88 <= share <= 0.99


def test_cost_to_target_by_hand_with_censoring():
    np.testing.assert_array_equal(cost_to_target(HAND, 1e-2), [2, np.inf, 1])
    np.testing.assert_array_equal(cost_to_target(HAND, 1e-2, "evaluations"), [21, np.inf, 11])
    np.testing.assert_array_equal(cost_to_target(HAND, 1.0), [0, 0, 0])
    assert median_cost(HAND, 1e-2).value == 2
    assert median_cost(HAND, 1e-2).high == np.inf
    assert median_cost(HAND, 1e-8).value == np.inf
    assert expected_cost(HAND, 1e-2) == (21 + 31 + 11) / 2
    assert expected_cost(HAND, 1e-12) == np.inf


def test_shares_medians_and_ranks_by_hand():
    assert median_gap(HAND).value == 1e-3
    assert share_within(HAND, 1e-2).value == pytest.approx(2 / 3)
    other = make_run([[1.0, 1e-3, 1e-3, 1e-3], [1, 1, 1, 0.1], [1, 1, 1, 1]])
    assert ranks({"a": HAND, "b": other}) == {
        "a": pytest.approx((1.5 + 2 + 1) / 3),
        "b": pytest.approx((1.5 + 1 + 2) / 3),
    }
    with pytest.raises(ValueError, match="same instances"):
        ranks({"a": HAND, "b": make_run([[1.0, 0.1]])})


def test_solved_share_by_hand():
    targets = [1e-1, 1e-3]
    assert solved_share([HAND], targets).value == pytest.approx(4 / 6)
    assert solved_share([HAND], targets, rounds=1).value == pytest.approx(3 / 6)
    assert solved_share([HAND], targets, evaluations=20).value == pytest.approx(3 / 6)
    assert solved_share([HAND], targets, evaluations=0).value == 0
    assert solved_share([HAND], targets, seconds=0.6).value == pytest.approx(3 / 6)
    assert solved_share([HAND], targets, scales=[np.full(3, 100.0)]).value == pytest.approx(5 / 6)
    assert solved_share([HAND, make_run([[9.0, 9.0]])], targets).value == pytest.approx(4 / 8)


def test_truncated_is_what_a_smaller_budget_gives():
    cut = HAND.truncated(rounds=2)
    assert cut.rounds == 2 and (cut.best == HAND.best[:, :3]).all()
    cheap = HAND.truncated(evaluations=15)
    assert cheap.evaluations.max() == 11 and (cheap.best[:, -1] == HAND.best[:, 1]).all()


def test_curves_ask_for_the_gap_by_then():
    np.testing.assert_array_equal(
        gaps_at(HAND, "evaluations", np.array([0, 1, 10, 11, 25, 999]))[0], [1, 1, 1, 0.1, 1e-3, 1e-3]
    )
    np.testing.assert_array_equal(gaps_at(HAND, "seconds", np.array([0.4, 0.5])), HAND.best[:, :2])
    line = curve(HAND, "rounds")
    np.testing.assert_array_equal(line.x, np.arange(4))
    np.testing.assert_allclose(line.median, [1, 0.1, 1e-3, 1e-3])
    np.testing.assert_allclose(line.low, HAND.best.min(0))
    np.testing.assert_allclose(line.high, HAND.best.max(0))
    np.testing.assert_allclose(line.mean[3], (1e-3 * 0.5 * 1e-9) ** (1 / 3))
    with pytest.raises(ValueError, match="`axis`"):
        curve(HAND, "evals")


def test_profiles_count_censored_runs_and_longer_takes_the_longer_run():
    found = profiles({"a": [HAND], "b": [make_run([[1.0, 0.1]])]}, [1e-2], "rounds")
    np.testing.assert_allclose(found["a"][1], [0, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(found["b"][1], [0, 0, 0])
    short = HAND.truncated(rounds=1)
    assert longer(short, HAND, "evaluations") is HAND and longer(short, HAND, "rounds") is short


def test_gaps_are_floored_and_infinity_stays():
    np.testing.assert_array_equal(log_gap(np.array([0.0, 1.0, np.inf])), [-16, 0, np.inf])


def test_concatenate_lets_short_runs_stand_still():
    joined = concatenate([HAND, make_run([[1.0, 0.5]])])
    assert len(joined) == 4 and joined.rounds == 3
    np.testing.assert_array_equal(joined.best[3], [1, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(joined.evaluations[3], [1, 11, 11, 11])
