"""kill -9 at random moments of the trainings, and signals that ask politely: nothing that was saved is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.direction.test_training import assert_same
from tests.faults.campaign import FULL, TWO, finish, kill, note, start, times

ALL = [("angle", 1), ("angle", 2), ("ddpg", 1), ("ddpg", 2)]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_a_folder_with_a_direction_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rover.networks import AngleNet, NetworkConfig
    from rover.policy import save_angle_net

    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_angle_net("angle.safetensors", AngleNet(NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8)))


def last(folder: str) -> dict[str, Any] | None:
    """The newest checkpoint; reading it is the test that it is whole."""
    found = sorted(Path(folder).glob("version_*/checkpoints/last.ckpt"))
    return torch.load(found[-1], weights_only=True) if found else None


def progress(checkpoint: dict[str, Any] | None) -> int:
    return 0 if checkpoint is None else int(checkpoint["global_step"])


@pytest.mark.parametrize(("task", "devices"), ALL if FULL else [("angle", 2)])
def test_kill_9_at_random_moments(task: str, devices: int) -> None:
    """Interrupted again and again, a training ends with the checkpoint of one that never was."""
    words = ["checkpoint.every_n_batches=1", *(TWO if devices > 1 else [])]  # nearly always busy with writing
    begin = time.monotonic()
    finish(start(task, *words, "log_dir=whole"))
    span = time.monotonic() - begin
    luck, kills, runs = random.Random(f"{task} {devices}"), 0, 0
    while kills < times(1, 20):
        runs += 1
        folder, reached, ended = f"parts_{runs}", 0, False
        while not ended:
            process = start(task, *words, f"log_dir={folder}", *(["resume=last"] if last(folder) else []))
            try:
                process.wait(luck.uniform(0.4, 1.0) * span if kills < times(1, 20) else 600)
            except subprocess.TimeoutExpired:
                kill(process)
                kills += 1
                now = progress(last(folder))
                assert now >= reached, "a checkpoint was lost"
                reached = now
            else:
                finish(process)
                ended = True
        assert_same(last("whole"), last(folder))
    note(f"kill -9 at a random moment of {task}.yaml, {devices} process(es), then resume=last", kills)


@pytest.mark.parametrize("task", ["angle", "ddpg"] if FULL else ["ddpg"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_before_they_leave(task: str, signum: int, code: int) -> None:
    words = ["checkpoint.every_n_batches=1000", "trainer.limit_train_batches=3000", "trainer.val_check_interval=1500"]
    luck, tried = random.Random(f"{task} {signum}"), times(1, 10)
    for k in range(tried):
        process = start(task, *words, f"log_dir=run_{k}")
        while process.poll() is None and not list(Path(f"run_{k}").glob("version_0/events*")):
            time.sleep(0.05)
        time.sleep(luck.uniform(1.0, 3.0))
        process.send_signal(signum)
        err = finish(process, code)
        if "resume=last" in err:
            assert progress(last(f"run_{k}")) > 0
        else:
            assert last(f"run_{k}") is None, "nothing was trained, nothing was saved"
    note(f"signal {int(signum)} to {task}.yaml", tried)


def test_a_dying_data_process_ends_the_training_and_not_its_checkpoint() -> None:
    words = ["data.num_workers=1", "trainer.limit_train_batches=20000", "trainer.val_check_interval=10000"]
    tried = times(1, 5)
    for k in range(tried):
        process = start("angle", *words, "checkpoint.every_n_batches=5", f"log_dir=run_{k}")
        while process.poll() is None and last(f"run_{k}") is None:
            time.sleep(0.1)
        children = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        assert children, "the data process"
        children[0].kill()
        _, err = process.communicate(timeout=120)
        assert process.returncode not in (0, None) and "worker" in err
        assert progress(last(f"run_{k}")) >= 5
    note("a data process of angle.yaml dies", tried)
