"""The development suite: share of (function, instance, target) solved, by rounds, by evaluations, by seconds.

Classic functions with random rotations, shifts, scales and noise (:mod:`rover.landscapes.suite`), in two halves.
Everything is chosen on the ``tuning`` half: entrants with a grid take the values with the largest solved share there,
one choice for all functions. The ``evaluation`` half is for the final count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from rover.evaluation.baselines import BATCHED
from rover.evaluation.cache import RunCache
from rover.evaluation.comparison import ComparisonConfig
from rover.evaluation.curves import AXES, Axis, profiles
from rover.evaluation.figures import profile_figure, save
from rover.evaluation.protocol import Entrant, execute, fingerprint, run_entrant, source_key
from rover.evaluation.report import Plot, Report, provenance, write_report
from rover.evaluation.runs import Run, concatenate
from rover.evaluation.scores import solved_share
from rover.evaluation.suite_tables import category_table, first_budget, reference_table, solved_table
from rover.evaluation.tuning import grid_points
from rover.landscapes.stack import Stack
from rover.landscapes.suite import TARGETS, Split, SuiteProblem, function_names, suite


@dataclass
class SuiteConfig(ComparisonConfig):
    """Settings of the suite; see :class:`ComparisonConfig`.

    Attributes:
        split: the half that is judged.
        instances: of each function.
        functions: a subset of the half's functions; empty takes all.
        noise: standard deviations of the evaluation noise, in units of each problem's local range; one table each.
        reference: the entrant with which the true gaps of the others are compared.
    """

    rounds: int = 60
    output_dir: str = "results/suite"
    split: Literal["tuning", "evaluation"] = "tuning"  # OmegaConf wants the literal itself
    instances: int = 5
    functions: list[str] = field(default_factory=list)
    noise: list[float] = field(default_factory=lambda: [0.0])
    reference: str = "cma_es_batch"

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.instances < 1 or not self.noise or min(self.noise) < 0:
            raise ValueError("`instances` must be at least 1 and `noise` a list of numbers that are not negative")
        known = function_names(self.split)
        if unknown := [f for f in self.functions if f not in known]:
            raise ValueError(f"`functions` must be among {known}, got {unknown}")
        if self.smoke:
            self.instances, self.noise = 1, self.noise[:2]
            self.functions = self.functions or list(known[:: max(1, len(known) // 6)])


class FunctionJob(NamedTuple):
    """An entrant on all instances of a function."""

    entrant: Entrant
    function: str
    split: Split
    instances: int
    noise: float
    options: dict[str, Any]  # seed, rounds, max_evaluations


def run_function(job: FunctionJob, cache: str | None) -> Run:
    """The runs on a function, gaps in units of each instance's ``gap_scale``."""
    problems = suite(
        job.split, seed=job.options["seed"], instances=job.instances, noise_rel=job.noise, functions=[job.function]
    )
    options = {**job.options, **job.entrant.hyper, "bounded": True, "noisy": job.noise > 0}

    def one(number: int) -> Run:
        start = torch.as_tensor(problems[number].start)[None]
        seeded = {**options, "seed": job.options["seed"] + number}
        return run_entrant(job.entrant.method, problems[number].landscape, start, **seeded)

    def together() -> Run:
        """All instances as one batch; the clock is read on one of them alone."""
        start = torch.stack([torch.as_tensor(p.start) for p in problems])
        run = run_entrant(job.entrant.method, Stack([p.landscape for p in problems]), start, **options)
        return replace(run, seconds=np.broadcast_to(one(0).seconds, run.seconds.shape).copy())

    def compute() -> Run:
        rover = job.entrant.method == "rover" and not (job.noise or options.get("restarts"))
        same = rover or job.entrant.method in BATCHED
        run = together() if same else concatenate([one(number) for number in range(len(problems))])
        scale = np.array([[p.gap_scale] for p in problems])
        return replace(run, current=run.current / scale, best=run.best / scale)

    key = {
        "method": job.entrant.method,
        "options": options,
        "problem": [fingerprint(p.landscape, torch.as_tensor(p.start)[None]) for p in problems],
        "source": source_key(job.entrant.method, job.entrant.hyper),
    }
    return RunCache(cache).get(key, compute)


