"""Figure 5: the optimisers on the six functions of F_test (section 4.2), none of which was seen in training.

Two protocols. *perturbed*: the stated start of each function plus small perturbations, as in the paper. *uniform*:
starts anywhere in the box. Hand-designed optimisers are tuned for each function on other starts drawn the same way; the
rover is not tuned. All are kept to the box in which the function is judged (McCormick is unbounded below outside).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rover.evaluation.comparison import (
    READING,
    ComparisonConfig,
    Problem,
    by_axis,
    details,
    found_profiles,
    hyper_of,
    medians,
    overview,
    share_table,
)
from rover.evaluation.figures import Shade, convergence_figure, profile_figure, save
from rover.evaluation.protocol import meta_test_starts
from rover.evaluation.report import Plot, Report, Table, provenance, write_report
from rover.evaluation.runs import Run
from rover.landscapes.test_functions import TEST_FUNCTIONS

FIGURES: dict[str, tuple[str, Shade]] = {
    "perturbed": ("figure5.png", "envelope"),
    "uniform": ("uniform.png", "quartiles"),
}
"""Protocol -> file and what is shaded."""


@dataclass
class MetaTestConfig(ComparisonConfig):
    """Settings of Figure 5; see :class:`ComparisonConfig`.

    Attributes:
        functions: which of the six.
        perturbations: starts of the perturbed protocol.
        perturbation: their standard deviation in box widths.
        uniform: starts of the uniform protocol; 0 leaves it out.
        tuning_starts: starts for tuning, in each protocol.
        target: the gap that counts as found in the summary.
    """

    rounds: int = 60
    output_dir: str = "results/meta_test"
    functions: list[str] = field(default_factory=lambda: list(TEST_FUNCTIONS))
    perturbations: int = 20
    perturbation: float = 0.01
    uniform: int = 100
    tuning_starts: int = 20
    target: float = 1e-2

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        for name, least in (("perturbations", 1), ("uniform", 0), ("tuning_starts", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        if unknown := [f for f in self.functions if f not in TEST_FUNCTIONS]:
            raise ValueError(f"`functions` must be among {list(TEST_FUNCTIONS)}, got {unknown}")
        if self.smoke:
            self.perturbations, self.uniform, self.tuning_starts = 2, min(self.uniform, 2), 1


def run(config: MetaTestConfig) -> dict[str, Any]:
    """Make Figure 5 and its tables in ``output_dir``; returns the headline numbers."""
    entrants, notes = config.able_entrants()
    counts = {"perturbed": config.perturbations, "uniform": config.uniform}
    by_rounds: dict[str, dict[str, dict[str, Run]]] = {}
    by_evaluations: dict[str, dict[str, dict[str, Run]]] = {}
    for protocol, count in counts.items():
        if count == 0:
            continue

        def draw(number: int, purpose: str, protocol: str = protocol) -> dict[str, Problem]:
            options = {"seed": config.seed, "purpose": purpose, "perturbation": config.perturbation}
            return {f: meta_test_starts(f, protocol, number, **options) for f in config.functions}  # type: ignore[arg-type]

        problems = draw(count, "judged"), draw(config.tuning_starts, "tuning")
        title = f"{protocol} starts, by"
        by_rounds[protocol] = config.compare(*problems, entrants, f"{title} rounds", bounded=True, rounds=config.rounds)
        budget: dict[str, Any] = {"rounds": config.evaluations, "max_evaluations": config.evaluations}
        by_evaluations[protocol] = config.compare(*problems, entrants, f"{title} evaluations", bounded=True, **budget)
    return _report(config, notes, by_rounds, by_evaluations)


def _report(
    config: MetaTestConfig,
    notes: list[str],
    by_rounds: dict[str, dict[str, dict[str, Run]]],
    by_evaluations: dict[str, dict[str, dict[str, Run]]],
) -> dict[str, Any]:
    folder = Path(config.output_dir)
    captions = {
        "perturbed": f"{config.perturbations} perturbed starts (Figure 5).",
        "uniform": f"{config.uniform} uniform starts in the box.",
    }
    plots, tables = [], []
    for protocol, runs in by_rounds.items():
        file, shade = FIGURES[protocol]
        panels = by_axis(config, runs, by_evaluations[protocol])
        save(convergence_figure(panels, title=captions[protocol], shade=shade), folder / file)
        plots.append(Plot(file, f"{captions[protocol]} {READING} shaded: {shade}."))
        found_in = f"Runs within {config.target:g} of the global minimum, {protocol} starts"
        tables += [
            share_table(runs, config.target, f"{found_in}, {config.rounds} rounds"),
            overview(runs, f"Median gap after {config.rounds} rounds (place), {protocol} starts"),
        ]
        found = found_profiles(config, runs, by_evaluations[protocol], [config.target])
        title = f"Share of (function, run) within {config.target:g} of the global minimum, {protocol} starts."
        save(profile_figure(found, title=title), folder / f"found_{protocol}.png")
        plots.append(Plot(f"found_{protocol}.png", f"{title} Runs that never come so near count as not found."))
    for protocol, runs in by_evaluations.items():
        found_in = f"Runs within {config.target:g} of the global minimum, {protocol} starts"
        tables += [
            share_table(runs, config.target, f"{found_in}, {config.evaluations} evaluations"),
            overview(runs, f"Median gap after {config.evaluations} evaluations (place), {protocol} starts"),
        ]
    tables += _detail_tables(config, by_rounds)
    report = Report(
        name=folder.name,
        title="Figure 5: the meta-test",
        command=config.command,
        paragraphs=[
            "The six functions of F_test, each in its box. Hand-designed optimisers are tuned for each function on "
            f"{config.tuning_starts} other starts, for the budget in question; the rover is not tuned.",
            *notes,
        ],
        tables=tables,
        plots=plots,
        provenance=provenance(seed=config.seed, rounds=config.rounds, evaluations=config.evaluations),
        numbers={"hyper": {protocol: hyper_of(runs) for protocol, runs in by_rounds.items()}},
    )
    write_report(report, folder)
    return {protocol: medians(runs) for protocol, runs in by_rounds.items()}


def _detail_tables(config: MetaTestConfig, by_rounds: dict[str, dict[str, dict[str, Run]]]) -> list[Table]:
    return [
        details(runs[function], f"{function}, {protocol} starts, {config.rounds} rounds", seed=config.seed)
        for protocol, runs in by_rounds.items()
        for function in runs
    ]
