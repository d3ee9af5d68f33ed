"""Hyper-parameters as the paper chose them: the ones with the best median on a tuning set (section 4.2).

The tuning set is other instances (or other perturbations) than those that are judged. The search is a plain grid, or a
seeded sample of it where the grid is larger than the budget.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rover.evaluation.curves import log_gap
from rover.evaluation.runs import Run
from rover.evaluation.scores import median_log_gap

Grid = Mapping[str, Sequence[Any]]


def grid_points(grid: Grid, budget: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """Every combination of a grid, or ``budget`` of them drawn without replacement and kept in grid order.

    >>> grid_points({"lr": [0.1, 1.0], "momentum": [0.9]})
    [{'lr': 0.1, 'momentum': 0.9}, {'lr': 1.0, 'momentum': 0.9}]
    """
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if budget is None or len(points) <= budget:
        return points
    chosen = np.random.default_rng(seed).choice(len(points), budget, replace=False)
    return [points[i] for i in sorted(chosen)]


def tune(
    run: Callable[..., Run], grid: Grid, *, budget: int | None = None, seed: int = 0
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], float]]]:
    """Try every point of a grid and keep the best.

    Args:
        run: ``run(**hyper) -> Run`` on the tuning set, seed and budget of evaluations fixed.
        grid: values for each hyper-parameter; an empty grid keeps the defaults.
        budget: at most this many points of the grid.
        seed: which ones, where the grid is larger.

    Returns:
        The hyper-parameters with the lowest median ``log10`` final gap (then the lowest mean, then the first), and the
        score of each point tried.

    Raises:
        ValueError: if a hyper-parameter has no values or the budget is not positive.
    """
    empty = [name for name, values in grid.items() if len(values) == 0]
    if empty or (budget is not None and budget < 1):
        raise ValueError(f"tuning needs a value for each hyper-parameter and a budget >= 1; got {empty or budget}")
    tried = []
    for hyper in grid_points(grid, budget, seed):
        result = run(**hyper)
        # A run that left the finite numbers is bad, but no reason to call two other runs equal.
        mean = float(np.minimum(log_gap(result.best[:, -1]), 300).mean())
        tried.append((hyper, median_log_gap(result), mean))
    best = min(tried, key=lambda row: row[1:])
    return best[0], [(hyper, median) for hyper, median, _ in tried]
