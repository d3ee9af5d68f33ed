"""From runs to curves: the same runs against rounds, evaluations or seconds.

Runs reach a cost at different rows, so a curve against evaluations or seconds asks each run for the gap it had *by
then*: the last row whose cost is not above it. Averages are taken over ``log10`` of the gap, because one hopeless run
would otherwise be the whole mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from rover.evaluation.runs import Array, Run

Axis = Literal["rounds", "evaluations", "seconds"]
AXES: tuple[Axis, ...] = get_args(Axis)

Profile = tuple[Array, Array]
"""Costs ``(K,)`` and the share of targets that were solved by then ``(K,)``."""

SMALLEST = 1e-16
"""Gaps below this are drawn and scored as this: double precision sees no further."""


@dataclass(frozen=True)
class Curve:
    """Statistics of R runs at K costs, each ``(K,)``; ``mean`` is geometric, ``low`` and ``high`` are the envelope."""

    x: Array
    median: Array
    mean: Array
    quarter: Array
    three_quarters: Array
    low: Array
    high: Array


def log_gap(gap: Array) -> Array:
    """``log10`` of a gap, floored at :data:`SMALLEST`; an infinite gap stays infinite."""
    return np.log10(np.maximum(gap, SMALLEST))


def cost(run: Run, axis: Axis) -> Array:
    """``(R, T + 1)``: what each row had cost on an axis."""
    if axis == "rounds":
        return np.broadcast_to(np.arange(run.rounds + 1), run.best.shape)
    if axis in AXES:
        return run.evaluations if axis == "evaluations" else run.seconds
    raise ValueError(f"`axis` must be one of {AXES}, got {axis!r}")


def gaps_at(run: Run, axis: Axis, x: Array) -> Array:
    """The best gap each run had when it had spent ``x``: ``(K,) -> (R, K)``, the start's gap before the first row."""
    costs = cost(run, axis)
    rows = np.stack([np.searchsorted(c, x, side="right") for c in costs]) - 1
    return np.take_along_axis(run.best, np.maximum(rows, 0), 1)


def solved_profile(runs: Sequence[Run], targets: Sequence[float], axis: Axis, x: Array) -> Array:
    """Share of (run, target) pairs solved when ``x`` had been spent: ``(K,) -> (K,)``, the COCO data profile."""
    gaps = np.concatenate([gaps_at(run, axis, x) for run in runs])  # (R, K)
    return (gaps[..., None] <= np.asarray(targets)).mean((0, 2))


def profiles(runs: Mapping[str, Sequence[Run]], targets: Sequence[float], axis: Axis) -> dict[str, Profile]:
    """The data profile of each entrant, from its first round to the end of its longest run: entrant -> (cost, share).

    A run that never reaches a target is censored: it counts among all, and is never solved.
    """
    result = {}
    for name, several in runs.items():
        firsts = np.concatenate([cost(run, axis)[:, min(1, run.rounds)] for run in several])
        begin = 1.0 if axis == "evaluations" else max(float(np.median(firsts)), 1e-6)
        end = max(*(float(np.max(cost(run, axis)[:, -1])) for run in several), 2 * begin)
        x = np.arange(int(end) + 1) if axis == "rounds" else np.geomspace(begin, end, 80)
        result[name] = x, solved_profile(several, targets, axis, x)
    return result


def longer(by_rounds: Run, by_evaluations: Run, axis: Axis) -> Run:
    """Of the runs of one method under two budgets, those whose curve against ``axis`` goes further."""
    if axis == "rounds":
        return by_rounds
    ends = [float(np.median(cost(run, axis)[:, -1])) for run in (by_rounds, by_evaluations)]
    return by_evaluations if ends[1] > ends[0] else by_rounds


def curve(run: Run, axis: Axis, x: Array | None = None, points: int = 60) -> Curve:
    """Median, geometric mean, quartiles and envelope against an axis.

    Args:
        run: R runs.
        axis: ``rounds``, ``evaluations`` or ``seconds``.
        x: the costs; by default every round, or ``points`` of them, evenly spaced in the logarithm up to where half of
            the runs have ended.
        points: see ``x``.
    """
    if x is None:
        costs = cost(run, axis)
        end = float(np.median(costs[:, -1]))
        first = costs[:, 0 if axis == "evaluations" else min(1, run.rounds)]  # row 0 takes no time
        begin = min(max(float(np.median(first)), 1e-6), end)
        x = np.arange(run.rounds + 1) if axis == "rounds" else np.geomspace(max(begin, 1e-9), max(end, 1e-9), points)
    logs = log_gap(gaps_at(run, axis, x))
    with np.errstate(over="ignore"):
        quarter, median, three_quarters = 10 ** np.quantile(logs, [0.25, 0.5, 0.75], axis=0, method="nearest")
        return Curve(x, median, 10 ** logs.mean(0), quarter, three_quarters, 10 ** logs.min(0), 10 ** logs.max(0))
