"""Run by test_distributed.py: a short training of the navigator in two processes, each of which writes what it saw.

``python two_processes.py FOLDER STEPS``: ``FOLDER/rank_<r>.pt`` holds the weights, the counters and the replay of a rank.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from datamodules.navigation import NavigationDataConfig, NavigationDataModule  # noqa: E402
from lit_modules.ddpg import DDPGModelConfig, DDPGModule  # noqa: E402
from rover.navigation.environment import NavigationConfig  # noqa: E402
from rover.networks import AngleNet, NetworkConfig  # noqa: E402

NETWORK = NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8)
DATA = NavigationDataConfig(batch_size=8, validation_functions=8, test_functions=8)
MODEL = DDPGModelConfig(
    network=NETWORK,
    navigation=NavigationConfig(horizon=5),
    memory_size=6,
    replay_capacity=48,
    warmup_episodes=16,
    episodes_per_update=8,
    updates_per_iteration=2,
)


def module_of(model: DDPGModelConfig = MODEL, seed: int = 0) -> DDPGModule:
    torch.manual_seed(0)
    return DDPGModule(model, AngleNet(NETWORK), seed=seed)


def trainer_of(folder: Path, steps: int, **flags: Any) -> pl.Trainer:
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0, **flags}
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=steps,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def main(folder: Path, steps: int) -> None:
    torch.set_num_threads(1)
    module, data = module_of(), NavigationDataModule(DATA, seed=3)
    run = trainer_of(folder, steps, devices=2, strategy="ddp")
    run.fit(module, data)
    run.save_checkpoint(folder / "two.ckpt")
    assert module.replay is not None
    seen = {
        "state": module.state_dict(),
        "replay": module.replay.state_dict(),
        "optimizers": [optimizer.state_dict()["state"] for optimizer in run.optimizers],
        "counters": [module.iterations, module.updates, module.environment_steps],
    }
    torch.save(seen, folder / f"rank_{run.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
