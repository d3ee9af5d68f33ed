"""How hard the campaign tries: a short one in every run of the tests, the full one with ``make faults``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import settings

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
"""(fault, times tried, lost), printed at the end of the tests."""


def times(short: int, full: int) -> int:
    """How often to try."""
    return full if FULL else short


def examples(short: int = 60) -> Any:
    """Hypothesis settings: 10,000 examples in the full campaign, other ones every time."""
    return settings(max_examples=times(short, 10_000), derandomize=not FULL)


def note(fault: str, tried: int, lost: int = 0) -> None:
    """For the table in ``docs/reliability.md``."""
    LEDGER.append((fault, tried, lost))


def start(task: str, *words: str) -> subprocess.Popen[str]:
    """``train.py`` on a small scale, in a process group of its own."""
    command = [sys.executable, str(ROOT / "train.py"), "--config", f"{task}.yaml", *WORDS[task], *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
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
