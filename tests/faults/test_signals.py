"""Signals outside the batches: while a training starts, and a second Ctrl-C that does not want to wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import toy_training
from tests.faults.campaign import note

pytestmark = pytest.mark.slow


def start_toy(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "toy.yaml").write_text(toy_training.YAML)
    command = [sys.executable, str(Path(toy_training.__file__)), "--config", "toy.yaml", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=dict(os.environ))


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.02)


def test_a_second_ctrl_c_does_not_wait_for_the_batch(tmp_path: Path) -> None:
    process = start_toy(tmp_path, "model.pause=120", "model.mark=mark")
    wait_for(process, tmp_path / "mark")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "stopped by SIGINT; nothing was saved"), out + err
    note("a second Ctrl-C", 1)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_after_the_last_batch_names_the_checkpoint(signum: int, code: int, tmp_path: Path) -> None:
    """The test, the export: the handlers of the batches are gone, and Lightning's exit code would be 1."""
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/export")  # opening it for writing waits for a reader
    process = start_toy(tmp_path, "export.path=pipe/export")
    wait_for(process, tmp_path / "runs/toy/version_0/checkpoints/last.ckpt")
    time.sleep(4)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "saved runs/toy/version_0/checkpoints/last.ckpt" in err, out + err
    note(f"{signal.Signals(signum).name} after the last batch", 1)
