"""Figure 6: random linear classification tasks of growing dimension (section 4.3.1).

The rover sees slices of the cross-entropy and nothing else. Gradient descent and Newton see exact derivatives and are
tuned for each dimension on other data sets of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rover.evaluation.comparison import Runs
from rover.evaluation.experiments.slices import SlicesConfig, cost_table, loss_table
from rover.evaluation.figures import label
from rover.evaluation.high_dimensional import ProblemSet
from rover.evaluation.report import Table
from rover.landscapes.problems import LinearClassification

_TUNING_SEEDS = 1000  # data sets for tuning are drawn from here on


@dataclass
class LinearConfig(SlicesConfig):
    """Settings of Figure 6; see :class:`SlicesConfig`, whose ``starts`` are those on each data set.

    Attributes:
        dims: numbers of variables, each at least 4.
        tasks: judged data sets a dimension.
        tuning_tasks: data sets a dimension for tuning.
    """

    output_dir: str = "results/linear"
    dims: list[int] = field(default_factory=lambda: [10, 30, 60, 100])
    starts: int = 5
    tuning_starts: int = 3
    tasks: int = 4
    tuning_tasks: int = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if not self.dims or min(self.dims) < 4:
            raise ValueError(f"`dims` must be at least 4 each, got {self.dims}")
        if min(self.tasks, self.tuning_tasks) < 1:
            raise ValueError(f"`tasks` and `tuning_tasks` must be at least 1, got {self.tasks}, {self.tuning_tasks}")
        if self.smoke:
            self.tasks, self.tuning_tasks, self.dims = 1, 1, self.dims[:2]


def _tasks(dim: int, first: int, count: int, starts: int) -> ProblemSet:
    problems = [LinearClassification(dim, seed) for seed in range(first, first + count)]
    return ProblemSet(f"linear classification, d = {dim}, data sets {first} + {count}", problems, starts)


def run(config: LinearConfig) -> dict[str, Any]:
    """Make Figure 6 and its tables in ``output_dir``; returns the headline numbers."""
    judged, tuning = {}, {}
    for dim in config.dims:
        first = 2000 * config.seed
        judged[f"d = {dim}"] = config.with_starts(_tasks(dim, first, config.tasks, config.starts), 0)
        others = _tasks(dim, first + _TUNING_SEEDS, config.tuning_tasks, config.tuning_starts)
        tuning[f"d = {dim}"] = config.with_starts(others, 1)
    runs, notes = config.run_all(judged, tuning)
    title = "Cross-entropy above its minimum, random linear classification"
    tables = [
        loss_table(runs, judged, f"Cross-entropy after {config.rounds} rounds, median and quartiles"),
        *_against(runs, judged),
        cost_table(runs, f"What {config.rounds} rounds cost"),
    ]
    text = (
        f"{config.tasks} data sets a dimension from scikit-learn's `make_classification`, {config.starts} standard normal "
        "starts on each. A round is one call of the objective: an iteration of gradient descent or Newton, a round of "
        "slices, or a search along the combined move. Gradient descent and Newton are tuned on "
        f"{config.tuning_tasks} other data sets a dimension; the rover is not tuned."
    )
    plots = config.draw(runs, title, "quartiles")
    return config.report("Figure 6: linear classification", [text, *notes], tables, plots, runs)


def _against(runs: Runs, problems: Any) -> list[Table]:
    """Final losses as ratios to the hand-designed optimisers'."""
    tables = []
    for rival in ("gradient_descent", "newton"):
        if rival not in next(iter(runs.values())):
            continue
        rows: list[list[Any]] = []
        for name in next(iter(runs.values())):
            cells = []
            for problem, (landscape, _) in problems.items():
                least = landscape.minimum.numpy()
                ratio = (runs[problem][name].best[:, -1] + least) / (runs[problem][rival].best[:, -1] + least)
                cells.append(f"{np.median(ratio):.4f} ({np.mean(ratio <= 1):.0%})")
            rows.append([label(name), *cells])
        note = "Median over the runs; in brackets the share of runs in which it is not worse."
        tables.append(
            Table(f"Final cross-entropy as a ratio to {label(rival)}'s", ["optimiser", *problems], rows, note)
        )
    return tables
