"""train.py and evaluate.py as a person meets them: what they print, what they leave, how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import evaluate
import train
from conf import EXPERIMENTS, TRAININGS
from tests import toy_training

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "toy_training.py"
pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:.*LeafSpec",
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts in its own folder, with the task ``toy`` known and its YAML there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TRAININGS, "toy", TRAININGS.get("toy"))  # restores the registry afterwards
    monkeypatch.setitem(EXPERIMENTS, "toy", toy_training.TOY_EXPERIMENT)
    toy_training.register("tests.toy_training")
    Path("toy.yaml").write_text(toy_training.YAML)
    Path("figure.yaml").write_text("task: toy\nseed: 5\noutput_dir: out\n")


def refused(capfd: pytest.CaptureFixture[str], *argv: str, main=train.main) -> str:
    """Run, expecting exit code 2 and exactly one line on stderr; returns the line."""
    before = sorted(Path().rglob("*"))
    assert main(list(argv)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    made = [path for path in sorted(Path().rglob("*")) if path not in before and path.is_file()]
    assert made == [], "nothing may be written"
    return err


def weights(path: Path | str) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--config", "toy.yaml", "data.batch_siz=3"], "did you mean `data.batch_size`?"),
        (["--config", "toy.yaml", "data.batch_size=x"], "`data.batch_size`"),
        (["--config", "toy.yaml", "data.batch_size=0"], "`data.batch_size` must be at least 1"),
        (["--config", "toy.yaml", "trainer.devices", "2"], "`trainer.devices` has no value"),
        (["--config", "toy.yaml", "trainer.devices", "2"], "trainer.devices=2"),
        (["--config", "toy.yaml", "--trainer.devices=2"], "no dashes: trainer.devices=2"),
        (["--config", "toy.yaml", "--print-confg"], "did you mean `--print-config`?"),
        (["--config", "toi.yaml"], "'toi.yaml' does not exist"),
        (["--config"], "expected one argument"),
        (["seed=1"], "--config"),
        ([], "--config"),
        (["--config", "toy.yaml", "resume=last"], "no checkpoints/last.ckpt in any run of runs/toy"),
        (["--config", "toy.yaml", "resume=no.ckpt"], "no such checkpoint"),
        (["--config", "toy.yaml", "resume=toy.yaml"], "not a checkpoint"),
        (["--config", "toy.yaml", "log_dir=toy.yaml"], "log folder toy.yaml"),
        (["--config", "toy.yaml", "log_dir=/proc/runs"], "cannot be written"),
        (["--config", "toy.yaml", "trainer.accelerator=abacus"], "`trainer`"),
        (["--config", "toy.yaml", "trainer.precision=17"], "`trainer`"),
        (["--config", "figure.yaml", "output=3"], "unknown key `output`"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(argv: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    main = evaluate.main if "figure.yaml" in argv else train.main
    assert said in refused(capfd, *argv, main=main)


def test_overrides_may_stand_before_and_between_the_options(capfd: pytest.CaptureFixture[str]) -> None:
    assert train.main(["seed=7", "--config", "toy.yaml", "data.noise=0.5", "--print-config", "data.batches=2"]) == 0
    out = capfd.readouterr().out
    assert "seed: 7\n" in out and "noise: 0.5\n" in out and "batches: 2\n" in out


def test_print_config_is_a_config(capfd: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--config", "toy.yaml", "--print-config", "data.batch_size=2"]) == 0
    first = capfd.readouterr().out
    Path("again.yaml").write_text(first)
    assert train.main(["--config", "again.yaml", "--print-config"]) == 0
    assert capfd.readouterr().out == first
    assert not Path("runs").exists()


def test_a_run_leaves_its_config_versions_seed_logs_and_checkpoints(capfd: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--config", "toy.yaml", "export.path=line.txt", "export.name=line"]) == 0
    assert re.search(r"val/loss\s+│\s+[\d.e-]+", capfd.readouterr().out), "a table ends the run"
    folder = Path("runs/toy/version_0")
    assert {"config.yaml", "versions.json", "checkpoints"} <= {path.name for path in folder.iterdir()}
    assert list(folder.glob("events.out.tfevents.*"))
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["seed"] == 3
    assert versions["torch"] == torch.__version__
    assert {"lightning", "numpy", "python", "rover-descent", "commit"} <= versions.keys()
    shutil.copy(folder / "config.yaml", "again.yaml")
    assert Path("line.txt").read_text().startswith("line 3 ")
    assert train.main(["--config", "again.yaml"]) == 0  # the written config runs as it is, in a folder of its own
    assert same(weights(folder / "checkpoints/last.ckpt"), weights("runs/toy/version_1/checkpoints/last.ckpt"))


def test_another_seed_is_another_run() -> None:
    assert train.main(["--config", "toy.yaml"]) == 0
    assert train.main(["--config", "toy.yaml", "seed=4"]) == 0
    runs = [weights(f"runs/toy/version_{k}/checkpoints/last.ckpt")["line.weight"] for k in range(2)]
    assert not torch.equal(*runs)


@pytest.mark.parametrize("epochs", [1, 2])
def test_resume_equals_uninterrupted(epochs: int) -> None:
    assert train.main(["--config", "toy.yaml", "log_dir=whole"]) == 0
    assert train.main(["--config", "toy.yaml", "log_dir=parts", f"trainer.max_epochs={epochs}"]) == 0
    assert train.main(["--config", "toy.yaml", "log_dir=parts", "resume=last"]) == 0
    assert same(weights("whole/version_0/checkpoints/last.ckpt"), weights("parts/version_0/checkpoints/last.ckpt"))
    assert not Path("parts/version_1").exists(), "a resumed run goes on in its own folder"
    assert Path("parts/version_0/config_1.yaml").exists()


def test_a_damaged_checkpoint_is_reported_and_left_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--config", "toy.yaml"]) == 0
    capfd.readouterr()
    last = Path("runs/toy/version_0/checkpoints/last.ckpt")
    truncated = last.read_bytes()[:-500]
    last.write_bytes(truncated)
    assert "damaged" in refused(capfd, "--config", "toy.yaml", "resume=last")
    assert last.read_bytes() == truncated


class Payload:
    """Unpickled, it creates a file."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("executed",))


