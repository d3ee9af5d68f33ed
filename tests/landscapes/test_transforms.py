"""Transformed and noisy copies, and the plain-function view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rover.landscapes.multimodal import Schwefel226
from rover.landscapes.prototypes import sample_prototypes
from rover.landscapes.test_functions import TEST_FUNCTIONS, Beale, McCormick, Rosenbrock
from rover.landscapes.transforms import Noisy, Transformed, as_objective, random_rotations


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=gen(seed), dtype=torch.float64)


def test_hand_computed_value():
    """A quarter turn (x, y) -> (-y, x), doubled, shifted by (10, 20), values times 3 plus 7."""
    rotation = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
    g = Transformed(
        Rosenbrock(),
        rotation=rotation,
        scale=torch.tensor([2.0]),
        shift=torch.tensor([[10.0, 20.0]]),
        value_scale=torch.tensor([3.0]),
        value_shift=torch.tensor([7.0]),
    )
    # Rosenbrock at (0, 1) is 100 + 1; (0, 1) -> (-1, 0) -> (-2, 0) -> (8, 20)
    assert g(torch.tensor([[[8.0, 20.0]]], dtype=torch.float64)).item() == pytest.approx(3 * 101 + 7)
    assert g.minimizer.tolist() == [[8.0, 22.0]] and g.minimum.tolist() == [7.0]
    assert g.lower.tolist() == [[0.0, 10.0]] and g.upper.tolist() == [[20.0, 30.0]]
    assert g.start.tolist() == [[10 - 2 * 1.0, 20 + 2 * -1.2]]


@pytest.mark.parametrize("name", TEST_FUNCTIONS)
def test_values_follow_the_points(name):
    base = TEST_FUNCTIONS[name](6)
    g = Transformed(base, rotation=random_rotations(6, 2, gen()), shift=rand(6, 2), scale=0.1 + rand(6, 2, seed=1))
    x = base.lower[:, None] + (base.upper - base.lower)[:, None] * rand(6, 50, 2, seed=2)
    torch.testing.assert_close(g(g.forward(x)), base(x), rtol=1e-9, atol=1e-9)
    inside = (g.forward(x) >= g.lower[:, None] - 1e-9) & (g.forward(x) <= g.upper[:, None] + 1e-9)
    assert inside.all(), "the new box must hold the image of the old one"


def test_box_limited_functions_are_reflected_outside():
    """Without reflection the corners of a turned Schwefel box would lie below the certified minimum."""
    for base in (McCormick(64), Schwefel226(64)):
        g = Transformed(base, rotation=random_rotations(64, 2, gen()))
        points = g.lower[:, None] + (g.upper - g.lower)[:, None] * rand(64, 4000, 2)
        assert (g(points).min(-1).values >= g.minimum - 1e-12).all()
    assert (base(points @ g.rotation).min(-1).values < base.minimum - 10).any(), "the reflection is needed"
    across = torch.tensor([[[-1.5 - 0.3, 1.0]], [[-1.5 + 0.3, 1.0]]], dtype=torch.float64)
    mirror = Transformed(McCormick(2))(across)
    assert mirror[0].item() == pytest.approx(mirror[1].item(), rel=1e-12)


def test_rotations_are_orthogonal_and_uniform():
    q = random_rotations(4000, 3, gen())
    torch.testing.assert_close(q @ q.mT, torch.eye(3, dtype=torch.float64).expand_as(q), rtol=0, atol=1e-12)
    assert q.mean(0).abs().max() < 0.05  # no preferred direction
    assert (q[:, :, 0].square().mean(0) - 1 / 3).abs().max() < 0.02
    assert 0.45 < (torch.linalg.det(q) > 0).double().mean() < 0.55


def test_noise_scales_with_the_values_and_moves_with_the_points():
    base = sample_prototypes(8, gen())
    a = 1 + rand(8)
    g = Transformed(base, shift=rand(8, 2), value_scale=a)
    x = rand(8, 5, 2, seed=4)
    torch.testing.assert_close(g.noise_std(g.forward(x)), a[:, None] * base.noise_std(x), rtol=1e-6, atol=1e-9)


def test_noisy_has_the_standard_deviation_it_was_given():
    std = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64)
    g = Noisy(Beale(3), std)
    points = g.start[:, None].expand(3, 20_000, 2)
    noise = g(points, gen(1)) - g(points)
    assert noise[0].abs().max() == 0
    torch.testing.assert_close(noise.std(-1), std, rtol=0.03, atol=1e-12)
    assert (noise.mean(-1).abs() <= 4 * std / 20_000**0.5).all()
    with pytest.raises(ValueError, match="`std` must not be negative"):
        Noisy(Beale(), torch.tensor([-1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": torch.tensor([0.0])}, "`scale` must be positive"),
        ({"scale": torch.tensor([float("nan")])}, "`scale` must be positive"),
        ({"value_scale": torch.tensor([-1.0])}, "`value_scale` must be positive"),
        ({"rotation": torch.ones(1, 2, 2)}, "`rotation` must be orthogonal"),
        ({"shift": torch.zeros(2, 2)}, r"`shift` must have shape \(1, 2\), got \(2, 2\)"),
        ({"value_shift": torch.zeros(1, 1)}, r"`value_shift` must have shape \(1,\), got \(1, 1\)"),
    ],
)
def test_bad_transforms_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Transformed(Beale(), **options)


def test_moves_and_selects_with_its_base():
    g = Noisy(Transformed(Rosenbrock(4), shift=rand(4, 2)), torch.ones(4))
    half = g.select(torch.tensor([2])).to(torch.float32)
    assert half.minimizer.dtype == half.base.base.minimizer.dtype == torch.float32
    assert half(half.minimizer[:, None]).item() == pytest.approx(0, abs=1e-6)
    assert g.minimizer.dtype == torch.float64 and g.base.batch_size == 4


def test_objective_speaks_numpy_and_torch():
    base = Transformed(Beale(3), shift=rand(3, 2))
    f = as_objective(base, 2)
    points = np.random.default_rng(0).normal(size=(7, 2))
    values = f(points)
    assert isinstance(values, np.ndarray) and values.shape == (7,) and values.dtype == np.float64
    np.testing.assert_allclose(values, base(torch.as_tensor(points).expand(3, 7, 2))[2].numpy(), rtol=1e-12)
    x = torch.as_tensor(points).requires_grad_()
    assert torch.autograd.grad(f(x).sum(), x)[0].shape == (7, 2)
    np.testing.assert_array_equal(f(x).detach().numpy(), values)
    np.testing.assert_array_equal(as_objective(base, -1)(points), values)
    np.testing.assert_array_equal(f(points.tolist()), values)


def test_objective_repeats_its_noise_from_the_seed():
    base = Noisy(Beale(), torch.ones(1))
    points = np.zeros((5, 2))
    first, again = (as_objective(base, 0, gen(3)) for _ in range(2))
    np.testing.assert_array_equal(first(points), again(points))
    assert len(set(first(points))) == 5


@pytest.mark.parametrize("bad", [np.zeros(2), np.zeros((3, 3)), torch.zeros(1, 3, 2)])
def test_objective_refuses_wrong_shapes(bad):
    with pytest.raises(ValueError, match=r"`points` must have shape \(m, 2\)"):
        as_objective(Beale())(bad)
    with pytest.raises(IndexError, match="`index` must be below"):
        as_objective(Beale(), 1)
