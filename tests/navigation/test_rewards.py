"""Eqs 5, 6 and 7 by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rover.evaluation.held_out import episode_return
from rover.navigation.rewards import start_reward, value_reward, window_reward

nan = float("nan")


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_three_rewards_by_hand() -> None:
    value, start, minimum = tensor(3.0), tensor(9.0), tensor(1.0)
    assert value_reward(value).item() == -3
    assert start_reward(value, start, minimum).item() == -2 / 8
    window = tensor(9.0, 5.0, 3.0)[None]  # gaps 8, 4, 2, their mean 14 / 3
    assert window_reward(window, minimum).item() == pytest.approx(-2 / (14 / 3))
    assert window_reward(tensor(nan, nan, 3.0)[None], minimum).item() == -1


def test_standing_still_and_arriving() -> None:
    still = torch.full((1, 5), 4.0, dtype=torch.float64)
    assert window_reward(still, tensor(1.0)).item() == pytest.approx(-1)
    assert start_reward(tensor(4.0), tensor(4.0), tensor(1.0)).item() == -1
    assert window_reward(tensor(4.0, 4.0, 4.0, 4.0, 1.0)[None], tensor(1.0)).item() == 0
    assert window_reward(torch.ones(1, 5).double(), tensor(1.0)).item() == 0, "0 / 0: nothing is left to lose"
    assert start_reward(tensor(1.0), tensor(1.0), tensor(1.0)).item() == 0


gaps = st.lists(st.floats(0, 1e12), min_size=5, max_size=5)


@given(gaps, st.integers(0, 4))
def test_reward_7_lies_between_minus_k_and_0(values: list[float], missing: int) -> None:
    window = torch.tensor([values], dtype=torch.float64)
    window[:, :missing] = nan
    reward = window_reward(window, tensor(0.0)).item()
    assert -(5 - missing) * (1 + 1e-12) <= reward <= 0


@given(st.lists(st.floats(0, 100), min_size=5, max_size=5), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_rewards_6_and_7_do_not_see_a_f_plus_b(values: list[float], a: float, b: float) -> None:
    window, minimum, start = torch.tensor([values], dtype=torch.float64), tensor(-1.0), tensor(50.0)
    one, two = window_reward(window, minimum), window_reward(a * window + b, a * minimum + b)
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    one = start_reward(window[:, -1], start, minimum)
    torch.testing.assert_close(
        one, start_reward(a * window[:, -1] + b, a * start + b, a * minimum + b), rtol=1e-6, atol=0
    )


def test_the_return_of_a_path_is_the_sum_of_its_rewards() -> None:
    path = tensor(8.0, 4.0, 2.0, 1.0)[:, None]
    expected = -(4 / 6 + 2 / (14 / 3) + 1 / (7 / 3))  # windows 8 4 | 8 4 2 | 4 2 1
    assert episode_return(path, window=3).item() == pytest.approx(expected)
    assert episode_return(torch.ones(31, 1)).item() == -30
