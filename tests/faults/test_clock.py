"""The clock on the wall jumps (daylight saving, NTP, a suspended laptop): nothing that matters looks at it."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rover
import train
from conf import TRAININGS
from conf.run_folder import find_checkpoint
from tests import toy_training
from tests.faults.campaign import note, times
from tests.optimize.conftest import make_policy

DAY = 86_400.0


def bowl(points: np.ndarray) -> np.ndarray:
    return np.square(points - 1.0).sum(-1)


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """``time.time`` is a day off in turn, forwards and backwards."""
    real, jumps = time.time, itertools.cycle([DAY, -DAY, 0.0, 3600.0, -3600.0])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))


def test_a_time_limit_and_a_path_do_not_move(jumping: None) -> None:
    policy = make_policy()
    options: dict[str, Any] = {"policy": policy, "batched": True, "maxiter": 12, "xatol": 0, "fatol": 0}
    first = rover.minimize(bowl, [3.0, 2.0], maxtime=600.0, **options)
    second = rover.minimize(bowl, [3.0, 2.0], **options)
    assert first.nit == second.nit == 12
    assert np.array_equal(first.trajectory.theta, second.trajectory.theta)
    note("clock jumps by a day during minimize", 12)


def test_an_optimizer_saved_on_another_clock_has_used_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock starts anew with every boot; what is saved is how long the run has taken."""
    policy, tried = make_policy(), times(4, 40)
    for k in range(tried):
        opt = rover.Optimizer([3.0, 2.0], policy=policy, maxtime=1000.0)
        points = opt.ask()
        opt.tell(points, bowl(points))
        expected, state, real = opt.ask(), opt.state_dict(), time.monotonic
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda real=real, k=k: real() + (-1) ** k * DAY * (k + 1))
            again = rover.Optimizer([3.0, 2.0], policy=policy, maxtime=1000.0)
            again.load_state_dict(state)
            assert not again.stop() and np.array_equal(again.ask(), expected)
    note("a run resumed after a reboot (another monotonic clock)", tried)


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
def test_a_training_and_the_newest_run_do_not_depend_on_dates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumping: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TRAININGS, "toy", TRAININGS.get("toy"))
    toy_training.register("tests.toy_training")
    Path("toy.yaml").write_text(toy_training.YAML)
    for _ in range(2):
        assert train.main(["--config", "toy.yaml"]) == 0
    old, new = (Path(f"runs/toy/version_{k}/checkpoints/last.ckpt") for k in range(2))
    os.utime(old, (time.time() + 900 * DAY,) * 2)
    assert find_checkpoint("last", "runs/toy") == new, "the number says which is newest"
    one, other = (torch.load(path, weights_only=True)["state_dict"] for path in (old, new))
    assert all(torch.equal(one[name], other[name]) for name in one)
    note("clock jumps by a day during a training", 2)
