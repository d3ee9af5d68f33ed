"""Losses against PyTorch's own cross-entropy, hand-computed numbers and angles from complex arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from rover.learning.losses import angle_error, cloning_loss, policy_gradient_loss, td_loss, td_target


def test_cloning_loss_is_binary_cross_entropy(generator: torch.Generator) -> None:
    y, a, b = (torch.randn(64, *shape, generator=generator).double() for shape in ((2,), (2,), (5, 2)))
    positive = binary_cross_entropy_with_logits((y * a).sum(-1), torch.ones(64).double())
    negative = binary_cross_entropy_with_logits((y[:, None] * b).sum(-1), torch.zeros(64, 5).double())
    torch.testing.assert_close(cloning_loss(y, a, b), positive + negative)


def test_cloning_loss_survives_huge_outputs() -> None:
    y = torch.tensor([[1e4, 0.0]], requires_grad=True)
    loss = cloning_loss(y, torch.tensor([[-1.0, 0.0]]), torch.tensor([[[1.0, 0.0]]]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert y.grad is not None and y.grad.isfinite().all()


def test_the_minimum_of_the_cloning_loss_points_along_the_teacher() -> None:
    angle = 2 * math.pi * torch.arange(720) / 720
    outputs = 3 * torch.stack([angle.cos(), angle.sin()], -1)
    teacher = torch.tensor([[math.cos(1.0), math.sin(1.0)]])
    spread = 1.0 + math.pi * (0.5 + (torch.arange(64) + 0.5) / 64)
    negatives = torch.stack([spread.cos(), spread.sin()], -1)[None]
    losses = torch.stack([cloning_loss(y[None], teacher, negatives) for y in outputs])
    assert angle[losses.argmin()].item() == pytest.approx(1.0, abs=0.01)


@given(st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi))
def test_angle_error_is_the_argument_of_a_quotient(first: float, second: float) -> None:
    a = torch.tensor([math.cos(first), math.sin(first)], dtype=torch.float64)
    b = torch.tensor([math.cos(second), math.sin(second)], dtype=torch.float64)
    expected = abs(np.angle(np.exp(1j * first) / np.exp(1j * second)))
    assert angle_error(a, b).item() == pytest.approx(expected, abs=1e-12)
    assert angle_error(a, b).item() == pytest.approx(angle_error(b, a).item(), abs=1e-12)


@pytest.mark.parametrize("small", [0.0, 1e-12, 1e-7, math.pi - 1e-7, math.pi])
def test_angle_error_is_exact_where_arccos_is_not(small: float) -> None:
    a = torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = torch.tensor([math.cos(small), math.sin(small)], dtype=torch.float64)
    assert angle_error(a, b).item() == pytest.approx(small, rel=1e-9, abs=1e-15)


def test_td_target_by_hand() -> None:
    rewards = torch.tensor([[-1.0, -2.0, -3.0]])
    values = torch.tensor([[-10.0, -20.0, -30.0]], requires_grad=True)
    target = td_target(rewards, values, gamma=0.5)
    assert target.tolist() == [[-6.0, -12.0, -3.0]]  # the last step is terminal
    assert not target.requires_grad


def test_td_loss_is_hubers() -> None:
    loss = td_loss(torch.tensor([[0.0, 0.5]]), torch.tensor([[3.0, 0.0]]))
    assert loss.item() == pytest.approx((2.5 + 0.125) / 2)


def test_policy_gradient_loss_by_hand() -> None:
    q = torch.tensor([[1.0, 3.0]], requires_grad=True)
    logits = torch.tensor([[[1.0, 2.0], [0.0, 1.0]]], requires_grad=True)
    loss = policy_gradient_loss(q, logits, penalty=0.1)
    loss.backward()
    assert loss.item() == pytest.approx(-2.0 + 0.1 * 6 / 4)
    assert q.grad is not None and q.grad.tolist() == [[-0.5, -0.5]]
    assert policy_gradient_loss(q, logits, penalty=0.0).item() == -2.0
