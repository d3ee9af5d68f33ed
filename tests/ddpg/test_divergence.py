"""A critic that has left everything a return can be ends the training, with a sentence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_modules.callbacks.divergence import StopOnDivergence
from rover.learning.replay import EpisodeReplay


def feed(values: list[float], *, others: bool = False, **options: Any) -> tuple[int | None, list[str]]:
    """After how many looks the training is stopped, and what is said."""
    said: list[str] = []
    stop = StopOnDivergence(say=said.append, every_n_iterations=1, **options)
    replay = EpisodeReplay(capacity=8, horizon=10, grid_size=2, num_state=1)
    replay.data.reward[:4] = -1.0
    replay.added = 4
    strategy = SimpleNamespace(reduce_boolean_decision=lambda mine, all: mine or others)
    trainer: Any = SimpleNamespace(strategy=strategy, should_stop=False, is_global_zero=True)
    for k, value in enumerate(values):
        module: Any = SimpleNamespace(iterations=k + 1, replay=replay)
        stop.on_train_batch_end(trainer, module, {"q": torch.tensor(value)}, None, k)
        if trainer.should_stop:
            return k + 1, said
    return None, said


def test_values_that_returns_can_have_are_left_alone() -> None:
    assert feed([-10.0, -29.0, 29.0] * 20) == (None, [])


def test_it_takes_patience() -> None:
    looks, (sentence,) = feed([-10.0, *[-31.0] * 9, -10.0, *[-31.0] * 20])
    assert looks == 11 + 10
    assert "The critic diverges: after 21 iterations its mean value is -31" in sentence
    assert "no return was beyond 10" in sentence and "model.critic_lr" in sentence


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_stops_at_once(value: float) -> None:
    looks, said = feed([-10.0, value])
    assert looks == 2 and len(said) == 1


def test_all_ranks_stop_together() -> None:
    assert feed([-1.0], others=True)[0] == 1


def test_before_the_first_update_there_is_nothing_to_see() -> None:
    stop = StopOnDivergence(every_n_iterations=1)
    stop.on_train_batch_end(SimpleNamespace(), SimpleNamespace(iterations=1), {}, None, 0)  # type: ignore[arg-type]


def test_strikes_survive_a_checkpoint() -> None:
    one, other = StopOnDivergence(), StopOnDivergence()
    one.strikes = 7
    other.load_state_dict(one.state_dict())
    assert other.strikes == 7
    for options in ({"factor": 0.5}, {"patience": 0}, {"every_n_iterations": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            StopOnDivergence(**options)
