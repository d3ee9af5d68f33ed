"""Two things a person expects of an optimiser that knows curvature: rotated ill-conditioned bowls, rotated Rosenbrock.

Every run has a rotation (or reflection) and a start of its own; the minimiser is moved by 3 along each axis. *free*:
nothing is known but the start. *boxed*: bounds are given, and the minimiser is nowhere near the middle of the box.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from rover.evaluation.comparison import ComparisonConfig, Problem, details, medians, share_table
from rover.evaluation.protocol import perturbed_starts
from rover.evaluation.report import Report, Table, provenance, write_report
from rover.evaluation.runs import Run
from rover.landscapes.base import Landscape
from rover.landscapes.test_functions import TEST_FUNCTIONS
from rover.landscapes.transforms import Transformed, random_rotations
from rover.landscapes.unimodal import Quadratic

SHIFT = 3.0
PERTURBATION = 0.05
"""Standard deviation of the starts, in box widths."""


@dataclass
class Check:
    """A gap that must be reached within a number of rounds."""

    rounds: int
    target: float


@dataclass
class ChecksConfig(ComparisonConfig):
    """Settings of the checks; see :class:`ComparisonConfig`.

    Attributes:
        checks: ``quadratic`` and ``rosenbrock``: rounds and target.
        condition: of the quadratics.
        runs: of each check.
        tuning_runs: others, on which hyper-parameters are tuned.
    """

    output_dir: str = "results/checks"
    checks: dict[str, Check] = field(
        default_factory=lambda: {"quadratic": Check(40, 1e-8), "rosenbrock": Check(60, 1e-6)}
    )
    condition: float = 1e6
    runs: int = 20
    tuning_runs: int = 10

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if unknown := [name for name in self.checks if name not in ("quadratic", "rosenbrock")]:
            raise ValueError(f"`checks` must be among ('quadratic', 'rosenbrock'), got {unknown}")
        if min(self.runs, self.tuning_runs) < 1:
            raise ValueError(f"`runs` and `tuning_runs` must be at least 1, got {self.runs} and {self.tuning_runs}")
        if self.smoke:
            self.runs, self.tuning_runs = 2, 1
            self.checks = {name: replace(check, rounds=min(check.rounds, 6)) for name, check in self.checks.items()}


def rotated(name: str, count: int, *, boxed: bool, condition: float, seed: int) -> Problem:
    """``count`` rotated, shifted copies of ``quadratic`` or ``rosenbrock`` and their starts."""
    generator = torch.Generator().manual_seed(seed)
    base: Landscape = (
        Quadratic(count, condition=condition) if name == "quadratic" else TEST_FUNCTIONS[name](batch_size=count)
    )
    shift = torch.full_like(base.minimizer, SHIFT)
    problem = Transformed(base, rotation=random_rotations(count, 2, generator), shift=shift)
    width = problem.upper - problem.lower
    start = perturbed_starts(problem.start, PERTURBATION * width, generator)
    if boxed and name == "quadratic":  # whose minimiser is the middle of its box
        aside = 0.3 * torch.rand(width.shape, generator=generator, dtype=width.dtype) + 0.1
        sign = torch.where(start > problem.minimizer, 1.0, -1.0)
        problem.lower, problem.upper = problem.lower + sign * aside * width, problem.upper + sign * aside * width
    return problem, start.clamp(problem.lower, problem.upper) if boxed else start


def run(config: ChecksConfig) -> dict[str, Any]:
    """Make the tables in ``output_dir``; returns the median gaps."""
    entrants, notes = config.able_entrants()
    tables: list[Table] = []
    headline: dict[str, Any] = {}
    for protocol, boxed in (("free", False), ("boxed", True)):
        runs: dict[str, dict[str, Run]] = {}
        for name, check in config.checks.items():
            options: dict[str, Any] = {"boxed": boxed, "condition": config.condition}
            judged = rotated(name, config.runs, seed=2 * config.seed, **options)
            tuning = rotated(name, config.tuning_runs, seed=2 * config.seed + 1, **options)
            runs |= config.compare(
                {name: judged}, {name: tuning}, entrants, f"{name}, {protocol}", bounded=boxed, rounds=check.rounds
            )
            title = f"{name}, {protocol}: runs within {check.target:g} after {check.rounds} rounds"
            tables.append(share_table({name: runs[name]}, check.target, title))
            tables.append(details(runs[name], f"{name}, {protocol}", targets=(check.target,), seed=config.seed))
        headline[protocol] = medians(runs)
    report = Report(
        name=Path(config.output_dir).name,
        title=config.title or "Rotated and shifted: a bowl of condition 1e6, and Rosenbrock",
        command=config.command,
        paragraphs=[
            f"{config.runs} runs each, every one with a rotation and a start of its own, the minimiser moved by "
            f"{SHIFT:g} along each axis. The bowl's condition number is {config.condition:g}. free: no bounds; "
            "boxed: bounds are given. Hand-designed optimisers are tuned on other rotations and starts.",
            *notes,
        ],
        tables=tables,
        provenance=provenance(seed=config.seed),
        numbers={"medians": headline},
    )
    write_report(report, config.output_dir)
    return headline
