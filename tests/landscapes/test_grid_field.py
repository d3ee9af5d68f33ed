"""Whole grids by one matrix product against the same surfaces through the points."""

from __future__ import annotations

import pytest
import torch

from rover.landscapes.prototypes import MODALITIES, Prototypes, sample_prototypes
from rover.navigation.grid import grid_offsets, grid_points

BATCH = 24


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grids(surfaces: Prototypes, width: float = 1.0, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Starts and skewed, turned grids around them."""
    g = generator(seed)
    center = surfaces.sample_starts(g).double()
    return center, width * torch.randn(len(center), 2, 2, generator=g, dtype=torch.float64)


def points(center: torch.Tensor, basis: torch.Tensor, grid_size: int) -> torch.Tensor:
    return grid_points(center, torch.ones_like(center[:, 0]), grid_size, basis)


@pytest.mark.parametrize("kinds", [MODALITIES, *((name,) for name in MODALITIES)], ids=str)
@pytest.mark.parametrize("grid_size", [2, 5, 15])
@pytest.mark.parametrize("width", [1e-6, 0.3, 20.0])
def test_grids_are_what_their_points_say(kinds: tuple[str, ...], grid_size: int, width: float) -> None:
    surfaces = sample_prototypes(BATCH, generator(), kinds, noise="mixed")
    center, basis = grids(surfaces, width)
    x, offsets = points(center, basis, grid_size), grid_offsets(grid_size)
    mean, std = surfaces.mean_and_std(x)
    # Nearly singular saddles multiply rounding by their weights, on either way.
    atol = 1e-12 * (1 + surfaces.weights.abs().amax(-1) + mean.abs().amax(-1))[:, None]
    off = surfaces.on_grid(center, basis, offsets) - mean
    assert (off.abs() <= atol).all()
    noisy = surfaces.on_grid(center, basis, offsets, generator(2))
    noise = torch.randn(mean.shape, generator=generator(2)).double()
    # The root of a small difference of numbers near 1, times the inverse of the correlation: half of the digits.
    far = 1e-6 * (surfaces.prior * (1 + surfaces.inverse.abs().amax((-1, -2)).sqrt()))[:, None]
    assert ((noisy - mean - std * noise).abs() <= 4 * far + atol).all()


def test_a_batch_of_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    surfaces = sample_prototypes(BATCH, generator())
    center, basis = grids(surfaces)
    whole = surfaces.on_grid(center, basis, grid_offsets(5), generator(3))
    monkeypatch.setattr("rover.landscapes.grid_field._BLOCK", 2 * 4 * 25)  # two saddles, eight others
    torch.testing.assert_close(surfaces.on_grid(center, basis, grid_offsets(5), generator(3)), whole)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e10])
def test_far_and_wide_grids_stay_within_the_surface(far: float) -> None:
    """Where exponents cancel beyond their digits they must not turn positive: a field stays within its weights."""
    surfaces = sample_prototypes(400, generator(), ("valley", "plateau"))
    center = far * torch.randn(400, 2, generator=generator(1), dtype=torch.float64)
    basis = torch.stack([-center / 7, center.flip(-1) / 50], -1)  # one point of the grid is the centre of the field
    values = surfaces.on_grid(center, basis, grid_offsets(15))
    assert values.isfinite().all()
    assert (values.abs() <= surfaces.weights[:, :1].abs() * (1 + 1e-8)).all()
    if far == 1e3:
        torch.testing.assert_close(values, surfaces.mean(points(center, basis, 15)), rtol=1e-6, atol=1e-6)
        single = surfaces.to(torch.float32).on_grid(center.float(), basis.float(), grid_offsets(15).float())
        torch.testing.assert_close(single.double(), values, rtol=1e-3, atol=1e-3)


def test_unsorted_instances_float32_and_gradients_go_through_the_points() -> None:
    surfaces = sample_prototypes(BATCH, generator())
    center, basis = grids(surfaces)
    offsets = grid_offsets(3)
    order = torch.randperm(BATCH, generator=generator(4))
    shuffled = surfaces.select(order)
    plain = surfaces.on_grid(center, basis, offsets)
    values = shuffled.on_grid(center[order], basis[order], offsets)
    torch.testing.assert_close(values, plain[order], rtol=1e-9, atol=1e-9)

    tame = sample_prototypes(BATCH, generator(), ("quadratic", "valley", "plateau"))
    expected = tame.on_grid(center, basis, offsets)
    single = tame.to(torch.float32).on_grid(center.float(), basis.float(), offsets.float())
    assert single.dtype == torch.float32
    assert ((single - expected).abs() <= 1e-4 + 1e-5 * expected.abs()).all()

    where = center.clone().requires_grad_()
    surfaces.on_grid(where, basis, offsets).sum().backward()
    assert where.grad is not None
    nearby = 1e-6 * torch.randn(BATCH, 2, generator=generator(5), dtype=torch.float64)
    after, before = (surfaces.on_grid(center + sign * nearby, basis, offsets).sum() for sign in (1, -1))
    torch.testing.assert_close(after - before, 2 * (where.grad * nearby).sum(), rtol=1e-4, atol=1e-9)


def test_what_moves_or_is_selected_is_arranged_anew() -> None:
    surfaces = sample_prototypes(BATCH, generator())
    center, basis = grids(surfaces)
    values = surfaces.on_grid(center, basis, grid_offsets(3))
    part = surfaces.select(slice(5, 20))
    torch.testing.assert_close(part.on_grid(center[5:20], basis[5:20], grid_offsets(3)), values[5:20])
    rounded = surfaces.to(torch.float32).to(torch.float64)
    again = rounded.on_grid(center, basis, grid_offsets(3))
    torch.testing.assert_close(again, rounded.mean(points(center, basis, 3)), rtol=1e-9, atol=1e-7)


def test_a_wrong_number_of_grids_is_told() -> None:
    surfaces = sample_prototypes(4, generator())
    with pytest.raises(ValueError, match="`center` must have shape"):
        surfaces.on_grid(torch.zeros(3, 2).double(), torch.zeros(3, 2, 2).double(), grid_offsets(3))
