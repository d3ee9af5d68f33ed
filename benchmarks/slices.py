"""Beyond two dimensions: what a run on slices costs beside its objective, and how cost grows with the number of pairs.

``python -m benchmarks.slices`` prints the rows; ``rows()`` returns them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import rover
from rover.landscapes.problems import LinearClassification, Problem, iris
from rover.optimize import BlockPartners, Partners, RandomAxes

POLICY = "grid5"
_ENDLESS = {"xatol": 0.0, "fatol": 0.0}
_LENGTHS = {"initial_step": 0.3, "initial_resolution": 0.15}


def rows() -> list[dict[str, Any]]:
    """What was measured: ``name``, ``ours``, ``theirs``, ``ratio``, ``asked``."""
    result = []
    problem = iris()
    runs: list[tuple[str, Problem, Any, float]] = [
        ("linear classification, d = 100, k = 10", LinearClassification(100, seed=0), RandomAxes(10), 10.0),
        ("Iris, strategy (c), l = 2", problem, BlockPartners(2, [len(b) for b in problem.blocks]), 60.0),
    ]
    for name, function, slices, limit in runs:
        total, objective = run_seconds(function, slices)
        result.append(_row(f"seconds of 100 rounds, {name}, in units of {limit:.0f}", total, limit, "<= 1"))
        result.append(_row(f"everything but the objective against it, {name}", total - objective, objective, "<= 1"))
    pairs = np.array([125, 250, 500, 1000, 2000])
    seconds, store = zip(*[at_ten_thousand(int(m)) for m in pairs], strict=True)
    result.append(_row("exponent of time a round in pairs, d = 10,000", exponent(pairs, seconds), 1.0, "<= 1.15"))
    result.append(_row("exponent of what is remembered in pairs, d = 10,000", exponent(pairs, store), 1.0, "<= 1.1"))
    sizes = np.array([625, 1250, 2500, 5000, 10_000])
    seconds, store = zip(*[one_partner(int(d)) for d in sizes], strict=True)
    name = "exponent of the rover's own time in d, one partner for every axis, up to d = 10,000"
    result.append(_row(name, exponent(sizes, seconds), 1.0, "<= 1.15"))
    name = "exponent of what is remembered in d, one partner for every axis, up to d = 10,000"
    result.append(_row(name, exponent(sizes, store), 1.0, "<= 1.1"))
    return result


def _row(name: str, ours: float, theirs: float, asked: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ours / theirs, "asked": asked}


def exponent(sizes: Any, costs: Any) -> float:
    """Slope of log cost in log size, least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def run_seconds(problem: Problem, slices: Any, rounds: int = 100) -> tuple[float, float]:
    """CPU seconds of a run and of its objective alone, on one thread."""
    spent = 0.0

    def timed(points: np.ndarray) -> np.ndarray:
        nonlocal spent
        begin = time.process_time()
        values = problem(points)
        spent += time.process_time() - begin
        return values

    x0 = problem.sample_starts(1, torch.Generator().manual_seed(0))[0].numpy()
    begin = time.process_time()
    rover.minimize(timed, x0, batched=True, policy=POLICY, slices=slices, maxiter=rounds, **_ENDLESS)  # type: ignore[arg-type]
    return time.process_time() - begin, spent


def at_ten_thousand(num_pairs: int, dim: int = 10_000, rounds: int = 4) -> tuple[float, float]:
    """CPU seconds a round and bytes remembered of `num_pairs` fixed pairs in 10,000 variables, objective included."""
    pairs = torch.randperm(dim, generator=torch.Generator().manual_seed(0))[: 2 * num_pairs].view(-1, 2)
    opt = rover.Optimizer(
        np.ones(dim), policy=POLICY, slices=lambda dim, generator: pairs, combine="mean", memory_limit=2**26,
        **_LENGTHS, **_ENDLESS,
    )  # fmt: skip
    return _walk(opt, rounds, lambda x: np.einsum("ij,ij->i", x, x)), _remembered(opt)


def one_partner(dim: int, rounds: int = 8) -> tuple[float, float]:
    """CPU seconds a round of the rover alone (no points are written out, no objective), and bytes remembered."""
    opt = rover.Optimizer(np.ones(dim), policy=POLICY, slices=Partners(1), combine="mean", **_LENGTHS, **_ENDLESS)
    return _walk(opt, rounds, None), _remembered(opt)


def _walk(opt: Any, rounds: int, f: Callable[[Any], Any] | None) -> float:
    """Least CPU seconds of a round; without an objective the values are made up."""
    times = []
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        made_up = rng.normal(size=opt.num_points) if f is None else None
        begin = time.process_time()
        values = made_up if f is None else np.concatenate([f(piece) for piece in opt.batches()])
        opt.receive(values, lambda index: np.zeros(opt.dim))
        times.append(time.process_time() - begin)
    return float(min(times))


def _remembered(opt: Any) -> float:
    """Bytes of what is kept of the pairs that were used."""
    table = opt._engine.table
    row = sum(store[:1].numel() * store.element_size() for store in table._store.values())
    return float(len(table) * (row + 16))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for row in rows():
        print(f"{row['ratio']:10.4g}  (asked {row['asked'] or '-'})  {row['name']}")
