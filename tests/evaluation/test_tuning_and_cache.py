"""Tuning finds the best of a grid; the cache returns what was stored, and computes again what changed or broke."""

import numpy as np
import pytest
import torch

from rover.evaluation.baselines import run
from rover.evaluation.cache import RunCache, digest, source_digest
from rover.evaluation.tuning import grid_points, tune
from rover.landscapes import sample_prototypes


@pytest.fixture
def bowls():
    generator = torch.Generator().manual_seed(0)
    problem = sample_prototypes(9, generator, modalities=("quadratic",))
    return problem, problem.sample_starts(generator)


def test_tuning_takes_the_best_median(bowls):
    best, tried = tune(lambda lr: run("newton", *bowls, rounds=3, lr=lr), {"lr": [0.1, 1.0, 2.5]})
    assert best == {"lr": 1.0}
    assert [hyper["lr"] for hyper, _ in tried] == [0.1, 1.0, 2.5]
    assert tried[1][1] == min(score for _, score in tried) == -16


def test_a_budget_samples_the_grid():
    grid = {"a": list(range(10)), "b": list(range(10))}
    some = grid_points(grid, budget=7, seed=1)
    assert len(some) == 7 and some == grid_points(grid, budget=7, seed=1) != grid_points(grid, budget=7, seed=2)
    assert len({tuple(p.values()) for p in some}) == 7
    assert len(grid_points(grid)) == 100 and grid_points({}) == [{}]
    with pytest.raises(ValueError, match="value for each"):
        tune(lambda a: None, {"a": []})
    with pytest.raises(ValueError, match="budget >= 1"):
        tune(lambda a: None, {"a": [1]}, budget=0)


def test_cache_round_trip(tmp_path, bowls):
    cache = RunCache(tmp_path)
    calls = []

    def compute():
        calls.append(1)
        return run("nelder_mead", *bowls, rounds=5)

    first = cache.get({"a": 1, "b": [1, 2]}, compute)
    second = cache.get({"b": [1, 2], "a": 1}, compute)
    assert len(calls) == 1 and (cache.hits, cache.misses) == (1, 1)
    assert second.method == first.method and second.hyper == first.hyper
    for name in ("current", "best", "evaluations", "derivatives", "seconds"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    cache.get({"a": 2, "b": [1, 2]}, compute)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", [b"", b"not a zip file", None])
def test_a_damaged_cache_is_computed_again(tmp_path, bowls, damage):
    cache = RunCache(tmp_path)
    whole = cache.get("key", lambda: run("nelder_mead", *bowls, rounds=5))
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-50] if damage is None else damage)
    again = cache.get("key", lambda: run("nelder_mead", *bowls, rounds=5))
    np.testing.assert_array_equal(again.best, whole.best)
    assert cache.misses == 2


def test_no_folder_keeps_nothing(bowls):
    cache = RunCache(None)
    cache.get("key", lambda: run("nelder_mead", *bowls, rounds=2))
    cache.get("key", lambda: run("nelder_mead", *bowls, rounds=2))
    assert cache.misses == 2


def test_digests_see_values_and_sources():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert digest({"a": np.float64(1.5)}) == digest({"a": 1.5})
    assert source_digest("landscapes") != source_digest("evaluation/runs.py")
    with pytest.raises(FileNotFoundError, match="no_such_file"):
        source_digest("no_such_file.py")
    with pytest.raises(TypeError, match="JSON"):
        digest({"a": object()})
