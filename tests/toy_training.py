"""The smallest training that exercises train.py: a line fitted by SGD on noise drawn from its own generator.

Run as a script it is train.py with the task ``toy`` registered, which is what DDP and signals need: the launcher
executes the same file again, and a signal needs a process to hit.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from conf import TRAININGS, Experiment, Training  # noqa: E402

YAML = """\
# A complete toy run.
task: toy
seed: 3
data: {batch_size: 4, batches: 6}
model: {learning_rate: 0.05}
checkpoint: {monitor: val/loss, every_n_batches: 4}
trainer: {max_epochs: 3, accelerator: cpu, devices: 1, enable_progress_bar: false, enable_model_summary: false, log_every_n_steps: 1}
"""  # noqa: E501


@dataclass
class ToyDataConfig:
    """``cache`` names a file that must hold the word `data`."""

    batch_size: int = 4
    batches: int = 6
    noise: float = 0.1
    mode: Literal["stream", "cached"] = "stream"
    window: tuple[float, float] = (0.02, 0.5)
    shuffle: bool = False
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    cache: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {self.batch_size}")
        if not self.window[0] < self.window[1]:
            raise ValueError(f"`window` must increase, got {self.window}")


@dataclass
class ToyModelConfig:
    learning_rate: float = 0.1
    pause: float = 0.0  # seconds a batch, so that a signal can find it at work
    mark: str | None = None  # file that says the training is under way
    width: int = 1


class ToyData(pl.LightningDataModule):
    def __init__(self, config: ToyDataConfig, seed: int) -> None:
        super().__init__()
        self.config, self.seed = config, seed

    def prepare_data(self) -> None:
        if self.config.cache and Path(self.config.cache).read_text() != "data":
            raise ValueError(f"cache {self.config.cache} is truncated; delete it to write it again")

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(list(range(self.config.batch_size * self.config.batches)), batch_size=self.config.batch_size)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(list(range(8)), batch_size=4)  # type: ignore[arg-type]


class ToyModule(pl.LightningModule):
    """Learns y = 2x from inputs that depend on its own batch counter alone, so that a resumed run can be compared."""

    def __init__(self, config: ToyModelConfig) -> None:
        super().__init__()
        self.config = config
        self.line = torch.nn.Linear(config.width, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def loss(self, number: int, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(count, self.config.width, generator=generator)
        return torch.nn.functional.mse_loss(self.line(x), 2 * x.sum(-1, keepdim=True))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.config.mark:
            with Path(self.config.mark).open("a") as file:
                file.write(f"{int(self.seen)}\n")
        time.sleep(self.config.pause)
        loss = self.loss(1000 * self.global_rank + int(self.seen), len(batch))
        self.seen += 1
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.loss(-1, len(batch)), sync_dist=True, batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.config.learning_rate, momentum=0.9)

    def export(self, path: Path, *, name: str, provenance: dict[str, Any]) -> None:
        path.write_text(f"{name} {provenance['seed']} {self.line.weight.sum().item():.3f}")


@dataclass
class ToyExperimentConfig:
    seed: int = 0
    output_dir: str = "results/toy"
    weights: str | None = None


def run_experiment(config: ToyExperimentConfig) -> dict[str, float]:
    (Path(config.output_dir) / "figures.txt").write_text("1.0")
    return {"figure": 1.0}


def register(module: str) -> None:
    """Add the toy task, with import paths into ``module`` (the name under which this file is imported)."""
    TRAININGS["toy"] = Training(
        data=f"{module}:ToyDataConfig",
        model=f"{module}:ToyModelConfig",
        datamodule=f"{module}:ToyData",
        module=f"{module}:ToyModule",
    )


TOY_EXPERIMENT = Experiment(config="tests.toy_training:ToyExperimentConfig", run="tests.toy_training:run_experiment")

if __name__ == "__main__":
    import train

    register("__main__")
    sys.exit(train.main())
