"""Further than the paper: a network with thousands of parameters on scikit-learn's digits, slices within the layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rover.evaluation.experiments.slices import SlicesConfig, cost_table, loss_table
from rover.evaluation.high_dimensional import ProblemSet
from rover.landscapes.problems import digits


@dataclass
class DigitsConfig(SlicesConfig):
    """Settings; see :class:`SlicesConfig`.

    Attributes:
        hidden: width of the hidden layer; d = 75 hidden + 10.
        samples: size of a random subset of the data; null: all 1,797.
    """

    output_dir: str = "results/digits"
    starts: int = 3
    tuning_starts: int = 2
    hidden: int = 32
    samples: int | None = 300

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.hidden < 1:
            raise ValueError(f"`hidden` must be at least 1, got {self.hidden}")
        if self.smoke:
            self.hidden, self.samples, self.rounds = 4, 50, min(self.rounds, 4)


def run(config: DigitsConfig) -> dict[str, Any]:
    """Make the figure and the tables in ``output_dir``; returns the headline numbers."""
    problem = digits(config.hidden, config.samples)
    name = f"digits, 64-{config.hidden}-10, d = {problem.dim}"
    full = f"{name}, {config.samples} samples"
    judged = {name: config.with_starts(ProblemSet(full, [problem], config.starts), 0)}
    tuning = {name: config.with_starts(ProblemSet(full, [problem], config.tuning_starts), 1)}
    runs, notes = config.run_all(judged, tuning)
    title = f"Cross-entropy of a 64-{config.hidden}-10 network on digits, {config.starts} initialisations"
    tables = [
        loss_table(runs, judged, f"Cross-entropy after {config.rounds} rounds, median and quartiles"),
        cost_table(runs, f"What {config.rounds} rounds cost"),
    ]
    text = (
        f"d = {problem.dim}, full batch of {len(problem.labels)} samples, l partners for every parameter from its own layer. "
        "A round is one call of the objective. Gradient descent and Adam see exact gradients and are tuned on "
        f"{config.tuning_starts} other initialisations; the rover is not tuned."
    )
    plots = config.draw(runs, title, "envelope")
    return config.report("Thousands of parameters: digits", [text, *notes], tables, plots, runs)
