"""Figure 7: the 4-10-10-3 network on Iris with different strategies of slices (section 4.3.2).

(a) all pairs of k random axes, (b) l partners for every axis, (c) l partners from the axis' own layer; against gradient
descent and Adam with exact gradients, tuned on other initialisations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rover.evaluation.experiments.slices import SlicesConfig, cost_table, loss_table, paired_table
from rover.evaluation.high_dimensional import ProblemSet
from rover.landscapes.problems import iris


@dataclass
class IrisConfig(SlicesConfig):
    """Settings of Figure 7; see :class:`SlicesConfig`.

    Attributes:
        activation: ``tanh`` or ``relu``.
    """

    output_dir: str = "results/iris"
    activation: str = "tanh"


def run(config: IrisConfig) -> dict[str, Any]:
    """Make Figure 7 and its tables in ``output_dir``; returns the headline numbers."""
    problem = iris(config.activation)
    name = f"Iris, 4-10-10-3, {config.activation}"
    judged = {name: config.with_starts(ProblemSet(name, [problem], config.starts), 0)}
    tuning = {name: config.with_starts(ProblemSet(name, [problem], config.tuning_starts), 1)}
    runs, notes = config.run_all(judged, tuning)
    title = f"Cross-entropy of a 4-10-10-3 network on Iris, {config.starts} initialisations"
    tables = [
        loss_table(runs, judged, f"Cross-entropy after {config.rounds} rounds, median and quartiles"),
        paired_table(runs, config.pairs, f"The order of the strategies after {config.rounds} rounds"),
        cost_table(runs, f"What {config.rounds} rounds cost"),
    ]
    text = (
        f"d = {problem.dim}, all 150 samples. (a) all pairs of k random axes, (b) l partners for every axis, (c) l partners "
        "from the axis' own layer. A round is one call of the objective. Gradient descent and Adam see exact gradients "
        f"and are tuned on {config.tuning_starts} other initialisations; the rover is not tuned."
    )
    plots = config.draw(runs, title, "envelope")
    return config.report("Figure 7: a small network", [text, *notes], tables, plots, runs)
