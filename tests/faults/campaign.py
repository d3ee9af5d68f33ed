"""How hard the campaign tries: a short one in every run of the tests, the full one with ``make faults``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hypothesis import settings

from rover.networks import AngleNet, NetworkConfig
from rover.policy import save_angle_net
from tests.ddpg.test_training import SMALL as DDPG
from tests.direction.test_training import GRID5
from tests.direction.test_training import SMALL as ANGLE

FULL = os.environ.get("ROVER_FAULTS") == "full"
ROOT = Path(__file__).resolve().parent.parent.parent
TWO = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
WORDS = {
    "angle": [*ANGLE, *GRID5, "trainer.limit_train_batches=120", "trainer.val_check_interval=40"],
    "ddpg": [*DDPG, "trainer.limit_train_batches=60", "trainer.val_check_interval=30"],
}

LEDGER: list[tuple[str, int, int]] = []
"""(fault, times tried, lost) of the test that is running; ``conftest.py`` takes them away and adds them up."""


def times(short: int, full: int) -> int:
    """How often to try."""
    return full if FULL else short


PARTS = times(1, 10)
"""Generated tests are cut into so many, so that several processes can share them."""


def examples(short: int = 60) -> Any:
    """Hypothesis settings: 10,000 examples over all parts of the full campaign, other ones every time."""
    return settings(max_examples=times(short, 10_000) // PARTS, derandomize=not FULL, database=None)


def note(fault: str, tried: int, lost: int = 0) -> None:
    """For the table in ``docs/reliability.md``."""
    LEDGER.append((fault, tried, lost))


def start(task: str, *words: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """``train.py`` on a small scale, in a process group of its own."""
    command = [sys.executable, str(ROOT / "train.py"), "--config", f"{task}.yaml", *WORDS[task], *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def make_direction_net(folder: Path) -> None:
    """What ``ddpg.yaml`` wants to find, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_angle_net(
            folder / "angle.safetensors", AngleNet(NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8))
        )


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the process and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for the end; returns what was said on stderr."""
    _, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    return err
