"""Modules as objectives, and as blocks of slices."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rover
from rover.optimize import BlockPartners, module_objective


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


DATA = torch.linspace(-1, 1, 30, dtype=torch.float64).view(10, 3).sin()
LABELS = torch.arange(10) % 2


def loss(model):
    return F.cross_entropy(model(DATA), LABELS)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_batch_of_parameters_is_the_module_once_for_each(net, chunk_size):
    f = module_objective(net, loss, chunk_size)
    points = f.x0 + np.random.default_rng(0).normal(size=(7, len(f.x0)))
    values = f(points)
    assert values.dtype == np.float64 and f.blocks == [12, 4, 8, 2]
    for point, value in zip(points, values, strict=True):
        one = copy.deepcopy(net)
        nn.utils.vector_to_parameters(torch.from_numpy(point), one.parameters())
        assert value == pytest.approx(loss(one).item(), rel=1e-12)
    in_torch = f(torch.from_numpy(points))
    assert isinstance(in_torch, torch.Tensor) and torch.equal(in_torch, torch.from_numpy(values))


def test_a_module_is_optimised_layer_by_layer(net, policy):
    f = module_objective(net, loss)
    before = loss(net).item()
    strategy = BlockPartners(1, f.blocks)
    result = rover.minimize(f, f.x0, batched=True, policy=policy, slices=strategy, maxiter=12)
    assert result.fun < before
    assert loss(net).item() == before  # only `write` touches the module
    f.write(result.x)
    assert loss(net).item() == pytest.approx(result.fun, rel=1e-12)


def test_the_torch_optimiser_takes_the_tensors_as_blocks(net, policy):
    pairs = []

    class Watched(BlockPartners):
        def __call__(self, dim, generator):
            pairs.append(super().__call__(dim, generator))
            return pairs[-1]

    sizes = [p.numel() for p in net.parameters()]
    optimizer = rover.RoverDescent(net.parameters(), policy=policy, slices=Watched(1, sizes))
    plain = rover.RoverDescent(copy.deepcopy(net).parameters(), policy=policy)
    losses = [float(optimizer.step(lambda: loss(net))) for _ in range(5)]
    assert losses[-1] < float(losses[0]) and losses == sorted(losses, reverse=True)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    assert all((owner[p[:, 0]] == owner[p[:, 1]]).all() for p in pairs)
    assert isinstance(plain._options["slices"], BlockPartners)  # without being told


def test_a_module_without_parameters_is_refused():
    with pytest.raises(ValueError, match="Tanh has no parameters"):
        module_objective(nn.Tanh(), loss)
    with pytest.raises(ValueError, match="no parameters"):
        rover.RoverDescent(nn.Tanh().parameters())
    with pytest.raises(ValueError, match="no numbers"):
        rover.RoverDescent([torch.zeros(0, requires_grad=True)])


def test_blocks_that_are_not_the_modules_are_refused(net, policy):
    f = module_objective(net, loss)
    for blocks in ([12, 4], f.blocks + [3]):
        with pytest.raises(ValueError, match="`blocks` must cover every axis once"):
            rover.minimize(f, f.x0, batched=True, policy=policy, slices=BlockPartners(1, blocks))
