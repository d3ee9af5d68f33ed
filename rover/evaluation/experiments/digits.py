"""Further than the paper: a network with thousands of parameters on scikit-learn's digits, slices within the layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rover.evaluation.experiments.slices import SlicesConfig
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
    samples = len(problem.labels)
    return config.run_network(
        problem,
        f"digits, 64-{config.hidden}-10, d = {problem.dim}, {samples} samples",
        heading="Thousands of parameters: digits",
        title=f"Cross-entropy of a 64-{config.hidden}-10 network on digits, {config.starts} initialisations",
        opening=f"d = {problem.dim}, full batch of {samples} samples, l partners for every parameter from its own layer.",
    )
