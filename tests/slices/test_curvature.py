"""Newton's step from slices: exact where the couplings are known, harmless where they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rover
from rover.navigation.grid import grid_offsets
from rover.optimize.curvature import ITERATES, Curvature
from rover.optimize.slices import AllPairs, Partners

DIM = 6


def spd(dim: int, condition: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
    return basis @ torch.diag(torch.logspace(0, np.log10(condition), dim, dtype=torch.float64)) @ basis.T


def seen(hessian: torch.Tensor, theta: torch.Tensor, pairs: torch.Tensor, n: int = 5):
    """A round of one rover on grids of different frames: the curvature, its gradient, and the pairs with their rows."""
    generator = torch.Generator().manual_seed(1)
    window = 0.1 * torch.randn(len(pairs), 1, 2, 2, generator=generator, dtype=torch.float64)
    offsets = grid_offsets(n) * 2 / (n - 1)
    grids = (offsets @ window.mT).squeeze(1)  # (m, P, 2)
    x = theta.repeat(len(pairs), n * n, 1)
    for row, pair in enumerate(pairs):
        x[row][:, pair] += grids[row]
    values = 0.5 * ((x @ hessian) * x).sum(-1)
    model, slots = Curvature(1, len(theta)), torch.arange(len(pairs))
    gradient = model.note(torch.tensor([0]), pairs, slots, window, values.view(-1, 1, n, n))
    return model, gradient, slots


def test_all_pairs_know_gradient_hessian_and_newtons_step() -> None:
    hessian, theta = spd(DIM, 1e4), torch.linspace(-1, 2, DIM, dtype=torch.float64)
    pairs = AllPairs()(DIM, torch.Generator())
    model, gradient, slots = seen(hessian, theta, pairs)
    torch.testing.assert_close(gradient[0], hessian @ theta, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.diagonal[0], hessian.diagonal(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.coupling[0], hessian[pairs[:, 0], pairs[:, 1]], rtol=1e-6, atol=1e-4)
    steps = model.steps(torch.tensor([0]), gradient, pairs, slots)
    assert steps.shape == (1, len(ITERATES), DIM)
    after = ((theta + steps[0]) @ hessian * (theta + steps[0])).sum(-1)
    assert (after.diff() <= 1e-9 * after[0]).all() and after[-1] < 1e-6 * (theta @ hessian @ theta)


def test_axes_that_were_not_seen_stay() -> None:
    pairs = torch.tensor([[0, 1], [2, 3]])
    model, gradient, slots = seen(spd(DIM, 100), torch.ones(DIM, dtype=torch.float64), pairs)
    assert gradient[0, :4].isfinite().all() and gradient[0, 4:].isnan().all()
    steps = model.steps(torch.tensor([0]), gradient, pairs, slots)
    assert steps.isfinite().all() and (steps[..., 4:] == 0).all() and (steps[..., :4] != 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1e300])
def test_nonsense_makes_no_steps_that_are_not_finite(value: float) -> None:
    pairs, slots = AllPairs()(3, torch.Generator()), torch.arange(3)
    model, window = Curvature(1, 3), torch.eye(2, dtype=torch.float64).expand(3, 1, 2, 2)
    gradient = model.note(torch.tensor([0]), pairs, slots, window, torch.full((3, 1, 5, 5), value, dtype=torch.float64))
    assert model.steps(torch.tensor([0]), gradient, pairs, slots).isfinite().all()


def test_negative_curvature_is_descended() -> None:
    hessian = torch.diag(torch.tensor([-1.0, -2.0, 3.0], dtype=torch.float64))
    theta = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    pairs = AllPairs()(3, torch.Generator())
    model, gradient, slots = seen(hessian, theta, pairs)
    steps = model.steps(torch.tensor([0]), gradient, pairs, slots)[0]
    assert (steps @ gradient[0] < 0).all()


@pytest.mark.parametrize(("dim", "slices"), [(6, AllPairs()), (20, Partners(1))])
def test_ill_conditioned_bowls_in_any_direction(dim: int, slices) -> None:
    """Without the model 2e-3 and 1e1 are left."""
    hessian, x0 = spd(dim, 1e4).numpy(), np.linspace(-1, 1, dim)
    result = rover.minimize(
        lambda x: ((x @ hessian) * x).sum(-1), x0, batched=True, policy="grid5", slices=slices, maxiter=100, fatol=0.0
    )
    assert result.fun < 1e-12