def test_a_malicious_checkpoint_executes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}, "x": Payload()}, "evil.ckpt")
    assert "evil.ckpt cannot be read" in refused(capfd, "--config", "toy.yaml", "resume=evil.ckpt")
    assert not Path("executed").exists()


def test_a_checkpoint_of_another_network_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--config", "toy.yaml"]) == 0
    capfd.readouterr()
    assert train.main(["--config", "toy.yaml", "resume=last", "model.width=3"]) == 2
    assert "does not fit this config" in capfd.readouterr().err


@pytest.mark.parametrize("content", ["dat", None])
def test_a_truncated_or_missing_cache_is_one_line(content: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        Path("cache").write_text(content)
    assert train.main(["--config", "toy.yaml", "data.cache=cache"]) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and "cache" in err and len(err.splitlines()) == 1


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, number: int, count: int) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(toy_training.ToyModule, "loss", broken)
    with pytest.raises(ValueError, match="a bug"):
        train.main(["--config", "toy.yaml", "trainer.num_sanity_val_steps=0"])


def test_the_wrong_one_of_the_two_commands_says_which_is_right(capfd: pytest.CaptureFixture[str]) -> None:
    Path("other.yaml").write_text("task: angle\n")
    assert "train.py" in refused(capfd, "--config", "other.yaml", main=evaluate.main)


def test_evaluate_runs_the_experiment_and_notes_where_it_came_from() -> None:
    assert evaluate.main(["--config", "figure.yaml"]) == 0
    assert Path("out/figures.txt").read_text() == "1.0"
    assert "seed: 5" in Path("out/config.yaml").read_text()
    assert json.loads(Path("out/versions.json").read_text())["seed"] == 5


def start(*overrides: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--config", "toy.yaml", *overrides]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_batch(process: subprocess.Popen[str], mark: Path, batches: int) -> None:
    for _ in range(1200):
        if mark.exists() and len(mark.read_text().splitlines()) >= batches:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("the training did not start")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_training_resumes_as_if_uninterrupted(signum: int, code: int) -> None:
    slowly = ["model.pause=0.05", "model.mark=mark", "data.batches=20", "log_dir=parts"]
    process = start(*slowly)
    wait_for_batch(process, Path("mark"), 27)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    last = Path("parts/version_0/checkpoints/last.ckpt")
    seen = int(weights(last)["seen"])
    done = len(Path("mark").read_text().splitlines())
    if signum == signal.SIGKILL:
        assert seen >= done - 4 - 1, "at most every_n_batches are lost"
    else:
        assert seen == done, "saved at the end of the batch that was running"
        assert "continue with resume=last" in err
    assert train.main(["--config", "toy.yaml", "data.batches=20", "log_dir=parts", "resume=last"]) == 0
    assert train.main(["--config", "toy.yaml", "data.batches=20", "log_dir=whole"]) == 0
    assert int(weights(last)["seen"]) == 60
    assert same(weights(last), weights("whole/version_0/checkpoints/last.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [False, True])
def test_two_process_ddp_writes_one_run_and_stops_together(stop: bool) -> None:
    two = ["trainer.devices=2", "trainer.strategy=ddp", "data.batches=40"]
    process = start(*two, *(["model.pause=0.1", "model.mark=mark"] if stop else []))
    if stop:
        wait_for_batch(process, Path("mark"), 12)
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == (143 if stop else 0), err
    assert [path.name for path in Path("runs/toy").iterdir()] == ["version_0"]
    assert len(list(Path("runs/toy/version_0").glob("config*.yaml"))) == 1
    if stop:
        resumed = start(*two, "resume=last")
        out, err = resumed.communicate(timeout=120)
        assert resumed.returncode == 0, err
    assert out.count("val/loss") == 1, "one table, from rank zero"
    assert int(weights("runs/toy/version_0/checkpoints/last.ckpt")["seen"]) == 60
