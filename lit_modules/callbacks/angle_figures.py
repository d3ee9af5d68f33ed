"""When to look at the direction predictor: figures in TensorBoard, a table in the terminal."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lit_modules.metrics import ErrorByResolution
from rover.landscapes import MODALITIES
from rover.learning.cloning import CloningTuples

_FIELD = 1  # the validation loader with many resolutions
_PER_MODALITY = 4


class AngleFigures(pl.Callback):
    """Grids with the teacher's and the predicted arrow, and the error against the resolution (*field* protocol)."""

    def __init__(self) -> None:
        self.by_resolution: ErrorByResolution | None = None
        self.examples: tuple[CloningTuples, Tensor] | None = None

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start afresh."""
        data = getattr(getattr(trainer, "datamodule", None), "config", None)
        low, high = getattr(data, "delta_range", (0.02, 1.5))
        self.by_resolution = ErrorByResolution(low, high).to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: CloningTuples,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect what the *field* protocol shows."""
        del trainer, pl_module
        if dataloader_idx != _FIELD or self.by_resolution is None:
            return
        self.by_resolution.update(outputs, batch.teacher_action, batch.modality, batch.delta)
        if batch_idx == 0:
            rows = [(batch.modality == kind).nonzero()[:_PER_MODALITY, 0] for kind in range(len(MODALITIES))]
            index = torch.cat(rows)
            self.examples = CloningTuples(*(column[index].cpu() for column in batch)), outputs[index].cpu()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if self.by_resolution is None:
            return
        errors = self.by_resolution.compute().cpu()
        edges = self.by_resolution.edges
        writer = getattr(trainer.logger, "experiment", None)
        if trainer.sanity_checking or not trainer.is_global_zero or not hasattr(writer, "add_figure"):
            return
        step = trainer.global_step
        writer.add_figure("angle_error/by_resolution", resolution_figure(errors, edges), step)
        if self.examples is not None:
            writer.add_figure("grids", grid_figure(*self.examples), step)


class AngleTable(pl.Callback):
    """The errors of the last test beside those of the quadratic fit, in the terminal."""

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print."""
        del pl_module
        if trainer.is_global_zero:
            found = {name: float(value) for name, value in trainer.callback_metrics.items()}
            Console().print(error_table(found))


def error_table(metrics: dict[str, float]) -> Table:
    """Mean (median) angle error in degrees by protocol and modality, net and fit."""
    table = Table(
        "protocol", "direction of", *MODALITIES, title="Angle error in degrees, mean (median), held-out functions"
    )
    for protocol in ("fixed", "field"):
        for who, tag in (("network", "angle_error"), ("quadratic fit", "quadratic_fit")):
            found = [(metrics[f"{tag}/{protocol}/{m}"], metrics[f"{tag}/{protocol}/{m}_median"]) for m in MODALITIES]
            table.add_row(protocol, who, *(f"{mean:.1f} ({median:.1f})" for mean, median in found))
    return table


def resolution_figure(errors: Tensor, edges: Tensor) -> Any:
    """Mean error (degrees) against resolution, a line a modality: ``errors (M, bins)``, ``edges (bins + 1,)``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    middle = (edges[1:] * edges[:-1]).sqrt()
    for name, line in zip(MODALITIES, errors, strict=True):
        axes.plot(middle.numpy(), line.numpy(), marker="o", label=name)
    axes.set(xscale="log", xlabel="resolution (delta)", ylabel="mean angle error (degrees)", ylim=(0, None))
    axes.legend()
    return figure


def grid_figure(tuples: CloningTuples, direction: Tensor) -> Any:
    """Grids as images, the teacher's arrow broad and white, the predicted one thin and red."""
    from matplotlib.figure import Figure
    from matplotlib.patheffects import Normal, Stroke

    count = len(tuples.modality)
    columns = min(count, _PER_MODALITY)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.9 * columns, 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    n = tuples.grid.shape[-1]
    middle, length = (n - 1) / 2, 0.4 * n
    for k, axes in enumerate(panels):
        axes.set_axis_off()
        if k >= count:
            continue
        axes.imshow(tuples.grid[k].numpy(), vmin=0, vmax=1, cmap="viridis")
        for action, color, width in ((tuples.teacher_action[k], "white", 4.0), (direction[k], "red", 1.2)):
            row, column = (length * action).tolist()  # the first coordinate runs down the rows
            arrow = {"arrowstyle": "->", "color": color, "linewidth": width, "shrinkA": 0, "shrinkB": 0}
            drawn = axes.annotate("", (middle + column, middle + row), (middle, middle), arrowprops=arrow)
            drawn.arrow_patch.set_path_effects([Stroke(linewidth=width + 1, foreground="black"), Normal()])
        axes.set_title(f"{MODALITIES[tuples.modality[k]]}, {tuples.delta[k]:.2g}", fontsize=7)
    return figure
