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


def grids(hessians: torch.Tensor, thetas: torch.Tensor, pairs: torch.Tensor, n: int = 5):
    """What A rovers at ``thetas`` (A, d) see of ``x H x / 2``: their windows ``(m, A, 2, 2)``, values ``(m, A, n, n)``."""
    generator = torch.Generator().manual_seed(1)
    window = 0.1 * torch.randn(len(pairs), len(thetas), 2, 2, generator=generator, dtype=torch.float64)
    moves = grid_offsets(n) * 2 / (n - 1) @ window.mT  # (m, A, P, 2)
    x = thetas[:, None].repeat(len(pairs), 1, n * n, 1)
    for row, pair in enumerate(pairs):
        x[row][..., pair] += moves[row]
    return window, (0.5 * ((x @ hessians) * x).sum(-1)).unflatten(-1, (n, n))


def seen(hessian: torch.Tensor, theta: torch.Tensor, pairs: torch.Tensor):
    """A round of one rover on grids of different frames: the curvature, its gradient, and the pairs with their rows."""
    model, slots = Curvature(1, len(theta)), torch.arange(len(pairs))
    gradient = model.note(torch.tensor([0]), pairs, slots, *grids(hessian[None], theta[None], pairs))
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


def test_where_nothing_is_convex_the_step_is_the_scaled_gradient() -> None:
    hessian = torch.diag(torch.tensor([-1.0, -2.0, -4.0], dtype=torch.float64))
    theta, pairs = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64), AllPairs()(3, torch.Generator())
    model, gradient, slots = seen(hessian, theta, pairs)
    steps = model.steps(torch.tensor([0]), gradient, pairs, slots)[0]
    torch.testing.assert_close(steps, theta.expand_as(steps))  # -g / |h| = theta: up the hill's other side, downhill


def test_rovers_do_not_mix_and_remember_what_they_do_not_see_again() -> None:
    hessians = torch.stack([spd(4, 10, seed) for seed in (1, 2)])
    thetas = torch.tensor([[1.0, -2.0, 0.5, 3.0], [-1.0, 0.2, 2.0, 0.7]], dtype=torch.float64)
    pairs, both = AllPairs()(4, torch.Generator()), torch.tensor([1, 2])
    slots, model = torch.arange(len(pairs)), Curvature(3, 4)
    first, second = pairs.T
    window, values = grids(hessians, thetas, pairs)
    gradient = model.note(both, pairs, slots, window, values)
    torch.testing.assert_close(gradient, (hessians @ thetas[..., None])[..., 0])
    newton = model.steps(both, gradient, pairs, slots)[:, -1]
    torch.testing.assert_close(newton, -thetas, rtol=1e-4, atol=1e-6)

    values = values * 2  # another surface, of which the second of them sees nothing in the first slice
    values[0, 1] = float("nan")
    gradient = model.note(both, pairs[:1], slots[:1], window[:1], values[:1])
    assert gradient[0, pairs[0]].isfinite().all() and gradient[1].isnan().all()
    doubled = torch.ones(len(pairs), dtype=torch.float64)
    doubled[0] = 2
    torch.testing.assert_close(model.coupling[1], doubled * hessians[0][first, second])
    torch.testing.assert_close(model.coupling[2], hessians[1][first, second])
    doubled = torch.ones(4, dtype=torch.float64).index_fill(0, pairs[0], 2)
    torch.testing.assert_close(model.diagonal[1], doubled * hessians[0].diagonal())
    torch.testing.assert_close(model.diagonal[2], hessians[1].diagonal())
    assert not model.diagonal[0].any() and not model.coupling[0].any(), "the one that was not active"

    model.forget(1)
    assert not model.diagonal[1].any() and not model.coupling[1].any() and model.diagonal[2].all()


@pytest.mark.parametrize(("dim", "slices"), [(6, AllPairs()), (20, Partners(1))])
def test_ill_conditioned_bowls_in_any_direction(dim: int, slices) -> None:
    """Without the model 2e-3 and 1e1 are left."""
    hessian, x0 = spd(dim, 1e4).numpy(), np.linspace(-1, 1, dim)
    result = rover.minimize(
        lambda x: ((x @ hessian) * x).sum(-1), x0, batched=True, policy="grid5", slices=slices, maxiter=100, fatol=0.0
    )
    assert result.fun < 1e-12
