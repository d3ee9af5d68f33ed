"""Figure 7: the 4-10-10-3 network on Iris with different strategies of slices (section 4.3.2).

(a) all pairs of k random axes, (b) l partners for every axis, (c) l partners from the axis' own layer; against gradient
descent and Adam with exact gradients, tuned on other initialisations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rover.evaluation.experiments.slices import SlicesConfig
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
    return config.run_network(
        problem,
        f"Iris, 4-10-10-3, {config.activation}",
        heading="Figure 7: a small network",
        title=f"Cross-entropy of a 4-10-10-3 network on Iris, {config.starts} initialisations",
        opening=f"d = {problem.dim}, all 150 samples. (a) all pairs of k random axes, (b) l partners for every axis, "
        "(c) l partners from the axis' own layer.",
    )
