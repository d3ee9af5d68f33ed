"""Who learns the direction: behavioural cloning with negative sampling (section 3.2.2)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lit_modules.callbacks.angle_figures import AngleFigures, AngleTable
from lit_modules.metrics import AngleError
from lit_modules.precision import check_precision
from rover.landscapes import MODALITIES
from rover.learning.cloning import CloningTuples
from rover.learning.losses import cloning_loss
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic
from rover.networks import AngleNet, NetworkConfig
from rover.policy import save_angle_net

PROTOCOLS = ("fixed", "field")
"""The validation loaders, in this order."""


@dataclass
class AngleModelConfig:
    """The direction net and how it is trained.

    Attributes:
        network: sizes and switches; its `grid_size` must be the data's.
        learning_rate: at the end of the warm-up.
        warmup: share of the training in which the rate rises; it then falls to zero along a cosine.
        weight_decay: of AdamW.
        ema_decay: of the average of the weights that is validated and exported; 0 takes the weights as they are.
        clip: bound of the gradient's norm.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    learning_rate: float = 3e-3
    warmup: float = 0.05
    weight_decay: float = 1e-4
    ema_decay: float = 0.998
    clip: float = 1.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"`learning_rate` must be positive, got {self.learning_rate}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"`warmup` must be in [0, 1), got {self.warmup}")
        if not self.weight_decay >= 0:
            raise ValueError(f"`weight_decay` must not be negative, got {self.weight_decay}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must be in [0, 1), got {self.ema_decay}")
        if not self.clip > 0:
            raise ValueError(f"`clip` must be positive, got {self.clip}")


class AngleModule(pl.LightningModule):
    """Trains :class:`~rover.networks.AngleNet` on batches of :class:`~rover.learning.cloning.CloningTuples`.

    Logged: ``loss/train`` (eq 2), ``loss/<protocol>``, ``angle_error/<protocol>/<modality>`` (mean degrees on held-out
    functions; ``..._median`` too), ``angle_error/<protocol>/mean`` (over the four modalities).
    """

    def __init__(self, config: AngleModelConfig) -> None:
        super().__init__()
        self.config = config
        self.net = AngleNet(config.network)
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.errors = torch.nn.ModuleList(AngleError() for _ in PROTOCOLS)
        self.fit_errors = torch.nn.ModuleList(AngleError() for _ in PROTOCOLS)

    def forward(self, grid: Tensor) -> Tensor:
        """Unit directions ``(B, 2)`` of grids ``(B, n, n)``, by the averaged weights."""
        return self.average.direction(grid)

    def configure_callbacks(self) -> list[pl.Callback]:
        """When to look."""
        return [AngleFigures(), AngleTable()]

    def on_fit_start(self) -> None:
        """Data and network must be made for each other."""
        check_precision(self.trainer, ("32-true", "64-true", "16-mixed", "bf16-mixed"))
        data = getattr(getattr(self.trainer, "datamodule", None), "config", None)
        n = self.config.network.grid_size
        if data is not None and data.grid_size != n:
            raise ValueError(
                f"`data.grid_size` is {data.grid_size} and `model.network.grid_size` is {n}: give both the same value"
            )

    def training_step(self, batch: CloningTuples, batch_idx: int) -> Tensor:
        """Eq 2 on one batch."""
        del batch_idx
        loss = cloning_loss(self.net(batch.grid), batch.teacher_action, batch.negative_action)
        self.log("loss/train", loss, prog_bar=True)
        return loss

    @torch.no_grad()
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let the averaged weights follow."""
        with torch.enable_grad():
            super().optimizer_step(*args, **kwargs)
        self.updates += 1
        # Early on, the average is over what there is: t / (t + 10) of it stays.
        decay = min(self.config.ema_decay, float(self.updates) / (float(self.updates) + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - decay)
        for kept, current in zip(self.average.buffers(), self.net.buffers(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(current, 1 - decay)
            else:
                kept.copy_(current)

    def on_validation_epoch_start(self) -> None:
        """The averaged net is never in training mode; its batch statistics are made the same on all ranks."""
        self.average.eval()
        if self.trainer.world_size > 1:
            for buffer in self.average.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.trainer.strategy.reduce(buffer.clone(), reduce_op="mean"))

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: CloningTuples, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Errors on held-out functions."""
        del batch_idx
        output = self.average(batch.grid)
        direction = torch.nn.functional.normalize(output, dim=-1)
        self.errors[dataloader_idx].update(direction, batch.teacher_action, batch.modality)
        loss = cloning_loss(output, batch.teacher_action, batch.negative_action)
        name = f"loss/{PROTOCOLS[dataloader_idx]}"
        self.log(name, loss, add_dataloader_idx=False, batch_size=len(batch.grid), sync_dist=True)
        return direction

    def on_validation_epoch_end(self) -> None:
        """Log the errors."""
        for protocol, metric in zip(PROTOCOLS, self.errors, strict=True):
            found = metric.compute()
            metric.reset()
            for name, value in found.items():
                self.log(f"angle_error/{protocol}/{name}", value, sync_dist=True)
            mean = torch.stack([found[name] for name in MODALITIES]).nanmean()
            self.log(f"angle_error/{protocol}/mean", mean, sync_dist=True)
            # Once more under a name that is short enough for the progress bar.
            self.log(f"{protocol}°", mean, prog_bar=True, logger=False, sync_dist=True)

    def test_step(self, batch: CloningTuples, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """As the validation, with the quadratic fit on the same grids as a yardstick."""
        yardstick = fit_direction(fit_quadratic(batch.grid.double())).float()
        self.fit_errors[dataloader_idx].update(yardstick, batch.teacher_action, batch.modality)
        return self.validation_step(batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Log the errors of the net and of the fit."""
        self.on_validation_epoch_end()
        for protocol, metric in zip(PROTOCOLS, self.fit_errors, strict=True):
            found = metric.compute()
            metric.reset()
            for name, value in found.items():
                self.log(f"quadratic_fit/{protocol}/{name}", value, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; the rate warms up, then falls along a cosine to zero at the last step.

        Raises:
            ValueError: if the training has no end.
        """
        total = self.trainer.estimated_stepping_batches
        if not 0 < total < math.inf:  # Lightning says -1 where neither batches nor steps are limited
            raise ValueError("the training has no end: set `trainer.limit_train_batches` or `trainer.max_steps`")
        optimizer = torch.optim.AdamW(
            self.net.parameters(), self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        warm = max(1, round(self.config.warmup * total))

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Clip at the model's own bound unless the Trainer has one."""
        given = kwargs.get("gradient_clip_val", args[0] if args else None)
        self.clip_gradients(optimizer, gradient_clip_val=given or self.config.clip, gradient_clip_algorithm="norm")

    def export(self, path: Path, *, name: str, provenance: Mapping[str, Any]) -> None:
        """Write the averaged direction net as safetensors, see :func:`rover.policy.save_angle_net`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_angle_net(path, self.average, {"name": name, **provenance})
