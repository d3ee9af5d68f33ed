"""A disk that is full or read-only: one line, exit code 2, and the last good checkpoint as it was."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import rover
import train
from conf import TRAININGS
from lit_modules.callbacks import checkpointing
from tests import toy_training
from tests.faults.campaign import note, times
from tests.optimize.conftest import make_policy

pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint", "ignore:.*LeafSpec")
LAST = Path("runs/toy/version_0/checkpoints/last.ckpt")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TRAININGS, "toy", TRAININGS.get("toy"))
    toy_training.register("tests.toy_training")
    Path("toy.yaml").write_text(toy_training.YAML)


def run(*words: str) -> int:
    return train.main(["--config", "toy.yaml", *words])


def state(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)["state_dict"]


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    capfd.readouterr()
    assert run(*words) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1, err
    return err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_device(capfd: pytest.CaptureFixture[str]) -> None:
    """The kernel's own answer: every write fails with ENOSPC."""
    assert run("trainer.max_epochs=1") == 0
    before = LAST.read_bytes()
    LAST.with_name(".last.ckpt.partial").symlink_to("/dev/full")
    assert "No space left on device" in refused(capfd, "resume=last")
    assert LAST.read_bytes() == before and not LAST.with_name(".last.ckpt.partial").exists()
    assert run("resume=last") == 0
    assert run("log_dir=whole") == 0
    assert all(torch.equal(v, state(LAST)[k]) for k, v in state(Path("whole/version_0/checkpoints/last.ckpt")).items())
    note("disk full while last.ckpt is written (/dev/full)", 1)


def test_an_export_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk ends: what was exported before stays whole, and no piece of the new one is left."""
    policy, path = make_policy(), tmp_path / "policy.safetensors"
    policy.save(path)
    before, tried = path.read_bytes(), times(5, 100)

    def save_some(tensors: Any, name: str, metadata: Any, room: int) -> None:
        Path(name).write_bytes(before[:room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for k in range(tried):
        with monkeypatch.context() as patch:
            patch.setattr("rover.policy.save_file", partial(save_some, room=k * len(before) // tried))
            with pytest.raises(OSError, match="No space left"):
                policy.save(path)
        assert path.read_bytes() == before and [f.name for f in tmp_path.glob("*.safetensors*")] == [path.name]
        assert not list(tmp_path.glob(".policy*"))
    policy.save(path)
    rover.load(path)
    note("disk full while a policy is exported", tried)


class Cut:
    """A file on a disk with room for so many bytes."""

    def __init__(self, file: Any, room: int, code: int) -> None:
        self.file, self.room, self.code = file, room, code

    def write(self, data: Any) -> int:
        if len(data) > self.room:
            self.file.write(data[: self.room])
            raise OSError(self.code, os.strerror(self.code))
        self.room -= len(data)
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_room_for_so_many_bytes(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk ends, the old checkpoint stays whole and no piece of the new one is left."""
    io, target = checkpointing.AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"state_dict": {"w": torch.arange(500.0)}}, target)
    before, save = target.read_bytes(), torch.save
    tried = times(25, 1000)
    for k in range(tried):
        room = k * len(before) // tried
        with monkeypatch.context() as patch:
            patch.setattr(torch, "save", lambda content, file, room=room: save(content, Cut(file, room, code)))
            with pytest.raises((OSError, RuntimeError)):
                io.save_checkpoint({"state_dict": {"w": torch.zeros(500)}}, target)
        assert [path.name for path in tmp_path.glob("*.ckpt*")] == ["last.ckpt"]
        assert not list(tmp_path.glob(".last*")) and target.read_bytes() == before
    note(f"disk ends after k bytes of a checkpoint ({errno.errorcode[code]})", tried)


def test_a_folder_that_turns_read_only(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("trainer.max_epochs=1") == 0
    before = LAST.read_bytes()

    def replace(source: Any, target: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        assert "Read-only file system" in refused(capfd, "resume=last")
    assert LAST.read_bytes() == before
    note("log folder turns read-only", 1)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 300 kB, where the test may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system; /dev/full is tested everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's writer
def test_a_file_system_that_fills_up(tiny_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [f"log_dir={tiny_disk}", "model.width=3000", "trainer.logger=false"]
    assert run(*words, "trainer.max_epochs=1") == 0
    path = tiny_disk / "version_0/checkpoints/last.ckpt"
    before, ballast = path.read_bytes(), tiny_disk / "ballast"
    try:
        with ballast.open("wb") as file:
            while True:
                file.write(b"\0" * 512)
                file.flush()
    except OSError as error:
        assert error.errno == errno.ENOSPC
    refused(capfd, *words, "resume=last")
    assert path.read_bytes() == before
    ballast.unlink()
    assert run(*words, "resume=last") == 0
    note("a file system of 300 kB fills up", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; /proc is tested for all")
def test_a_read_only_log_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written" in refused(capfd, "log_dir=closed")


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_log_folder_where_nothing_can_be_made(capfd: pytest.CaptureFixture[str]) -> None:
    assert "cannot be written" in refused(capfd, "log_dir=/proc/runs")
    note("read-only log folder", 1)
