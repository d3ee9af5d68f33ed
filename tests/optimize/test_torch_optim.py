"""``rover.RoverDescent``: PyTorch's optimiser interface without gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rover
from rover.policy import Policy


def make(policy: Policy, **options: Any) -> tuple[nn.Parameter, rover.RoverDescent]:
    x = nn.Parameter(torch.tensor([3.0, 3.0]))
    return x, rover.RoverDescent([x], policy=policy, **options)


def loss_of(x: Tensor) -> Tensor:
    return (x[0] - 1) ** 2 + 3 * (x[1] + 2) ** 2


def test_a_step_is_a_round_of_the_closure(policy: Policy) -> None:
    x, optimizer = make(policy)
    assert isinstance(optimizer, torch.optim.Optimizer)
    calls = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(x)
        calls.append(x.detach().clone())
        loss.backward()  # allowed, and not looked at
        return loss

    losses = [optimizer.step(closure) for _ in range(12)]
    assert len(calls) == optimizer.result.nfev and optimizer.result.nit == 12
    assert all(isinstance(loss, Tensor) for loss in losses)
    assert all(a >= b for a, b in zip(losses, losses[1:], strict=False)) and losses[-1] < loss_of(torch.full((2,), 3.0))
    assert losses[-1] == pytest.approx(float(loss_of(x.detach())))  # the best parameters are in place
    assert float(losses[-1]) == pytest.approx(min(float(loss_of(point)) for point in calls))


def test_it_is_the_same_optimiser(policy: Policy) -> None:
    x, optimizer = make(policy, initial_step=0.5, initial_resolution=0.25)
    for _ in range(6):
        optimizer.step(lambda: loss_of(x.double()))
    result = rover.minimize(
        lambda p: float(loss_of(torch.tensor(p).float().double())), [3.0, 3.0],
        policy=policy, initial_step=0.5, initial_resolution=0.25, maxiter=6,
    )  # fmt: skip
    assert torch.equal(x.detach(), torch.tensor(result.x).float())


def test_modules_groups_and_a_callback_rate(policy: Policy) -> None:
    torch.manual_seed(0)
    model, data = nn.Linear(3, 2), torch.randn(20, 3)
    optimizer = rover.RoverDescent([{"params": [model.weight]}, {"params": [model.bias]}], policy=policy, bounds=None)

    def closure() -> Tensor:
        return (model(data) - 1).square().mean()

    first = closure().item()
    for _ in range(6):
        last = optimizer.step(closure)
    assert float(last) < first and float(last) == pytest.approx(closure().item(), rel=1e-5)


def test_state_dict_goes_on(policy: Policy) -> None:
    x, optimizer = make(policy)
    for _ in range(4):
        optimizer.step(lambda: loss_of(x))
    state, place = optimizer.state_dict(), x.detach().clone()
    for _ in range(4):
        optimizer.step(lambda: loss_of(x))
    y, again = make(policy)
    again.load_state_dict(state)
    y.data.copy_(place)
    for _ in range(4):
        again.step(lambda: loss_of(y))
    assert torch.equal(x, y)


def test_an_error_leaves_the_parameters_as_they_were(policy: Policy) -> None:
    x, optimizer = make(policy)
    optimizer.step(lambda: loss_of(x))
    before, calls = x.detach().clone(), [0]

    def closure() -> Tensor:
        calls[0] += 1
        if calls[0] == 7:
            raise KeyError("mine")
        return loss_of(x)

    with pytest.raises(KeyError, match="mine"):
        optimizer.step(closure)
    assert torch.equal(x, before)
    optimizer.step(lambda: loss_of(x))
    assert optimizer.result.nit == 2


def test_after_the_end_it_stands_at_the_best(policy: Policy) -> None:
    x, optimizer = make(policy, maxiter=3)
    for _ in range(3):
        last = optimizer.step(lambda: loss_of(x))
    assert optimizer.step(lambda: loss_of(x)) == last and optimizer.result.nit == 3


def test_nothing_finite(policy: Policy) -> None:
    x, optimizer = make(policy)
    assert math.isnan(float(optimizer.step(lambda: x.sum() * math.nan)))
    assert torch.equal(x.detach(), torch.full((2,), 3.0)) and not optimizer.result.success


def test_errors(policy: Policy) -> None:
    x, optimizer = make(policy)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step()
    with pytest.raises(ValueError, match="one number"):
        optimizer.step(lambda: x)
    with pytest.raises(ValueError, match="empty"):
        rover.RoverDescent([], policy=policy)
    with pytest.raises(ValueError, match="floating-point"):
        rover.RoverDescent([torch.ones(3, dtype=torch.int64)], policy=policy)
    with pytest.raises(ValueError, match="did you mean `maxiter`"):
        rover.RoverDescent([x], policy=policy, maxitr=3)
    with pytest.raises(ValueError, match="state_dict"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
