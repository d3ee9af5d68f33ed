"""The tables of the development suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rover.evaluation.curves import SMALLEST
from rover.evaluation.figures import label
from rover.evaluation.report import Table
from rover.evaluation.runs import Run
from rover.evaluation.scores import bootstrap, solved_share
from rover.landscapes.suite import TARGETS

Runs = Mapping[str, Sequence[Run]]  # entrant -> runs, one a function

_EASY_ROUNDS = 30
_SECONDS = (0.1, 1.0)


def first_budget(rounds: int) -> int:
    """The smaller of the two numbers of rounds that are judged."""
    return min(_EASY_ROUNDS, rounds)


def solved_table(
    by_rounds: Runs, by_evaluations: Runs, title: str, *, rounds: int, evaluations: int, seed: int
) -> Table:
    """Share of (function, instance, target) solved within half and all of each budget, and within a time."""
    limits = sorted({first_budget(rounds), rounds}), sorted({evaluations // 10, evaluations // 2, evaluations})
    columns = ["optimiser", *[f"{r} rounds" for r in limits[0]], *[f"{e} evaluations" for e in limits[1]]]
    columns += [f"{s:g} s" for s in _SECONDS]
    rows: list[list[Any]] = []
    for name in by_rounds:
        row: list[Any] = [label(name)]
        row += [solved_share(by_rounds[name], TARGETS, rounds=r, seed=seed) for r in limits[0]]
        row += [solved_share(by_evaluations[name], TARGETS, evaluations=e, seed=seed) for e in limits[1]]
        row += [solved_share(by_rounds[name], TARGETS, seconds=s, seed=seed) for s in _SECONDS]
        rows.append(row)
    return Table(title, columns, rows, "95 % bootstrap intervals over (function, instance) in brackets.")


def category_table(runs: Runs, categories: Mapping[str, Sequence[str]], title: str) -> Table:
    """Share solved by what makes a function hard: function -> categories, in the order of the runs."""
    kinds = sorted({kind for member in categories.values() for kind in member})
    rows: list[list[Any]] = []
    for name, several in runs.items():
        row: list[Any] = [label(name)]
        for kind in kinds:
            chosen = [run for run, member in zip(several, categories.values(), strict=True) if kind in member]
            row.append(solved_share(chosen, TARGETS).value)
        rows.append(row)
    return Table(title, ["optimiser", *kinds], rows)


def reference_table(runs: Runs, name: str, title: str, *, rounds: int, seed: int) -> Table:
    """The true gap of each entrant against that of the one called ``name``, by function (medians) and by instance."""
    final = {
        n: [np.maximum(r.truncated(rounds=rounds).best[:, -1], SMALLEST) for r in several]
        for n, several in runs.items()
    }
    reference = final[name]
    rows: list[list[Any]] = []
    for entrant, gaps in final.items():
        medians = [(np.median(a), np.median(b)) for a, b in zip(gaps, reference, strict=True)]
        ahead = np.concatenate(gaps) <= np.concatenate(reference)
        count = f"{sum(bool(a <= b) for a, b in medians)} / {len(medians)}"
        rows.append([label(entrant), float(np.median(np.concatenate(gaps))), count, bootstrap(ahead, seed=seed)])
    against = label(name)
    columns = ["optimiser", "median gap", f"functions at or below {against}", f"instances at or below {against}"]
    return Table(title, columns, rows, "In units of each problem's median gap.")
