"""What each part of the navigator's training earns: one training a switch, all else alike (section 3.2.3).

Every variant is a training YAML with overrides; all get the same common overrides (the length, above all) and the same
seeds. Scores are of held-out prototypes by the best checkpoint, whatever reward the variant was trained on: eq 7's
return and the gap ratio. Training is not this package's business: the function that trains is an argument, and a
training that is finished is not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rover.evaluation.experiments.table1 import Train
from rover.evaluation.report import Report, Table, markdown_table, provenance, write_report
from rover.landscapes import MODALITIES

_SMOKE = (
    "trainer.limit_train_batches=4",
    "trainer.val_check_interval=4",
    "data.batch_size=8",
    "data.validation_functions=8",
    "data.test_functions=8",
    "model.navigation.horizon=4",
    "model.warmup_episodes=8",
    "model.episodes_per_update=4",
    "model.updates_per_iteration=1",
)


@dataclass
class Variant:
    """A row of the table.

    Attributes:
        overrides: ``key=value`` words.
        training: another YAML than the experiment's.
    """

    overrides: list[str] = field(default_factory=list)
    training: str | None = None


@dataclass
class AblationConfig:
    """Settings.

    Attributes:
        seeds: one training each, of every variant; the medians over them are reported.
        output_dir: where the summary goes.
        nets_dir: where finished trainings are kept, see :data:`rover.evaluation.experiments.table1.Train`.
        training: the YAML that the variants change.
        common: ``key=value`` words for all trainings.
        variants: name -> what it changes, in the order of the table; the first is what the others are compared with.
        only: names of the variants to train now; empty for all. Finished ones are in the table all the same.
        smoke: trainings of a few batches, written to ``<output_dir>/smoke``.
    """

    seeds: list[int] = field(default_factory=lambda: [0])
    output_dir: str = "results/ablation"
    nets_dir: str = "results/cache/nets"
    training: str = "ddpg.yaml"
    common: list[str] = field(default_factory=list)
    variants: dict[str, Variant] = field(default_factory=lambda: {"as shipped": Variant()})
    only: list[str] = field(default_factory=list)
    smoke: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"`seeds` must be a non-empty list of non-negative numbers, got {self.seeds}")
        if not self.variants:
            raise ValueError("`variants` must not be empty")
        if unknown := [name for name in self.only if name not in self.variants]:
            raise ValueError(f"`only` must be among {list(self.variants)}, got {unknown}")
        if self.smoke and not self.output_dir.endswith("/smoke"):
            self.output_dir = f"{self.output_dir}/smoke"


def run(config: AblationConfig, train: Train) -> dict[str, list[dict[str, float]]]:
    """Train what is not trained yet, and write the table after every training, so that a stop loses nothing.

    Returns:
        variant -> the logged figures of each seed.
    """
    figures: dict[str, list[dict[str, float]]] = {}
    for seed in config.seeds:
        for name, variant in config.variants.items():
            if config.only and name not in config.only:
                continue
            words = [f"seed={seed}", *config.common, *variant.overrides, *_SMOKE * config.smoke]
            found = train(variant.training or config.training, words, Path(config.nets_dir))
            figures.setdefault(name, []).append(found)
            table = _write(config, figures)
    print(markdown_table(table))
    return figures


def _write(config: AblationConfig, figures: dict[str, list[dict[str, float]]]) -> Table:
    rows: list[list[Any]] = []
    for name, variant in config.variants.items():
        if name not in figures:
            continue

        def over_seeds(figure: str, name: str = name) -> float:
            return median(found[figure] for found in figures[name])

        changed = " ".join([*([variant.training] if variant.training else []), *variant.overrides])
        ratios = [
            f"{over_seeds(f'test/log_gap/{kind}'):.1f} / {over_seeds(f'test/log_gap_p90/{kind}'):.1f}"
            for kind in MODALITIES
        ]
        solved = over_seeds("test/solved")
        rows.append([name, f"`{changed}`" if changed else "", over_seeds("test/return"), *ratios, solved])
    columns = ["variant", "changes", "return (7)", *(f"{kind}: median / p90" for kind in MODALITIES), "solved"]
    note = (
        f"Medians over seeds {', '.join(map(str, config.seeds))}. Gap ratios are log10 (f_T - f*) / (f_0 - f*), "
        "noise-free; the return is eq 7's with noise, whatever the reward of the training; solved is the share of targets "
        "on the tuning half of the development suite, after 60 rounds without bounds or restarts."
    )
    table = Table("Switch by switch", columns, rows, note)
    report = Report(
        name=Path(config.output_dir).name,
        title="Ablation of the navigator",
        command="python evaluate.py --config ablation.yaml" + (" smoke=true" if config.smoke else ""),
        paragraphs=[
            f"Every row is a training of {config.training} with one change (the last: ddpg_paper.yaml), shortened by "
            f"`{' '.join(config.common)}`. The first row has none."
        ],
        tables=[table],
        provenance=provenance(seeds=config.seeds, training=config.training, common=config.common),
        numbers={"figures": figures},
    )
    write_report(report, config.output_dir)
    return table