def run(config: SuiteConfig) -> dict[str, Any]:
    """Make the tables and profiles of the suite in ``output_dir``; returns the solved shares."""
    entrants, notes = config.able_entrants()
    budget: dict[str, Any] = {"rounds": config.evaluations, "max_evaluations": config.evaluations}
    tuned = _tune(config, entrants, rounds=config.rounds)
    thrifty = _tune(config, entrants, **budget)
    tables, plots, headline = [], [], {}
    folder = Path(config.output_dir)
    categories = _categories(config)
    for noise in config.noise:
        by_rounds = _all_runs(config, tuned, noise, rounds=config.rounds)
        by_evaluations = _all_runs(config, thrifty, noise, **budget)
        suffix = f", noise {noise:.0%} of the local range" if noise else ", no noise"
        limits = {"rounds": config.rounds, "evaluations": config.evaluations, "seed": config.seed}
        tables += [
            solved_table(by_rounds, by_evaluations, f"Share of targets solved{suffix}", **limits),
            category_table(by_rounds, categories, f"The same by kind, {config.rounds} rounds{suffix}"),
        ]
        if config.reference in by_rounds:
            limit = first_budget(config.rounds)
            title = f"True gap after {limit} rounds{suffix}"
            tables.append(reference_table(by_rounds, config.reference, title, rounds=limit, seed=config.seed))
        file = f"profiles_{noise:g}.png"
        lines = {
            axis: profiles(config.to_draw(_along(axis, by_rounds, by_evaluations)), TARGETS, axis) for axis in AXES
        }
        save(profile_figure(lines, title=f"Share of (function, instance, target) solved{suffix}"), folder / file)
        plots.append(Plot(file, f"Share of targets solved against rounds, evaluations and seconds{suffix}."))
        headline[f"{noise:g}"] = {
            name: solved_share(runs, TARGETS, rounds=config.rounds).value for name, runs in by_rounds.items()
        }
    report = Report(
        name=folder.name,
        title=config.title or f"The development suite, {config.split} half",
        command=config.command,
        paragraphs=[
            f"{len(categories)} functions, {config.instances} instances each, randomly rotated, shifted and scaled. "
            f"Targets: {TARGETS[0]:g} to {TARGETS[-1]:g} of the median gap in the box. "
            "Hyper-parameters: one choice for all functions, for the budget in question, made on the tuning half.",
            *notes,
        ],
        tables=tables,
        plots=plots,
        provenance=provenance(
            seed=config.seed, split=config.split, rounds=config.rounds, evaluations=config.evaluations
        ),
        numbers={
            "hyper": {
                "rounds": {name: entrant.hyper for name, entrant in tuned.items()},
                "evaluations": {name: entrant.hyper for name, entrant in thrifty.items()},
            },
            "solved": headline,
        },
    )
    write_report(report, folder)
    return headline


def _tune(config: SuiteConfig, entrants: Mapping[str, Entrant], **budget: Any) -> dict[str, Entrant]:
    """Each entrant with the values of its grid that solve most within the budget on the noise-free tuning half."""
    candidates = {
        f"{name} {i}": Entrant(entrant.method, {**entrant.hyper, **point})
        for name, entrant in entrants.items()
        if entrant.grid
        for i, point in enumerate(grid_points(entrant.grid, config.tuning_budget, config.seed))
    }
    runs = _all_runs(config, candidates, 0.0, split="tuning", **budget)
    share = {key: solved_share(several, TARGETS).value for key, several in runs.items()}
    tuned = {}
    for name, entrant in entrants.items():
        own = [key for key in candidates if key.rpartition(" ")[0] == name]
        tuned[name] = candidates[max(own, key=share.__getitem__)] if own else entrant
    return tuned


def _all_runs(
    config: SuiteConfig, entrants: Mapping[str, Entrant], noise: float, *, split: Split | None = None, **budget: Any
) -> dict[str, list[Run]]:
    """Entrant -> one run for each function."""
    split = split or config.split
    options = {"seed": config.seed, **budget}
    functions = [f for f in _functions(config) if f in function_names(split)]
    jobs = [FunctionJob(e, f, split, config.instances, noise, options) for e in entrants.values() for f in functions]
    title = f"{split} half, noise {noise:g}, {budget}"
    runs = execute(jobs, run_function, cache=config.cache_dir, workers=config.workers, progress=title)
    return {name: runs[i * len(functions) : (i + 1) * len(functions)] for i, name in enumerate(entrants)}


def _functions(config: SuiteConfig) -> Sequence[str]:
    return config.functions or function_names(config.split)


def _categories(config: SuiteConfig) -> dict[str, tuple[str, ...]]:
    problems: list[SuiteProblem] = suite(config.split, seed=config.seed, instances=1, functions=_functions(config))
    return {problem.function: problem.categories for problem in problems}


def _along(axis: Axis, by_rounds: dict[str, list[Run]], by_evaluations: dict[str, list[Run]]) -> dict[str, list[Run]]:
    return by_evaluations if axis == "evaluations" else by_rounds
