"""Classic functions of more than two variables: a turned quadratic in 3, Rosenbrock in 10, with the minimum known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from rover.evaluation.comparison import share_table
from rover.evaluation.experiments.slices import SlicesConfig, cost_table, gap_table
from rover.evaluation.high_dimensional import ProblemSet
from rover.landscapes.problems import Problem, QuadraticProblem, RosenbrockProblem

KINDS = ("quadratic", "rosenbrock")


@dataclass
class ClassicsConfig(SlicesConfig):
    """Settings; see :class:`SlicesConfig`.

    Attributes:
        functions: ``<kind>_<d>``, for example ``quadratic_3``.
        condition: of the quadratics.
        targets: gaps for which the runs that reached them are counted.
    """

    rounds: int = 300
    output_dir: str = "results/classics"
    functions: list[str] = field(default_factory=lambda: ["quadratic_3", "rosenbrock_10"])
    condition: float = 100.0
    targets: list[float] = field(default_factory=lambda: [1e-1, 1e-6])

    def __post_init__(self) -> None:
        """Check the names."""
        super().__post_init__()
        for name in self.functions:
            kind, _, dim = name.partition("_")
            if kind not in KINDS or not dim.isdigit() or int(dim) < 2:
                raise ValueError(f"`functions` must be such as 'quadratic_3' or 'rosenbrock_10', got {name!r}")


def _problems(name: str, config: ClassicsConfig, purpose: int) -> ProblemSet:
    """Quadratics differ from run to run and are others for tuning; there is one Rosenbrock function."""
    kind, _, dim = name.partition("_")
    count = config.tuning_starts if purpose else config.starts
    if kind == "rosenbrock":
        return ProblemSet(name, [RosenbrockProblem(int(dim))], count)
    generator = torch.Generator().manual_seed(2 * config.seed + purpose)
    problems: list[Problem] = [QuadraticProblem(int(dim), generator, config.condition) for _ in range(count)]
    title = f"{name}, condition {config.condition:g}, seed {config.seed}, {'tuning' if purpose else 'judged'}"
    return ProblemSet(title, problems, 1)


def run(config: ClassicsConfig) -> dict[str, Any]:
    """Make the figure and the tables in ``output_dir``; returns the headline numbers."""
    judged = {name: config.with_starts(_problems(name, config, 0), 0) for name in config.functions}
    tuning = {name: config.with_starts(_problems(name, config, 1), 1) for name in config.functions}
    runs, notes = config.run_all(judged, tuning)
    title = f"Classic functions of more than two variables, {config.starts} runs"
    tables = [
        gap_table(runs, f"Gap after {config.rounds} rounds, median and quartiles"),
        *[
            share_table(runs, target, f"Runs within {target:g} after {config.rounds} rounds")
            for target in config.targets
        ],
        cost_table(runs, f"What {config.rounds} rounds cost"),
    ]
    text = (
        f"Quadratics have condition {config.condition:g}, random axes and a random minimiser; Rosenbrock starts near "
        "(-1.2, 1, -1.2, ...). A round is one call of the objective. Hand-designed optimisers are tuned on "
        f"{config.tuning_starts} other runs; the rover is not tuned."
    )
    return config.report(
        "Classic functions, d > 2", [text, *notes], tables, config.draw(runs, title, "quartiles"), runs
    )
