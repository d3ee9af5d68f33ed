"""train.py on a GPU: checkpoints that go on elsewhere, precisions, interruptions. On a CPU the same with the CPU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

import rover
import train
from rover.policy import load_angle_net
from tests.ddpg.test_training import SMALL as DDPG
from tests.direction.test_training import GRID5
from tests.direction.test_training import SMALL as ANGLE
from tests.faults.campaign import finish, kill, make_direction_net, start

pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint", "ignore:.*LeafSpec")
WORDS = {
    "angle": [
        *ANGLE,
        *GRID5,
        "trainer.limit_train_batches=8",
        "trainer.val_check_interval=4",
        "trainer.log_every_n_steps=2",
    ],
    "ddpg": [*DDPG, "trainer.limit_train_batches=8", "trainer.val_check_interval=4", "trainer.log_every_n_steps=2"],
}
CUDA = pytest.param("gpu", marks=pytest.mark.cuda)
EXPORT = {"angle": ("net.safetensors", load_angle_net), "ddpg": ("policy.safetensors", rover.load)}


@pytest.fixture(autouse=True)
def in_a_folder_with_a_direction_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_direction_net(tmp_path)


def run(task: str, *words: str) -> int:
    return train.main(["--config", f"{task}.yaml", *WORDS[task], *words])


def last(folder: str) -> dict[str, Any]:
    return torch.load(Path(folder) / "version_0/checkpoints/last.ckpt", weights_only=True, map_location="cpu")


@pytest.mark.filterwarnings("ignore:the checkpoint comes from another kind of device")
@pytest.mark.parametrize("task", ["angle", "ddpg"])
@pytest.mark.parametrize(("first", "second"), [("cpu", "cpu"), pytest.param("gpu", "cpu", marks=pytest.mark.cuda),
                                               pytest.param("cpu", "gpu", marks=pytest.mark.cuda)])  # fmt: skip
def test_a_checkpoint_goes_on_on_another_device(task: str, first: str, second: str) -> None:
    assert run(task, f"trainer.accelerator={first}", "trainer.max_epochs=1", "log_dir=runs") == 0
    steps, weights = last("runs")["global_step"], last("runs")["state_dict"]
    name, load = EXPORT[task]
    assert all(p.device.type == "cpu" for p in load(name).parameters())
    words = [f"trainer.accelerator={second}", "trainer.max_epochs=2", "log_dir=runs", "resume=last"]
    assert run(task, *words) == 0
    again = last("runs")
    assert again["global_step"] >= 2 * steps
    assert all(value.isfinite().all() for value in again["state_dict"].values())
    assert any(not torch.equal(value, weights[key]) for key, value in again["state_dict"].items())


def test_a_generator_of_another_device_starts_anew_and_says_so() -> None:
    """A CUDA generator's state is 16 bytes; a CPU's is thousands."""
    assert run("ddpg", "trainer.max_epochs=1", "log_dir=runs", "trainer.accelerator=cpu") == 0
    path = Path("runs/version_0/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["ddpg"]["ranks"][0]["generator"] = torch.zeros(16, dtype=torch.uint8)
    torch.save(checkpoint, path)
    with pytest.warns(UserWarning, match="comes from another kind of device"):
        assert run("ddpg", "trainer.max_epochs=2", "log_dir=runs", "resume=last", "trainer.accelerator=cpu") == 0


@pytest.mark.parametrize("accelerator", ["cpu", CUDA])
@pytest.mark.parametrize(("task", "precision"), [("angle", "bf16-mixed"), ("ddpg", "bf16-mixed"), ("angle", "64-true")])
def test_it_trains_in_this_precision(task: str, precision: str, accelerator: str) -> None:
    assert run(task, f"trainer.precision={precision}", f"trainer.accelerator={accelerator}", "log_dir=runs") == 0
    assert all(value.isfinite().all() for value in last("runs")["state_dict"].values())
    name, load = EXPORT[task]
    assert all(p.isfinite().all() for p in load(name).parameters())


@pytest.mark.cuda
def test_the_direction_net_trains_with_scaled_losses() -> None:
    assert run("angle", "trainer.precision=16-mixed", "trainer.accelerator=gpu") == 0


@pytest.mark.parametrize("accelerator", ["cpu", CUDA])
@pytest.mark.parametrize(
    ("task", "precision"), [("angle", "bf16-true"), ("angle", "16-true"), ("ddpg", "bf16-true"), ("ddpg", "64-true")]
)
def test_another_precision_is_refused_in_one_line(
    task: str, precision: str, accelerator: str, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert (
        run(task, f"trainer.precision={precision}", f"trainer.accelerator={accelerator}", "trainer.logger=false") == 2
    )
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1 and err.startswith("error: `trainer.precision` must be one of 32-true"), err


@pytest.mark.cuda
def test_scaled_losses_are_refused_where_gradients_are_made_by_hand(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("ddpg", "trainer.precision=16-mixed", "trainer.accelerator=gpu", "trainer.logger=false") == 2
    assert "`trainer.precision` must be one of 32-true, bf16-mixed" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", ["cpu", CUDA])
@pytest.mark.parametrize("task", ["angle", "ddpg"])
def test_killed_and_resumed_it_ends_as_one_that_never_was(task: str, accelerator: str) -> None:
    """With deterministic kernels bit by bit on the CPU; a GPU's sums may come in another order."""
    words = [f"trainer.accelerator={accelerator}", "trainer.deterministic=true", "checkpoint.every_n_batches=1"]
    finish(start(task, *words, "log_dir=whole"))
    process = start(task, *words, "log_dir=parts")
    while process.poll() is None and not Path("parts/version_0/checkpoints/last.ckpt").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    kill(process)
    finish(start(task, *words, "log_dir=parts", "resume=last"))
    whole, parts = last("whole"), last("parts")
    assert whole["global_step"] == parts["global_step"]
    for key, value in whole["state_dict"].items():
        torch.testing.assert_close(parts["state_dict"][key], value, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", ["cpu", CUDA])
@pytest.mark.parametrize("task", ["angle", "ddpg"])
def test_it_trains_with_a_process_that_makes_data(task: str, accelerator: str) -> None:
    """Autograd that has run beside a GPU does not survive a fork."""
    assert run(task, "data.num_workers=1", f"trainer.accelerator={accelerator}") == 0


@pytest.mark.cuda
def test_deterministic_kernels_exist_for_all_that_a_training_does(capfd: pytest.CaptureFixture[str]) -> None:
    for task in ("angle", "ddpg"):
        for folder in ("one", "two"):
            words = ["trainer.deterministic=true", "trainer.accelerator=gpu", f"log_dir={task}_{folder}"]
            assert run(task, *words) == 0, capfd.readouterr().err
        one, two = last(f"{task}_one")["state_dict"], last(f"{task}_two")["state_dict"]
        assert all(torch.equal(value, two[key]) for key, value in one.items())
