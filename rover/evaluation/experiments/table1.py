"""Table 1: five direction nets, one a modality and one on all of them, tested on every modality (section 4.1).

Two protocols, see :mod:`rover.learning.cloning`: *fixed* (one resolution, noise-free: the paper's) and *field*
(log-uniform resolutions and noise: what a rover meets). Beside the nets stands the direction of a least-squares
quadratic fit to the same grids. Training is not this package's business: the function that trains is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rover.evaluation.cache import digest
from rover.evaluation.report import Report, Table, markdown_table, provenance, write_report
from rover.landscapes import MODALITIES
from rover.learning.cloning import generate_tuples
from rover.learning.losses import cloning_loss
from rover.networks import AngleNet, NetworkConfig

Train = Callable[[str, Sequence[str], Path], dict[str, float]]
"""``(YAML, overrides, folder) -> logged figures``; a training that is finished in the folder is not repeated."""

PROTOCOLS = {
    "fixed": "one resolution (0.6), no noise",
    "field": "log-uniform resolutions, noise",
}
PAPER = {
    "quadratic": (1.2, 89.2, 43.1, 34.8),
    "valley": (83.5, 4.9, 94.1, 86.9),
    "saddle": (44.7, 85.8, 3.8, 57.2),
    "plateau": (29.4, 94.3, 53.9, 1.9),
    "all": (3.1, 6.4, 5.1, 3.8),
}
"""The paper's Table 1 in degrees, columns as in :data:`MODALITIES`."""

_SMOKE = (
    "trainer.limit_train_batches=40",
    "trainer.val_check_interval=40",
    "trainer.log_every_n_steps=20",
    "data.chunk_functions=256",
    "data.num_workers=0",
    "data.validation_functions=40",
    "data.test_functions=200",
)


@dataclass
class Table1Config:
    """Settings of Table 1.

    Attributes:
        seed: of all five trainings; the functions that are tested on do not depend on it.
        output_dir: where the summary goes.
        nets_dir: where the trained nets are kept, each in a folder of its own, see :data:`Train`.
        training: the YAML with which all five nets are trained.
        overrides: ``key=value`` words on top of it.
        nets: rows of the table: names of modalities, or ``all``.
        smoke: trainings of a few batches, written to ``<output_dir>/smoke``.
    """

    seed: int = 0
    output_dir: str = "results/table1"
    nets_dir: str = "results/cache/nets"
    training: str = "angle.yaml"
    overrides: list[str] = field(default_factory=list)
    nets: list[str] = field(default_factory=lambda: [*MODALITIES, "all"])
    smoke: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.seed < 0:
            raise ValueError(f"`seed` must not be negative, got {self.seed}")
        if not self.nets or (unknown := [name for name in self.nets if name not in PAPER]):
            raise ValueError(f"`nets` must be among {list(PAPER)}, got {unknown if self.nets else []}")
        if self.smoke and not self.output_dir.endswith("/smoke"):
            self.output_dir = f"{self.output_dir}/smoke"


def run(config: Table1Config, train: Train) -> dict[str, dict[str, list[float]]]:
    """Train what is not trained yet, print the tables and write them into ``output_dir``.

    Args:
        config: what to train.
        train: how to, see :data:`Train`.

    Returns:
        protocol -> row -> mean errors in degrees, in the order of :data:`MODALITIES`.
    """
    figures = {}
    folder = Path(config.nets_dir) / fingerprint()
    for name in config.nets:
        kinds = ", ".join(MODALITIES if name == "all" else (name,))
        words = [f"seed={config.seed}", f"data.modalities=[{kinds}]", *config.overrides, *_SMOKE * config.smoke]
        figures[name] = train(config.training, words, folder)
    return _report(config, figures)


def fingerprint() -> str:
    """Sixteen digits that change with what nets learn from, their form and their loss, and not with how it is written."""
    generator = torch.Generator().manual_seed(0)
    tuples = generate_tuples(16, generator, grid_size=5, protocol="mixed", num_steps=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output = AngleNet(NetworkConfig(grid_size=5))(tuples.grid).detach()
    loss = cloning_loss(output, tuples.teacher_action, tuples.negative_action)
    parts = [tuples.grid, tuples.teacher_action, output, loss]
    return digest([[round(value, 3) for value in part.flatten().tolist()] for part in parts])


def errors(figures: dict[str, dict[str, float]], protocol: str, suffix: str = "") -> dict[str, list[float]]:
    """Row -> errors in degrees; the quadratic fit saw the same grids as every net.

    Args:
        figures: row -> logged figures.
        protocol: key of :data:`PROTOCOLS`.
        suffix: ``_median`` for medians.
    """
    rows = {
        name: [found[f"angle_error/{protocol}/{kind}{suffix}"] for kind in MODALITIES]
        for name, found in figures.items()
    }
    one = next(iter(figures.values()))
    return rows | {"quadratic fit": [one[f"quadratic_fit/{protocol}/{kind}{suffix}"] for kind in MODALITIES]}


def _report(config: Table1Config, figures: dict[str, dict[str, float]]) -> dict[str, dict[str, list[float]]]:
    means = {protocol: errors(figures, protocol) for protocol in PROTOCOLS}
    tables = []
    for protocol, meaning in PROTOCOLS.items():
        medians = errors(figures, protocol, "_median")
        rows: list[list[Any]] = [
            [name, *(f"{a:.1f} ({b:.1f})" for a, b in zip(line, medians[name], strict=True))]
            for name, line in means[protocol].items()
        ]
        if protocol == "fixed":
            rows += [[f"paper: {name}", *PAPER[name]] for name in config.nets]
        title = f"*{protocol}*: {meaning}"
        tables.append(Table(title, ["trained on", *MODALITIES], rows, "Mean (median) error in degrees."))
    report = Report(
        name=Path(config.output_dir).name,
        title="Table 1: the direction",
        command="python evaluate.py --config table1.yaml" + (" smoke=true" if config.smoke else ""),
        paragraphs=[
            "Angle between the net's direction and the better teacher's, on functions that no net was trained on; "
            "rows are what a net was trained on, columns what it was tested on. "
            "The quadratic fit is the direction of a least-squares quadratic on the same grids: Newton's where its "
            "Hessian is positive definite, else the gradient's. It is exact on noise-free quadratics.",
        ],
        tables=tables,
        provenance=provenance(seed=config.seed, training=config.training, overrides=config.overrides),
        numbers={"mean": means, "figures": figures},
    )
    write_report(report, config.output_dir)
    for table in tables:
        print(f"{table.title}; {table.note}\n{markdown_table(table)}\n")
    return means
