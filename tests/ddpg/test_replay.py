"""The ring of episodes: what goes in comes out, oldest first to go, and what is broken is told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rover.learning.replay import EpisodeReplay, Episodes


def ring(capacity: int = 5, horizon: int = 3) -> EpisodeReplay:
    return EpisodeReplay(capacity, horizon, grid_size=2, num_state=4)


def episodes(numbers: list[int], horizon: int = 3) -> Episodes:
    """Episodes that carry their number everywhere, as valid ones."""
    number = torch.tensor(numbers, dtype=torch.float32)

    def filled(*shape: int) -> torch.Tensor:
        return (number / 1000).view(-1, *[1] * len(shape)).expand(-1, *shape).clone()

    seen = horizon + 1
    context = filled(seen, 5)
    context[:, 0, :2] = 0
    return Episodes(
        filled(seen, 2, 2), filled(seen, 2), context, filled(seen, 4), filled(horizon, 2), 1000 * filled(horizon)
    )


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_it_holds_the_newest_episodes(sizes: list[int]) -> None:
    replay, told = ring(), []
    for size in sizes:
        new = list(range(len(told), len(told) + size))
        replay.add(episodes(new))
        told += new
    kept = sorted(replay.data.reward[: len(replay), 0].round().int().tolist())
    assert kept == sorted(told[-5:]) and len(replay) == min(5, len(told)) and replay.added == len(told)
    replay.check_valid()


def test_samples_are_whole_episodes_from_what_is_filled(generator: torch.Generator) -> None:
    replay = ring(capacity=100)
    replay.add(episodes([3, 4, 5]))
    sample = replay.sample(200, generator)
    numbers = sample.reward[:, 0]
    assert set(numbers.round().int().tolist()) == {3, 4, 5}
    for part in sample:
        torch.testing.assert_close(part.flatten(1)[:, -1], numbers / (1 if part is sample.reward else 1000))
    again = replay.sample(200, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(sample, again, strict=True))


def test_a_sample_is_a_copy(generator: torch.Generator) -> None:
    replay = ring()
    replay.add(episodes([1]))
    replay.sample(2, generator).grid.fill_(7)
    replay.check_valid()


@pytest.mark.parametrize("count", [2, 5, 8])
def test_state_dict_round_trip(count: int, generator: torch.Generator) -> None:
    replay, other = ring(), ring()
    for number in range(count):
        replay.add(episodes([number]))
    other.load_state_dict(replay.state_dict())
    for ours in (replay, other):
        ours.add(episodes([100, 101]))
    for a, b in zip(replay.data, other.data, strict=True):
        assert torch.equal(a[: len(replay)], b[: len(replay)])
    state = replay.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values()), "plain tensors: weights_only=True"
    replay.add(episodes([999]))
    assert 999 not in state["reward"].round()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("reward", float("nan"), "`reward` holds values that are not finite"),
        ("state", float("inf"), "`state` holds values that are not finite"),
        ("grid", 1.5, r"`grid` leaves \[0, 1\]"),
        ("action", -1.5, r"`action` leaves \[-1, 1\]"),
        ("context", 0.5, "does not start with an empty previous action"),
    ],
)
def test_check_valid_finds_what_is_broken(field: str, value: float, said: str) -> None:
    replay = ring()
    replay.add(episodes([1, 2]))
    getattr(replay.data, field)[1, 0] = value
    with pytest.raises(ValueError, match=said):
        replay.check_valid()
    getattr(replay.data, field)[1] = getattr(replay.data, field)[0]
    replay.check_valid()


def test_misuse(generator: torch.Generator) -> None:
    replay = ring()
    replay.check_valid()
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1, generator)
    with pytest.raises(ValueError, match="more than the capacity of 5"):
        replay.add(episodes(list(range(6))))
    with pytest.raises(ValueError, match="must have shape"):
        replay.add(episodes([1], horizon=4))
    with pytest.raises(ValueError, match="capacity"):
        ring(capacity=0)
    with pytest.raises(ValueError, match="expected"):
        ring(capacity=2).load_state_dict({**ring().state_dict(), **_filled(3)})


def _filled(count: int) -> dict[str, torch.Tensor]:
    replay = ring()
    replay.add(episodes(list(range(count))))
    return replay.state_dict()
