"""Run by test_distributed.py: a short training of the direction net in two processes, each of which writes what it saw.

``python two_processes.py FOLDER STEPS``: ``FOLDER/rank_<r>.pt`` holds the batches, the weights and the figures of a rank.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from datamodules.cloning import AngleDataConfig, CloningDataModule  # noqa: E402
from lit_modules.angle import AngleModelConfig, AngleModule  # noqa: E402
from rover.networks import NetworkConfig  # noqa: E402

DATA = AngleDataConfig(
    grid_size=5, batch_size=32, chunk_functions=40, num_workers=0, validation_functions=61, test_functions=1
)
MODEL = AngleModelConfig(NetworkConfig(grid_size=5, channels=(4, 8), hidden_size=16))


class Witness(pl.Callback):
    """Keeps the first grid of every batch."""

    def __init__(self) -> None:
        self.grids: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.grids.append(batch.grid[0].clone())


def trainer(folder: Path, steps: int, **flags: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=steps,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **flags,
    )


def main(folder: Path, steps: int) -> None:
    pl.seed_everything(0, verbose=False)
    torch.set_num_threads(1)
    module, data, witness = AngleModule(MODEL), CloningDataModule(DATA, seed=3), Witness()
    run = trainer(folder, steps, devices=2, strategy="ddp", callbacks=[witness])
    run.fit(module, data)
    found = {name: float(value) for name, value in run.callback_metrics.items() if not name.startswith("loss/train")}
    seen = {"grids": torch.stack(witness.grids), "state": module.state_dict(), "figures": found}
    torch.save(seen, folder / f"rank_{run.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
