"""train.py with the navigator's YAMLs, on a small scale: interruptions, callbacks, export, wrong input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import rover
import train
from lit_modules.callbacks.meta_test import MetaTest
from lit_modules.ddpg import DDPGModule
from rover.landscapes import sample_prototypes
from rover.networks import AngleNet, NetworkConfig
from rover.policy import save_angle_net
from tests.direction.test_training import assert_same

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint", "ignore:.*LeafSpec")

SMALL = [
    "data.batch_size=8",
    "data.validation_functions=8",
    "data.test_functions=8",
    "model.angle_net=angle.safetensors",
    "model.network.grid_size=5",
    "model.network.channels=[2,4]",
    "model.network.hidden_size=8",
    "model.navigation.horizon=5",
    "data.num_workers=0",
    "model.memory_size=6",
    "model.replay_capacity=64",
    "model.warmup_episodes=16",
    "model.episodes_per_update=8",
    "model.updates_per_iteration=2",
    "trainer.limit_train_batches=20",
    "trainer.val_check_interval=10",
    "trainer.log_every_n_steps=5",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
    "checkpoint.every_n_batches=3",
    "export.path=policy.safetensors",
]


@pytest.fixture(autouse=True)
def in_a_folder_with_a_direction_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_angle_net("angle.safetensors", AngleNet(NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8)))


def run(*words: str, config: str = "ddpg.yaml") -> int:
    return train.main(["--config", config, *SMALL, *words])


def last(folder: str, version: int = 0) -> dict[str, Any]:
    return torch.load(Path(folder) / f"version_{version}/checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize("config", ["ddpg.yaml", "ddpg_paper.yaml"])
def test_it_trains_and_leaves_a_policy(config: str) -> None:
    assert run(config=config) == 0
    policy = rover.load("policy.safetensors")
    assert policy.grid_size == 5 and policy.provenance["seed"] == 0
    paper = config == "ddpg_paper.yaml"
    assert policy.config.frame == ("none" if paper else "quadratic") and policy.config.act_first is not paper
    result = rover.minimize(lambda x: float(x @ x), [1.0, 2.0], policy="policy.safetensors", maxiter=5)
    assert result.fun <= 5
    folder = next(Path("runs").rglob("checkpoints"))
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "best.ckpt"}
    # The bundle holds the best weights.
    best = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in policy.actor.state_dict().items():
        assert torch.equal(value, best[f"actor.{name}"])


def test_the_replay_is_valid_after_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[DDPGModule] = []
    original = DDPGModule.on_fit_start

    def note(self: DDPGModule) -> None:
        original(self)
        seen.append(self)

    monkeypatch.setattr(DDPGModule, "on_fit_start", note)
    assert run() == 0
    (module,) = seen
    assert module.replay is not None and len(module.replay) == 64 and module.replay.added == 160
    module.replay.check_valid()
    assert (module.iterations, module.updates, module.environment_steps) == (20, 2 * 19, 20 * 8 * 5)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("log_dir=whole") == 0
    step = DDPGModule.training_step

    def cut(self: DDPGModule, batch: Any, batch_idx: int) -> Any:
        if self.iterations == 13:
            raise RuntimeError("cut")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="cut"):
        patch.setattr(DDPGModule, "training_step", cut)
        run("log_dir=parts")
    assert last("parts")["ddpg"]["iterations"] == 12
    assert run("log_dir=parts", "resume=last") == 0
    assert last("whole")["ddpg"]["iterations"] == 20
    assert_same(last("whole"), last("parts"))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_kill_9_in_the_middle_and_resume(devices: int) -> None:
    words = ["trainer.limit_train_batches=60", "trainer.val_check_interval=30", "trainer.accelerator=cpu"]
    words += [f"trainer.devices={devices}", "trainer.strategy=ddp"] if devices > 1 else []
    command = [sys.executable, str(ROOT / "train.py"), "--config", "ddpg.yaml", *SMALL, *words]
    options: dict[str, Any] = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(
        [*command, "log_dir=parts"], stderr=subprocess.DEVNULL, start_new_session=True, **options
    )
    checkpoint = Path("parts/version_0/checkpoints/last.ckpt")
    for _ in range(9000):
        if process.poll() is not None or checkpoint.exists() and last("parts")["ddpg"]["iterations"] >= 20:
            break
        time.sleep(0.01)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 20 <= last("parts")["ddpg"]["iterations"] < 60
    for more in (["log_dir=parts", "resume=last"], ["log_dir=whole"]):
        done = subprocess.run([*command, *more], stderr=subprocess.PIPE, text=True, **options)
        assert done.returncode == 0, done.stderr
    assert len(last("whole")["ddpg"]["ranks"]) == devices
    assert_same(last("whole"), last("parts"))


def test_looking_does_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("log_dir=looked", "model.figures_every=1") == 0
    with monkeypatch.context() as patch:
        patch.setattr(DDPGModule, "configure_callbacks", lambda self: [])
        assert run("log_dir=blind") == 0
    one, other = last("looked"), last("blind")
    for checkpoint in (one, other):
        checkpoint.pop("callbacks")
    assert_same(one, other)


def test_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run("model.figures_every=1") == 0
    events = EventAccumulator(str(next(Path("runs").rglob("version_0"))))
    events.Reload()
    scalars = events.Tags()["scalars"]
    for function in ("rosenbrock", "ackley", "rastrigin", "mccormick", "styblinski", "beale"):
        assert f"meta_test/found/{function}" in scalars and f"meta_test/log_gap/{function}" in scalars
    assert set(events.Tags()["images"]) == {"schedules", "recovery", "paths"}
    assert [event.step for event in events.Scalars("meta_test/found")] == [10, 20], "iterations, not optimiser steps"


def test_meta_test_refuses_nonsense() -> None:
    for options in ({"rounds": 0}, {"starts": 0}, {"figures_every": -1}):
        with pytest.raises(ValueError, match="must"):
            MetaTest(**options)


def test_a_policy_is_made_without_touching_the_global_generator() -> None:
    net = AngleNet(NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8))
    from lit_modules.ddpg import DDPGModelConfig

    module = DDPGModule(DDPGModelConfig(network=net.config), net)
    before = torch.get_rng_state()
    policy = module.policy()
    assert torch.equal(before, torch.get_rng_state())
    grids = torch.rand(3, 5, 5)
    assert torch.equal(policy.direction(grids), net.direction(grids).detach())
    surfaces = sample_prototypes(4, torch.Generator().manual_seed(0))
    assert surfaces.batch_size == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.gama=0.9"], "did you mean `model.gamma`?"),
        (["model.gamma=1.5"], "`model.gamma`"),
        (["model.tau=0"], "`model.tau`"),
        (["model.td=cubic"], "`model.td`"),
        (["model.network.action=sine"], "`model.network.action`"),
        (["model.network.grid_size=15"], "trained at 5"),
        (["model.angle_net=nowhere.safetensors"], "nowhere.safetensors"),
        (["model.navigation.reward=sparse"], "`model.navigation.reward`"),
        (["model.navigation.alpha_range=[1.0,0.5]"], "`model.navigation.alpha_range`"),
        (["model.replay_capacity=4"], "`model.replay_capacity`"),
        (["data.modalities=[hill]"], "`data.modalities`"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1 and said in err, err
