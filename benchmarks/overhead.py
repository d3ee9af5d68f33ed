"""What an optimiser does beside the objective, a round: ours against pycma's and SciPy's."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import rover
from benchmarks.measure import Timing, rate_row, row

ROUNDS = 60


def rows() -> list[dict[str, Any]]:
    """What was measured, see :mod:`benchmarks.measure`: milliseconds a round at d = 2, the same batch for all."""
    result = []
    for policy in ("default", "grid5"):
        batch = rover.load(policy).grid_size ** 2
        contests: dict[str, Callable[[], float]] = {
            "ours": lambda policy=policy: _rover(policy),  # type: ignore[misc]
            "pycma": lambda batch=batch: _cma(batch),  # type: ignore[misc]
            "SciPy": lambda batch=batch: _differential_evolution(batch),  # type: ignore[misc]
        }
        for contest in contests.values():
            contest()
        seconds: dict[str, list[float]] = {name: [] for name in contests}
        for _ in range(5):
            for name, contest in contests.items():
                seconds[name].append(contest())
        times = {name: Timing(min(s), float(np.median(s))) for name, s in seconds.items()}
        result.append(row(f"milliseconds a round, `{policy}`, in units of 3", 1e3 * times["ours"].least, 3.0, "<= 1"))
        for name, what in (("pycma", "CMA-ES"), ("SciPy", "differential evolution")):
            title = f"rounds/s without the objective, `{policy}`, against {name}'s {what} with {batch} points a round"
            result.append(rate_row(title, times["ours"], times[name]))
    return result


class _Timed:
    """A bowl whose own CPU time can be taken away."""

    def __init__(self) -> None:
        self.spent = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        begin = time.process_time()
        values = np.square(points - 1.0).sum(-1)
        self.spent += time.process_time() - begin
        return values


def _rover(policy: str) -> float:
    f = _Timed()
    begin = time.process_time()
    found = rover.minimize(
        f, [3.0, -2.0], batched=True, policy=policy, maxiter=ROUNDS, xatol=0, fatol=0, initial_step=0.3
    )
    return (time.process_time() - begin - f.spent) / found.nit


def _cma(batch: int) -> float:
    import cma

    f, rounds = _Timed(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {
            "popsize": batch,
            "verbose": -9,
            "seed": 1,
            "tolfun": 0,
            "tolx": 0,
            "tolfunhist": 0,
            "tolstagnation": 0,
        }
        begin = time.process_time()
        es = cma.CMAEvolutionStrategy([3.0, -2.0], 0.3, options)
        while rounds < ROUNDS and not es.stop():
            points = es.ask()
            es.tell(points, list(f(np.asarray(points))))
            rounds += 1
    return (time.process_time() - begin - f.spent) / max(rounds, 1)


def _differential_evolution(batch: int) -> float:
    from scipy.optimize import differential_evolution

    f = _Timed()
    begin = time.process_time()
    found = differential_evolution(
        lambda x: f(x.T), [(-5, 5)] * 2, popsize=batch // 2, maxiter=ROUNDS, tol=0, polish=False, vectorized=True,
        updating="deferred", rng=1,
    )  # fmt: skip
    return (time.process_time() - begin - f.spent) / max(found.nit, 1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for found in rows():
        print(f"{found['ratio']:10.3g} (asked {found['asked']}): {found['name']}")
