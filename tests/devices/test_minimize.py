"""``minimize`` and its relatives where the objective lives on a GPU: the rover stays on the CPU, the points travel."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rover
from rover.optimize import BlockPartners, module_objective
from rover.policy import Policy
from tests.optimize.conftest import make_policy

on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])


@pytest.fixture
def policy() -> Policy:
    return make_policy()


def data_on(device: str) -> tuple[Tensor, Tensor]:
    inputs = torch.linspace(-1, 1, 30, dtype=torch.float64).view(10, 3).sin()
    return inputs.to(device), (torch.arange(10) % 2).to(device)


def net_on(device: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(device, dtype)


@on_each_device
@pytest.mark.parametrize("dim", [2, 5])
def test_a_batched_torch_objective_sees_points_on_its_device(device: str, dim: int, policy: Policy) -> None:
    center = torch.linspace(-1, 1, dim, dtype=torch.float64, device=device)
    seen = set()

    def f(points: Tensor) -> Tensor:
        seen.add((points.device.type, points.dtype))
        return (points - center).square().sum(-1)

    x0 = torch.full((dim,), 3.0, device=device)
    result = rover.minimize(f, x0, batched=True, policy=policy, maxiter=30, seed=0)
    assert seen == {(device, torch.float64)}
    assert isinstance(result.x, np.ndarray) and result.fun < float(f(x0[None].double())[0])
    assert result.fun == pytest.approx(float(f(torch.tensor(result.x, device=device)[None])[0]))


@on_each_device
def test_a_device_leads_to_the_same_place(device: str, policy: Policy) -> None:
    """Squares and sums of two numbers are rounded alike everywhere."""

    def f(points: Tensor) -> Tensor:
        return points[:, 0].square() + (points[:, 1] - 1).square()

    found = [
        rover.minimize(f, torch.tensor([3.0, 2.0], device=where), batched=True, policy=policy, maxiter=20, seed=1)
        for where in ("cpu", device)
    ]
    assert np.array_equal(found[0].x, found[1].x) and found[0].fun == found[1].fun


@on_each_device
def test_values_of_one_point_may_come_from_a_device(device: str, policy: Policy) -> None:
    def f(x: np.ndarray) -> Tensor:
        return torch.tensor(x, device=device).square().sum()

    result = rover.minimize(f, torch.tensor([3.0, 2.0], device=device), policy=policy, maxiter=10)
    assert result.fun < 13


@on_each_device
def test_ask_and_tell_take_a_device_s_values(device: str, policy: Policy) -> None:
    opt = rover.Optimizer(torch.tensor([3.0, 2.0], device=device), policy=policy, maxiter=8)
    while not opt.stop():
        points = opt.ask()
        opt.tell(points, torch.tensor(points, device=device).square().sum(-1))
    assert opt.result.fun < 13


@on_each_device
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_module_on_a_device_is_an_objective(device: str, chunk_size: int | None, policy: Policy) -> None:
    net, here = net_on(device), net_on("cpu")
    inputs, labels = data_on(device)
    f = module_objective(net, lambda model: F.cross_entropy(model(inputs), labels), chunk_size)
    other = module_objective(here, lambda model: F.cross_entropy(model(inputs.cpu()), labels.cpu()))
    points = f.x0 + np.random.default_rng(0).normal(size=(7, len(f.x0)))
    np.testing.assert_allclose(f(points), other(points), rtol=1e-9)
    there = f(torch.tensor(points, device=device))
    assert isinstance(there, Tensor) and there.device.type == device
    result = rover.minimize(f, f.x0, batched=True, policy=policy, slices=BlockPartners(1, f.blocks), maxiter=8)
    f.write(result.x)
    assert all(p.device.type == device for p in net.parameters())
    assert F.cross_entropy(net(inputs), labels).item() == pytest.approx(result.fun, rel=1e-9)


@on_each_device
def test_a_module_in_half_precision_is_an_objective(device: str, policy: Policy) -> None:
    """The values are coarse, and still numbers."""
    net = net_on(device, torch.bfloat16)
    inputs, labels = data_on(device)
    f = module_objective(net, lambda model: F.cross_entropy(model(inputs.bfloat16()).float(), labels))
    result = rover.minimize(f, f.x0, batched=True, policy=policy, slices=BlockPartners(1, f.blocks), maxiter=5)
    assert result.fun <= f(f.x0[None])[0]


@on_each_device
def test_the_torch_optimiser_moves_parameters_on_a_device(device: str, policy: Policy) -> None:
    net = net_on(device, torch.float32)
    inputs, labels = data_on(device)

    def closure() -> Tensor:
        return F.cross_entropy(net(inputs.float()), labels)

    before = closure().item()
    optimizer = rover.RoverDescent(net.parameters(), policy=policy, seed=0)
    for _ in range(4):
        loss = optimizer.step(closure)
    assert float(loss) < before
    assert all(p.device.type == device for p in net.parameters())
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    here = copy.deepcopy(net).cpu()
    again = rover.RoverDescent(here.parameters(), policy=policy, seed=0)
    again.load_state_dict(state)
    assert again.best.fun == optimizer.best.fun and np.array_equal(again.best.x, optimizer.best.x)
    again.step(lambda: F.cross_entropy(here(inputs.cpu().float()), labels.cpu()))


@on_each_device
def test_a_policy_saved_on_a_device_is_one_of_the_cpu(device: str, policy: Policy, tmp_path) -> None:
    grid = torch.rand(6, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = policy.direction(grid)
    copy.deepcopy(policy).to(device).save(tmp_path / "policy.safetensors")
    loaded = rover.load(tmp_path / "policy.safetensors")
    assert all(p.device.type == "cpu" for p in loaded.parameters())
    torch.testing.assert_close(loaded.direction(grid), expected)


@pytest.mark.parametrize("batched", [True, False])
def test_an_objective_in_bfloat16(batched: bool, policy: Policy) -> None:
    def bowl(x: Tensor) -> Tensor:
        return (torch.as_tensor(x) ** 2).sum(-1).to(torch.bfloat16)

    start = torch.ones(2, dtype=torch.bfloat16)
    result = rover.minimize(bowl, start, batched=batched, policy=policy, maxiter=5)
    assert result.nit == 5 and np.isfinite(result.fun)


@on_each_device
def test_a_policy_elsewhere_or_in_double_precision_is_run_as_it_was_trained(device: str, policy: Policy) -> None:
    other = copy.deepcopy(policy).to(device, torch.float64)
    found = [
        rover.minimize(lambda x: (x**2).sum(-1), [1.0, 1.0], batched=True, policy=one, maxiter=5)
        for one in (policy, other)
    ]
    assert found[0].fun == found[1].fun
    assert next(other.parameters()).dtype == torch.float64  # nobody's policy is changed
