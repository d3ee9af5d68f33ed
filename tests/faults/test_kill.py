"""kill -9 at random moments of the trainings, and signals that ask politely: nothing that was saved is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch

from rover.policy import load_angle_net
from tests.direction.test_training import assert_same
from tests.faults.campaign import FULL, TWO, finish, kill, make_direction_net, note, start, times

KINDS = ["angle", "angle-two", "ddpg", "ddpg-two"]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_a_folder_with_a_direction_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_direction_net(tmp_path)


def last(folder: str | Path) -> dict[str, Any] | None:
    """The newest checkpoint; reading it is the test that it is whole."""
    found = sorted(Path(folder).glob("version_*/checkpoints/last.ckpt"))
    return torch.load(found[-1], weights_only=True) if found else None


def progress(checkpoint: dict[str, Any] | None) -> int:
    """Batches so far: the navigator's first ones fill the replay without a step of an optimiser."""
    if checkpoint is None:
        return 0
    return int(checkpoint["ddpg"]["iterations"] if "ddpg" in checkpoint else checkpoint["global_step"])


def wait_for(process: subprocess.Popen[str], folder: str | Path, pattern: str) -> None:
    """Until the run has written such a file, or has ended."""
    while process.poll() is None and not list(Path(folder).glob(f"version_*/{pattern}")):
        time.sleep(0.02)


class Whole(NamedTuple):
    """A training that nobody interrupts."""

    checkpoint: dict[str, Any] | None
    begin: float  # seconds until the first checkpoint
    rest: float  # seconds from there to the end


def words_of(kind: str) -> tuple[str, list[str]]:
    task, *two = kind.split("-")
    return task, ["checkpoint.every_n_batches=1", *(TWO if two else [])]  # nearly always busy with writing


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    kept: dict[str, Whole] = {}

    def get(kind: str) -> Whole:
        if kind not in kept:
            folder = tmp_path_factory.mktemp("whole")
            make_direction_net(folder)
            task, words = words_of(kind)
            times_seen = [time.monotonic()]
            process = start(task, *words, "log_dir=runs", folder=folder)
            wait_for(process, folder / "runs", "checkpoints/last.ckpt")
            times_seen.append(time.monotonic())
            finish(process)
            times_seen.append(time.monotonic())
            begin, middle, end = times_seen
            kept[kind] = Whole(last(folder / "runs"), middle - begin, end - middle)
        return kept[kind]

    return get


@pytest.mark.parametrize("k", range(times(1, 20)))
@pytest.mark.parametrize("kind", KINDS if FULL else ["angle-two"])
def test_kill_9_at_a_random_moment(kind: str, k: int, whole: Callable[[str], Whole]) -> None:
    """Interrupted and resumed, a training ends with the checkpoint of one that never was."""
    task, words = words_of(kind)
    expected, luck = whole(kind), random.Random(f"{kind} {k}")
    for attempt in range(20):  # where the machine is suddenly faster, the training ends before it is killed
        folder = f"run_{attempt}"
        process = start(task, *words, f"log_dir={folder}")
        if k % 4 == 3:  # while it starts
            moment = luck.uniform(0.2, 1.2) * expected.begin
        else:  # while it trains, tests or exports
            wait_for(process, folder, "checkpoints/last.ckpt")
            moment = luck.uniform(0, 0.95) * expected.rest
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            break
        finish(process)
    else:
        pytest.fail("it never ran long enough to be killed")
    kill(process)
    reached = progress(last(folder))
    export = Path("net.safetensors")
    if task == "angle" and export.exists():
        load_angle_net(export)  # half a file would be an error
    if last(folder) is not None:
        finish(start(task, *words, f"log_dir={folder}", "resume=last"))
        assert len(list(Path(folder).glob("version_*"))) == 1
    else:
        finish(start(task, *words, f"log_dir={folder}"))
    assert progress(last(folder)) >= reached, "a checkpoint was lost"
    assert_same(expected.checkpoint, last(folder))
    when = "before the first checkpoint" if reached == 0 else "after it"
    note(f"kill -9 at a random moment of {kind}, {when}, then resume=last", 1)


@pytest.mark.parametrize("k", range(times(1, 10)))
@pytest.mark.parametrize("task", ["angle", "ddpg"] if FULL else ["ddpg"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_before_they_leave(task: str, signum: int, code: int, k: int) -> None:
    """Every other time the whole group is told, as a terminal does, with a process that makes data in it."""
    words = ["checkpoint.every_n_batches=1000", "trainer.limit_train_batches=3000", "trainer.val_check_interval=1500"]
    luck, group = random.Random(f"{task} {signum} {k}"), k % 2 == 0
    process = start(task, *words, f"data.num_workers={int(group)}", "log_dir=run")
    wait_for(process, "run", "events*")
    time.sleep(luck.uniform(0, 4.0))
    (os.killpg if group else os.kill)(process.pid, signum)
    err = finish(process, code)
    assert err.strip().splitlines()[-1].startswith(f"stopped by {signal.Signals(signum).name}; "), err
    if "resume=last" in err:
        assert progress(last("run")) > 0
    else:
        assert last("run") is None, "nothing was trained, nothing was saved"
    note(f"{signal.Signals(signum).name} to {task}.yaml" + (" and its data process" if group else ""), 1)


@pytest.mark.parametrize("k", range(times(1, 5)))
def test_a_dying_data_process_ends_the_training_and_not_its_checkpoint(k: int) -> None:
    words = ["data.num_workers=1", "trainer.limit_train_batches=20000", "trainer.val_check_interval=10000"]
    process = start("angle", *words, "checkpoint.every_n_batches=5", "log_dir=run")
    wait_for(process, "run", "checkpoints/last.ckpt")
    time.sleep(0.1 * k)
    helpers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert len(helpers) == 1, process.stderr and process.communicate(timeout=60)
    helpers[0].kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode not in (0, None) and "worker" in err
    assert progress(last("run")) >= 5
    note("a data process of angle.yaml dies", 1)
