"""Numbers beside the pictures, each with a 95 % bootstrap interval where it is an average over runs.

A run *solves* a target when its best true gap falls to it. A run that never does is *censored*: its cost to target is
``inf``, a median over runs with more than half censored is reported as "more than the budget", and the expected running
time counts what the failures spent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from rover.evaluation.curves import SMALLEST, Axis, cost, log_gap
from rover.evaluation.runs import Array, Run

TARGETS = (1e-2, 1e-5, 1e-8)
"""Gaps at which the share of runs is reported."""


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def bootstrap(
    values: Array,
    statistic: Callable[..., Array] = np.mean,
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """Percentile bootstrap over the first axis.

    Args:
        values: ``(R,)`` or ``(R, K)``, one row a run; runs are drawn as whole rows.
        statistic: maps ``(..., R)`` or ``(..., R, K)`` to ``(...)`` through the keyword ``axis``.
        seed: of the resampling.
        resamples: number of bootstrap samples.
        confidence: of the interval.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim not in (1, 2) or len(values) == 0:
        raise ValueError(f"`values` must be (R,) or (R, K) with R > 0, got shape {values.shape}")
    axis: int | tuple[int, int] = -1 if values.ndim == 1 else (-2, -1)
    index = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    samples = statistic(values[index], axis=axis)
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], method="nearest")  # "linear" would make NaN of inf - inf
    return Estimate(float(statistic(values, axis=axis)), float(low), float(high))


def median_gap(run: Run, *, seed: int = 0) -> Estimate:
    """Median over the runs of the final best gap, floored at 1e-16."""
    return bootstrap(np.maximum(run.best[:, -1], SMALLEST), _median, seed=seed)


def share_within(run: Run, target: float, *, seed: int = 0) -> Estimate:
    """Share of the runs whose final best gap is at most ``target``."""
    return bootstrap(run.best[:, -1] <= target, seed=seed)


def cost_to_target(run: Run, target: float, axis: Axis = "rounds") -> Array:
    """``(R,)``: the cost of the first row with a gap at most ``target``; ``inf`` for a censored run."""
    hit = run.best <= target
    first = hit.argmax(1)[:, None]
    reached = np.take_along_axis(cost(run, axis).astype(float), first, 1)[:, 0]
    return np.where(hit.any(1), reached, np.inf)


def median_cost(run: Run, target: float, axis: Axis = "rounds", *, seed: int = 0) -> Estimate:
    """Median cost to target, censored runs as infinitely dear; ``inf`` when at least half are censored."""
    return bootstrap(cost_to_target(run, target, axis), _median, seed=seed)


def expected_cost(run: Run, target: float, axis: Axis = "evaluations") -> float:
    """Expected running time: all that was spent, successes up to their hit and failures in full, a success.

    Hansen et al. (2010), COCO. ``inf`` without a success.
    """
    costs = cost_to_target(run, target, axis)
    solved = np.isfinite(costs)
    spent = costs[solved].sum() + cost(run, axis)[~solved, -1].sum()
    return float(spent / solved.sum()) if solved.any() else float("inf")


def ranks(runs: Mapping[str, Run]) -> dict[str, float]:
    """Mean rank of each method by the final best gap, instance by instance; ties share their rank, 1 is best.

    Raises:
        ValueError: if the methods were not run on the same number of instances.
    """
    sizes = {name: len(run) for name, run in runs.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"ranking needs the same instances for every method, got {sizes}")
    final = np.stack([np.maximum(run.best[:, -1], SMALLEST) for run in runs.values()])
    return dict(zip(runs, rankdata(final, axis=0).mean(1).tolist(), strict=True))


def solved_share(
    runs: Sequence[Run],
    targets: Sequence[float],
    *,
    rounds: int | None = None,
    evaluations: int | None = None,
    seconds: float | None = None,
    scales: Sequence[Array] | None = None,
    seed: int = 0,
) -> Estimate:
    """Share of (function, instance, target) triples solved within a budget.

    Args:
        runs: one for each function.
        targets: gaps, multiplied by the scale of the instance.
        rounds: budget in rounds; ``None`` for no limit.
        evaluations: budget in evaluations; ``None`` for no limit.
        seconds: budget in seconds; ``None`` for no limit.
        scales: for each function ``(R,)``, what a gap of 1 is on each instance; 1 by default.
        seed: of the bootstrap, which resamples (function, instance) pairs.
    """
    rows = []
    for i, run in enumerate(runs):
        scale = np.ones(len(run)) if scales is None else np.asarray(scales[i])
        final = run.truncated(rounds=rounds, evaluations=evaluations, seconds=seconds).best[:, -1]
        rows.append(final[:, None] <= np.asarray(targets) * scale[:, None])
    return bootstrap(np.concatenate(rows), seed=seed)


def median_log_gap(run: Run) -> float:
    """Median over the runs of ``log10`` of the final best gap: what tuning minimises."""
    return float(_median(log_gap(run.best[:, -1]), axis=-1))


def _median(values: Array, axis: int | tuple[int, int]) -> Array:
    """The lower of the two middle values, so that it is one of the data and `inf` stays `inf`."""
    return np.quantile(values, 0.5, axis=axis, method="lower")
