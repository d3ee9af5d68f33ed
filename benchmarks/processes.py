"""From one to two processes: how much faster the navigator's training gets under DDP on the CPU.

This row needs two idle cores: it is measured in wall-clock time.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import row  # noqa: E402
from datamodules.navigation import NavigationDataConfig, NavigationDataModule  # noqa: E402
from lit_modules.ddpg import DDPGModelConfig, DDPGModule  # noqa: E402
from rover.networks import AngleNet, NetworkConfig  # noqa: E402

ITERATIONS, SKIPPED = 14, 4


def rows() -> list[dict[str, Any]]:
    """Environment steps a second of two processes against one, each with one thread and 64 rovers."""
    one, two = (_rate(devices) for devices in (1, 2))
    return [row("environment steps/s of the training, two DDP processes against one (wall clock)", two, one, ">= 1.5")]


def _rate(devices: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "rate"
        command = [sys.executable, str(Path(__file__).resolve()), str(devices), str(note)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        return float(note.read_text())


class _Clock(pl.Callback):
    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == SKIPPED:
            self.begin = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        self.end = time.perf_counter()


def main(devices: int, note: Path) -> None:
    """Train for a moment and write environment steps a second, all processes together."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    network = NetworkConfig(grid_size=15, channels=(8, 16), hidden_size=64)
    module = DDPGModule(DDPGModelConfig(network=network, warmup_episodes=64), AngleNet(network))
    module.configure_callbacks = lambda: []  # type: ignore[method-assign]
    clock, data = _Clock(), NavigationDataConfig()
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=1,
        limit_train_batches=ITERATIONS, limit_val_batches=0, num_sanity_val_steps=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(module, NavigationDataModule(data, seed=0))
    steps = (ITERATIONS - SKIPPED) * devices * data.batch_size * module.config.navigation.horizon
    if trainer.is_global_zero:
        note.write_text(str(steps / (clock.end - clock.begin)))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
