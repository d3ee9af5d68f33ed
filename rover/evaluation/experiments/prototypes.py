"""Figure 4: the optimisers on instances of F_train (section 4.2), and the statistics over many held-out ones.

For each modality: hyper-parameters of the hand-designed optimisers are tuned on instances of their own; all optimisers
are then run on the same held-out instances, and from ``perturbations`` perturbed starts on the first of them, which is
the paper's picture. The rover is not tuned: its first step size and resolution are drawn from the ranges in the YAML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

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
from rover.evaluation.protocol import perturbed_starts, repeat
from rover.evaluation.report import Plot, Report, provenance, write_report
from rover.evaluation.runs import Run
from rover.evaluation.scores import TARGETS
from rover.landscapes import MODALITIES, sample_prototypes


@dataclass
class PrototypesConfig(ComparisonConfig):
    """Settings of Figure 4; see :class:`ComparisonConfig`.

    Attributes:
        modalities: which of the four.
        instances: held-out instances of each.
        tuning_instances: instances of each on which hyper-parameters are tuned.
        perturbations: perturbed starts on one instance.
        perturbation: their standard deviation.
        noisy: whether evaluations carry the noise of the fields; curves show the true values in any case.
    """

    output_dir: str = "results/prototypes"
    modalities: list[str] = field(default_factory=lambda: list(MODALITIES))
    instances: int = 100
    tuning_instances: int = 40
    perturbations: int = 20
    perturbation: float = 0.1
    noisy: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        for name in ("instances", "tuning_instances", "perturbations"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if unknown := [m for m in self.modalities if m not in MODALITIES]:
            raise ValueError(f"`modalities` must be among {MODALITIES}, got {unknown}")
        if self.smoke:
            self.instances, self.tuning_instances, self.perturbations = 3, 2, 2


def run(config: PrototypesConfig) -> dict[str, Any]:
    """Make Figure 4 and its tables in ``output_dir``; returns the headline numbers."""
    entrants, notes = config.able_entrants()

    def draw(modality: str, count: int, purpose: int) -> Problem:
        generator = torch.Generator().manual_seed(3 * config.seed + purpose)
        problem = sample_prototypes(count, generator, modalities=(modality,))
        return problem, problem.sample_starts(generator)

    held_out, perturbed, tuning = {}, {}, {}
    for modality in config.modalities:
        tuning[modality] = draw(modality, config.tuning_instances, 1)
        problem, start = held_out[modality] = draw(modality, config.instances, 0)
        generator = torch.Generator().manual_seed(3 * config.seed + 2)
        starts = perturbed_starts(start[:1].expand(config.perturbations, 2), config.perturbation, generator)
        perturbed[modality] = repeat(problem, 0, config.perturbations), starts

    def compare(problems: dict[str, Problem], title: str, **budget: Any) -> dict[str, dict[str, Run]]:
        return config.compare(problems, tuning, entrants, title, noisy=config.noisy, **budget)

    by_rounds = compare(held_out, "held-out instances, by rounds", rounds=config.rounds)
    one_instance = compare(perturbed, "one instance, by rounds", rounds=config.rounds)
    budget = {"rounds": config.evaluations, "max_evaluations": config.evaluations}
    one_by_evaluations = compare(perturbed, "one instance, by evaluations", **budget)
    by_evaluations = compare(held_out, "held-out instances, by evaluations", **budget)
    return _report(config, notes, by_rounds, by_evaluations, one_instance, one_by_evaluations)


def _report(
    config: PrototypesConfig,
    notes: list[str],
    by_rounds: dict[str, dict[str, Run]],
    by_evaluations: dict[str, dict[str, Run]],
    one_instance: dict[str, dict[str, Run]],
    one_by_evaluations: dict[str, dict[str, Run]],
) -> dict[str, Any]:
    folder = Path(config.output_dir)
    pictures: list[tuple[str, Shade, dict[str, dict[str, Run]], dict[str, dict[str, Run]], str]] = [
        (
            "figure4.png",
            "envelope",
            one_instance,
            one_by_evaluations,
            f"One instance a modality, {config.perturbations} perturbed starts (Figure 4).",
        ),
        (
            "statistics.png",
            "quartiles",
            by_rounds,
            by_evaluations,
            f"{config.instances} held-out instances a modality.",
        ),
    ]
    plots = []
    for file, shade, *runs, title in pictures:
        save(convergence_figure(by_axis(config, *runs), title=title, shade=shade), folder / file)
        plots.append(Plot(file, f"{title} {READING} shaded: {shade}."))
    found = found_profiles(config, by_rounds, by_evaluations, TARGETS)
    title = f"Share of (modality, instance, target) solved, targets {', '.join(f'{t:g}' for t in TARGETS)}."
    save(profile_figure(found, title=title), folder / "found.png")
    plots.append(Plot("found.png", f"{title} Runs that never reach a target count as not solved."))
    drawn = {modality: config.to_draw(runs) for modality, runs in by_rounds.items()}
    noise = "with the noise of the fields" if config.noisy else "without noise"
    report = Report(
        name=folder.name,
        title="Figure 4: the prototypes",
        command=config.command,
        paragraphs=[
            f"Optimisers on held-out instances of F_train, evaluated {noise}; every gap is the true one. "
            "Gradient descent, Nesterov and Newton see exact derivatives; all hand-designed optimisers are tuned on "
            f"{config.tuning_instances} other instances of the modality, for the budget in question; "
            "the rover is not tuned.",
            *notes,
        ],
        tables=[
            overview(drawn, f"Median gap after {config.rounds} rounds, the paper's six (place)"),
            overview(by_rounds, f"Median gap after {config.rounds} rounds, all (place)"),
            share_table(by_rounds, 1e-2, f"Runs within 1e-2 after {config.rounds} rounds"),
            overview(
                by_evaluations,
                f"Median gap after {config.evaluations} evaluations (place)",
                "A gradient or a Hessian is not counted as an evaluation here; see the derivative calls below.",
            ),
            *[details(by_rounds[m], f"{m}, {config.rounds} rounds", seed=config.seed) for m in by_rounds],
            *[details(by_evaluations[m], f"{m}, {config.evaluations} evaluations") for m in by_evaluations],
        ],
        plots=plots,
        provenance=provenance(seed=config.seed, rounds=config.rounds, instances=config.instances),
        numbers={"hyper": {"rounds": hyper_of(by_rounds), "evaluations": hyper_of(by_evaluations)}},
    )
    write_report(report, folder)
    return medians(by_rounds)
