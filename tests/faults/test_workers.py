"""A process of ``workers=`` that dies takes nothing with it that was known."""

from __future__ import annotations

import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import rover
from rover.optimize import WorkerError
from tests.faults.campaign import note, times
from tests.optimize.conftest import make_policy


class Mortal:
    """A bowl whose process dies in the round of the given number; `folder` counts the points that were asked for."""

    def __init__(self, folder: Path, points: int) -> None:
        self.folder, self.points = folder, points

    def __call__(self, x: np.ndarray) -> float:
        with (self.folder / "count").open("a") as file:
            file.write(".")
        if (self.folder / "count").stat().st_size > self.points:
            os._exit(1)
        return float(np.square(x - 1).sum())


@pytest.mark.slow
@pytest.mark.parametrize("k", range(times(1, 20)))
def test_a_worker_that_dies_at_any_point(k: int, tmp_path: Path) -> None:
    policy, luck = make_policy(), random.Random(k)
    rounds = luck.randrange(1, 8)  # of 25 points
    f = Mortal(tmp_path, 25 * rounds + luck.randrange(25))
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(WorkerError, match="worker died") as caught,
    ):
        rover.minimize(f, [3.0, 2.0], policy=policy, workers=pool, initial_step=0.5, xatol=0, fatol=0, maxiter=20)
    kept = caught.value.result
    assert kept.nit == rounds and kept.nfev == 25 * rounds, "every whole round is kept"
    assert kept.fun == pytest.approx(float(np.square(kept.x - 1).sum())) and kept.fun < 5
    note("a process of workers= dies", 1)
