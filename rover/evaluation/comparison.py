"""What every comparison shares: the settings, and the tables made from its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from rover.evaluation.curves import AXES, Axis, Profile, longer, profiles
from rover.evaluation.figures import label
from rover.evaluation.protocol import Entrant, Job, execute
from rover.evaluation.report import Table
from rover.evaluation.runs import Run
from rover.evaluation.scores import TARGETS, expected_cost, median_cost, median_gap, ranks, share_within
from rover.landscapes.base import Landscape

Runs = Mapping[str, Mapping[str, Run]]  # problem -> entrant -> runs
T = TypeVar("T")

READING = (
    "Thick: median, dotted: geometric mean; by evaluations and by seconds each optimiser under the budget (rounds or "
    "evaluations) that takes it further;"
)
"""How to read a convergence figure; what is shaded follows."""
Problem = tuple[Landscape, Tensor]  # B instances and their starts (B, d)


@dataclass
class ComparisonConfig:
    """Settings of a comparison.

    Attributes:
        seed: of instances, starts, noise and methods, not negative.
        rounds: parallel rounds each method is given.
        evaluations: evaluations each method is given where evaluations are what is counted.
        runs_by_evaluations: on how many of the instances (or starts) of each problem that is done, at least 4; tuning
            takes a quarter of it.
        output_dir: where the summary and the figures go.
        cache_dir: where runs are kept between calls; null keeps none.
        workers: processes.
        smoke: a small version that ends within half a minute, written to ``<output_dir>/smoke``.
        tuning_budget: at most this many points of each entrant's grid; null tries all.
        title: heading of the report; null is the experiment's own.
        entrants: who takes part, by the name that is shown.
        drawn: the entrants in the figures; empty draws all.
    """

    seed: int = 0
    rounds: int = 30
    evaluations: int = 1000
    runs_by_evaluations: int = 40
    output_dir: str = "results/comparison"
    cache_dir: str | None = "results/cache"
    workers: int = 1
    smoke: bool = False
    tuning_budget: int | None = None
    title: str | None = None
    entrants: dict[str, Entrant] = field(default_factory=dict)
    drawn: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("rounds", "evaluations", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.runs_by_evaluations < 4:
            raise ValueError(f"`runs_by_evaluations` must be at least 4, got {self.runs_by_evaluations}")
        if self.seed < 0:
            raise ValueError(f"`seed` must not be negative, got {self.seed}")
        if unknown := [name for name in self.drawn if name not in self.entrants]:
            raise ValueError(f"`drawn` names no entrant: {unknown}; entrants are {list(self.entrants)}")
        if self.smoke:
            self.rounds, self.evaluations = min(self.rounds, 6), min(self.evaluations, 60)
            self.tuning_budget, self.workers = 1, 1  # starting processes would take longer than the work
            self.output_dir = self.output_dir if self.output_dir.endswith("/smoke") else f"{self.output_dir}/smoke"

    @property
    def command(self) -> str:
        """How to make the report again; a config file has the name of its output folder."""
        name = Path(self.output_dir.removesuffix("/smoke")).name
        return f"python evaluate.py --config {name}.yaml" + " smoke=true" * self.smoke

    def able_entrants(self) -> tuple[dict[str, Entrant], list[str]]:
        """Those who can run, and a sentence about each who cannot (a policy that is not there)."""
        if not self.entrants:
            raise ValueError("`entrants` is empty: nothing to compare")
        able = {name: e for name, e in self.entrants.items() if e.missing_policy is None}
        missing = [
            f"{label(name)} (no weights {e.missing_policy!r})" for name, e in self.entrants.items() if name not in able
        ]
        return able, [f"Left out: {', '.join(missing)}."] if missing else []

    def compare(
        self,
        problems: Mapping[str, Problem],
        tuning: Mapping[str, Problem],
        entrants: Mapping[str, Entrant],
        title: str,
        **options: Any,
    ) -> dict[str, dict[str, Run]]:
        """Every entrant on every problem.

        Args:
            problems: name -> instances and starts.
            tuning: the same names -> those on which entrants with a grid are tuned.
            entrants: who.
            title: of the progress bar.
            **options: ``rounds``, ``noisy``, ``bounded``, ``max_evaluations``.
        """
        if "max_evaluations" in options:
            problems, tuning = fewer(problems, self.runs_by_evaluations), fewer(tuning, self.runs_by_evaluations // 4)
        options = {"seed": self.seed, **options}
        keys = [(problem, name) for problem in problems for name in entrants]
        jobs = [Job(entrants[name], *problems[p], options, tuning[p], self.tuning_budget) for p, name in keys]
        runs = execute(jobs, cache=self.cache_dir, workers=self.workers, progress=title)
        result: dict[str, dict[str, Run]] = {problem: {} for problem in problems}
        for (problem, name), run in zip(keys, runs, strict=True):
            result[problem][name] = run
        return result

    def to_draw(self, runs: Mapping[str, T]) -> dict[str, T]:
        """The entrants that figures show."""
        return {name: run for name, run in runs.items() if not self.drawn or name in self.drawn}


def fewer(problems: Mapping[str, Problem], count: int) -> dict[str, Problem]:
    """The first ``count`` instances of each problem and their starts."""
    return {name: (problem.select(slice(0, count)), start[:count]) for name, (problem, start) in problems.items()}


def by_axis(config: ComparisonConfig, by_rounds: Runs, by_evaluations: Runs) -> dict[str, dict[Axis, dict[str, Run]]]:
    """What a convergence figure shows: problem -> axis -> entrant -> the runs that go further along this axis."""
    return {
        problem: {
            axis: {
                name: longer(run, by_evaluations[problem][name], axis) for name, run in config.to_draw(entrants).items()
            }
            for axis in AXES
        }
        for problem, entrants in by_rounds.items()
    }


def found_profiles(
    config: ComparisonConfig, by_rounds: Runs, by_evaluations: Runs, targets: Sequence[float]
) -> dict[Axis, dict[str, Profile]]:
    """Share of (problem, run, target) solved against each axis: axis -> entrant -> (cost, share)."""
    drawn = by_axis(config, by_rounds, by_evaluations)
    names = list(config.to_draw(next(iter(by_rounds.values()))))
    return {axis: profiles({n: [drawn[p][axis][n] for p in drawn] for n in names}, targets, axis) for axis in AXES}


def overview(runs: Runs, title: str, note: str = "") -> Table:
    """Median final gap of each entrant on each problem, its mean rank over instances, and how often it was first."""
    problems = list(runs)
    names = list(runs[problems[0]])
    medians = {p: {n: median_gap(runs[p][n]).value for n in names} for p in problems}
    rank = {p: ranks(runs[p]) for p in problems}
    rows: list[list[Any]] = []
    for name in names:
        places = [1 + sum(medians[p][other] < medians[p][name] for other in names) for p in problems]
        row: list[Any] = [label(name)]
        row += [f"{medians[p][name]:.1e} ({place})" for p, place in zip(problems, places, strict=True)]
        rows.append([*row, float(np.mean([rank[p][name] for p in problems])), sum(place == 1 for place in places)])
    return Table(title, ["optimiser", *problems, "mean rank", "first on"], rows, note)


def share_table(runs: Runs, target: float, title: str, note: str = "") -> Table:
    """How many runs of each entrant came within ``target`` on each problem."""
    problems = list(runs)
    rows = []
    for name in runs[problems[0]]:
        solved = [int((runs[p][name].best[:, -1] <= target).sum()) for p in problems]
        total = [len(runs[p][name]) for p in problems]
        cells = [f"{s} / {t}" for s, t in zip(solved, total, strict=True)]
        rows.append([label(name), *cells, f"{sum(solved)} / {sum(total)}"])
    return Table(title, ["optimiser", *problems, "all"], rows, note)


def details(runs: Mapping[str, Run], title: str, targets: Sequence[float] = TARGETS, seed: int = 0) -> Table:
    """Everything about one problem, with 95 % bootstrap intervals."""
    rank = ranks(runs)
    first = targets[0]
    columns = ["optimiser", "median gap", *[f"share within {t:.0e}" for t in targets], "rank"]
    columns += [f"rounds to {first:.0e}", f"evaluations to {first:.0e}", f"expected evaluations to {first:.0e}"]
    columns += ["evaluations", "derivative calls", "seconds", "hyper-parameters"]
    rows: list[list[Any]] = []
    for name, run in runs.items():
        row: list[Any] = [label(name), median_gap(run, seed=seed)]
        row += [share_within(run, t, seed=seed) for t in targets]
        row += [rank[name], median_cost(run, first, "rounds", seed=seed)]
        row += [median_cost(run, first, "evaluations", seed=seed), expected_cost(run, first)]
        row += [int(np.median(run.evaluations[:, -1])), int(np.median(run.derivatives[:, -1]))]
        row += [float(np.median(run.seconds[:, -1])), _hyper(run)]
        rows.append(row)
    return Table(title, columns, rows, "Medians over the runs, 95 % bootstrap intervals in brackets.", detail=True)


def _hyper(run: Run) -> str:
    shown = {k: v for k, v in run.hyper.items() if v is not None}
    return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items())


def hyper_of(runs: Runs) -> dict[str, dict[str, Any]]:
    """The hyper-parameters that were used, problem by problem, for the record."""
    return {problem: {name: run.hyper for name, run in entrants.items()} for problem, entrants in runs.items()}


def medians(runs: Runs) -> dict[str, dict[str, float]]:
    """Median final gap, problem by problem and entrant by entrant."""
    return {p: {name: median_gap(run).value for name, run in entrants.items()} for p, entrants in runs.items()}
