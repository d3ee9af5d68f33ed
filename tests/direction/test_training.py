"""train.py with the direction's YAMLs, on a small scale: every grid size, both modes, interruptions, wrong input."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from lit_modules.angle import AngleModule
from rover.policy import load_angle_net

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint", "ignore:.*LeafSpec")

SMALL = [
    "data.batch_size=64",
    "data.chunk_functions=64",
    "data.num_workers=0",
    "data.cache_functions=64",
    "data.validation_functions=20",
    "data.test_functions=20",
    "trainer.limit_train_batches=60",
    "trainer.val_check_interval=30",
    "trainer.log_every_n_steps=10",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
    "checkpoint.every_n_batches=10",
    "export.path=net.safetensors",
]
GRID5 = ["data.grid_size=5", "model.network.grid_size=5"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str, config: str = "angle.yaml") -> int:
    return train.main(["--config", config, *SMALL, *words])


def last(folder: str) -> dict:
    return torch.load(Path(folder) / "version_0/checkpoints/last.ckpt", weights_only=True)


def assert_same(a: object, b: object, where: str = "checkpoint") -> None:
    """Everything in two checkpoints is equal: weights, average, optimiser, schedule, counters, place in the stream."""
    if isinstance(a, dict):
        assert isinstance(b, dict) and a.keys() == b.keys(), where
        for key in a:
            if key != "callbacks" and not str(key).startswith("Timer"):  # paths of the run's own folder
                assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple) and len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor) and torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.mark.parametrize("grid_size", [3, 5, 9])
def test_another_grid_size_is_two_overrides(grid_size: int) -> None:
    assert run(f"data.grid_size={grid_size}", f"model.network.grid_size={grid_size}") == 0
    net = load_angle_net("net.safetensors")
    direction = net.direction(torch.rand(7, grid_size, grid_size))
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones(7))


def test_two_points_a_side_are_enough_without_the_features() -> None:
    assert run("data.grid_size=2", "model.network.grid_size=2", "model.network.features=false") == 0


def test_the_paper_trains_from_a_cache_without_our_additions() -> None:
    assert run(config="angle_paper.yaml") == 0
    assert Path("data/cloning_paper/manifest.json").is_file()
    network = load_angle_net("net.safetensors").config
    assert not network.canonical and not network.features


@pytest.mark.parametrize("mode", ["stream", "cached"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*GRID5, f"data.mode={mode}"]
    assert run(*words, "log_dir=whole") == 0
    step = AngleModule.training_step

    def cut(self: AngleModule, batch: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == 47:
            raise RuntimeError("cut")
        return step(self, batch, batch_idx)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="cut"):
        patch.setattr(AngleModule, "training_step", cut)
        run(*words, "log_dir=parts")
    assert last("parts")["global_step"] == 40
    assert run(*words, "log_dir=parts", "resume=last") == 0
    assert last("whole")["CloningDataModule"] == {"batches_seen": 60}
    assert_same(last("whole"), last("parts"))


@pytest.mark.slow
def test_kill_9_in_the_middle_and_resume() -> None:
    words = [*GRID5, "data.num_workers=1", "trainer.limit_train_batches=200", "trainer.val_check_interval=100"]
    command = [sys.executable, str(ROOT / "train.py"), "--config", "angle.yaml", *SMALL, *words, "log_dir=parts"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    checkpoint = Path("parts/version_0/checkpoints/last.ckpt")
    for _ in range(6000):
        if process.poll() is not None or checkpoint.exists() and last("parts")["global_step"] >= 70:
            break
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 70 <= last("parts")["global_step"] < 200
    assert run(*words, "log_dir=parts", "resume=last") == 0
    assert run(*words, "log_dir=whole") == 0
    assert_same(last("whole"), last("parts"))


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and "runs" not in path.parts}


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """Run, expecting exit code 2, one line on stderr, and every file outside the run folder as it was."""
    capfd.readouterr()
    before = files()
    assert run(*words) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1, err
    assert files() == before
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.grid_sise=5"], "did you mean `data.grid_size`?"),
        (["data.grid_size=five"], "`data.grid_size`"),
        (["data.grid_size=1"], "`data.grid_size` must be at least 2"),
        (["model.network.grid_size=1"], "`model.network.grid_size` must be at least 2"),
        (["data.grid_size=5"], "`data.grid_size` is 5 and `model.network.grid_size` is 15"),
        (["data.grid_size=2", "model.network.grid_size=2"], "`model.network.features`"),
        (["data.modalities=[hill]"], "`data.modalities`"),
        (["data.protocol=wild"], "`data.protocol`"),
        (["data.delta_range=[1.0,0.5]"], "`data.delta_range`"),
        (["data.chunk_functions=2"], "`data.chunk_functions`"),
        (["model.learning_rate=0"], "`model.learning_rate`"),
        (["model.ema_decay=1.0"], "`model.ema_decay`"),
        (["trainer.limit_train_batches=null", "trainer.val_check_interval=null"], "no end"),
        (["log_dir=/proc/runs"], "cannot be written"),
        (["data.mode=cached", "data.cache_dir=/proc/cache"], "/proc/cache"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capfd, *words)


def test_a_damaged_or_foreign_cache_is_one_line_and_stays_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    words = [*GRID5, "data.mode=cached"]
    assert run(*words) == 0
    shutil.copytree("data/cloning", "whole")
    shard, manifest = Path("data/cloning/tuples_0000.f32"), Path("data/cloning/manifest.json")
    raw = shard.read_bytes()
    shard.write_bytes(raw[:-1000])
    assert "truncated" in refused(capfd, *words)
    shard.write_bytes(raw[:1000] + bytes([raw[1000] ^ 1]) + raw[1001:])
    assert "checksum differs" in refused(capfd, *words)
    shard.unlink()
    assert "missing" in refused(capfd, *words)
    shard.write_bytes(raw)
    text = manifest.read_text()
    manifest.write_text(text[:-20])
    assert "damaged" in refused(capfd, *words)
    manifest.write_text(text)
    assert "another seed" in refused(capfd, *words, "seed=9")
    assert files().items() >= {Path("whole") / path.name: path.read_bytes() for path in [shard, manifest]}.items()
    assert run(*words) == 0


def test_a_truncated_checkpoint_is_one_line_and_stays_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*GRID5) == 0
    path = next(Path("runs").rglob("last.ckpt"))
    path.write_bytes(path.read_bytes()[:-500])
    before = path.read_bytes()
    assert "damaged" in refused(capfd, *GRID5, "resume=last")
    assert path.read_bytes() == before
    shutil.copy(path.with_name("best.ckpt"), "best.ckpt")
    assert "does not fit" in refused(capfd, "data.grid_size=9", "model.network.grid_size=9", "resume=best.ckpt")
