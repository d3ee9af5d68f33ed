"""One contract for every landscape: whoever adds a surface adds one line to `MAKERS`."""

from __future__ import annotations

import pytest
import torch

from rover.landscapes.base import Landscape
from rover.landscapes.multimodal import MULTIMODAL
from rover.landscapes.prototypes import MODALITIES, sample_prototypes
from rover.landscapes.test_functions import TEST_FUNCTIONS, McCormick, Rosenbrock
from rover.landscapes.transforms import Noisy, Transformed, random_rotations
from rover.landscapes.unimodal import UNIMODAL, Quadratic


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transformed(base: Landscape, seed: int = 0) -> Transformed:
    g = generator(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=g, dtype=torch.float64).to(base.minimum.dtype)

    b, d = base.batch_size, base.dim
    return Transformed(
        base,
        rotation=random_rotations(b, d, g, dtype=base.minimum.dtype),
        shift=4 * rand(b, d) - 2,
        scale=10 ** (2 * rand(b) - 1),
        value_scale=10 ** (2 * rand(b) - 1),
        value_shift=rand(b) - 0.5,
    )


MAKERS = {cls.name: cls for cls in (*TEST_FUNCTIONS.values(), *UNIMODAL, *MULTIMODAL)}
MAKERS["quadratic"] = lambda b, dtype: Quadratic(b, condition=1e3, dtype=dtype)
for kind in MODALITIES:
    MAKERS[f"prototype-{kind}"] = lambda b, dtype, kind=kind: sample_prototypes(b, generator(), (kind,)).to(dtype)
MAKERS["prototypes"] = lambda b, dtype: sample_prototypes(b, generator()).to(dtype)
MAKERS["transformed"] = lambda b, dtype: transformed(Rosenbrock(b, dtype=dtype))
MAKERS["transformed-box"] = lambda b, dtype: transformed(McCormick(b, dtype=dtype))
MAKERS["transformed-prototypes"] = lambda b, dtype: transformed(sample_prototypes(b, generator()).to(dtype))
MAKERS["noisy"] = lambda b, dtype: Noisy(Rosenbrock(b, dtype=dtype), torch.full((b,), 0.1, dtype=dtype))

every_landscape = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
# float32 cannot hold the near-singular covariance of the saddles: their weights reach 1e5 and cancel.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def scale_of(landscape: Landscape) -> torch.Tensor:
    """Spread of the values over the box, the unit in which errors are judged: (B,)."""
    u = torch.rand(landscape.batch_size, 512, landscape.dim, generator=generator(9), dtype=torch.float64)
    box = (landscape.upper - landscape.lower)[:, None]
    return (landscape(landscape.lower[:, None] + box * u.to(box)) - landscape.minimum[:, None]).abs().mean(-1)


@every_landscape
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 5])
def test_certificate(make, dtype, batch):
    landscape = make(batch, dtype=dtype)
    assert landscape.batch_size == batch
    assert landscape.minimizer.shape == landscape.lower.shape == landscape.upper.shape == (batch, landscape.dim)
    assert landscape.minimum.shape == (batch,)
    assert {getattr(landscape, n).dtype for n in ("minimizer", "minimum", "lower", "upper")} == {dtype}
    assert (landscape.lower <= landscape.minimizer).all() and (landscape.minimizer <= landscape.upper).all()
    start = getattr(landscape, "start", None)
    if start is not None:
        assert ((landscape.lower <= start) & (start <= landscape.upper)).all()
    values = landscape(landscape.minimizer[:, None])
    assert values.shape == (batch, 1) and values.dtype == dtype
    error = (values[:, 0] - landscape.minimum).abs()
    magnitude = torch.maximum(scale_of(landscape), landscape.minimum.abs())
    assert (error <= TOLERANCE[dtype] * magnitude).all()


@every_landscape
@pytest.mark.parametrize("batch", [1, 3])
def test_shapes_and_gradient_at_the_minimizer(make, batch):
    landscape = make(batch, dtype=torch.float64)
    points = landscape.minimizer[:, None].repeat(1, 2, 1).requires_grad_()
    values = landscape.mean(points)
    assert values.shape == landscape.noise_std(points).shape == (batch, 2)
    (gradient,) = torch.autograd.grad(values.sum(), points)
    assert gradient.isfinite().all()
    if getattr(landscape, "smooth", True):
        unit = scale_of(landscape)[:, None, None] / (landscape.upper - landscape.lower)[:, None]
        assert (gradient.abs() <= 1e-7 * unit.clamp(min=1e-12)).all()


@every_landscape
def test_minimum_is_not_undercut_in_the_box(make):
    landscape = make(4, dtype=torch.float64)
    u = torch.rand(4, 20_000, landscape.dim, generator=generator(3), dtype=torch.float64)
    values = landscape(landscape.lower[:, None] + (landscape.upper - landscape.lower)[:, None] * u)
    near = landscape(landscape.minimizer[:, None] + (landscape.upper - landscape.lower)[:, None] * 1e-3 * (u - 0.5))
    slack = 1e-12 * torch.maximum(scale_of(landscape), landscape.minimum.abs())
    assert (values.min(-1).values >= landscape.minimum - slack).all()
    assert (near.min(-1).values >= landscape.minimum - slack).all()


@every_landscape
def test_instances_are_independent_of_the_batch(make):
    landscape = make(4, dtype=torch.float64)
    u = torch.rand(4, 7, landscape.dim, generator=generator(5), dtype=torch.float64)
    points = landscape.lower[:, None] + (landscape.upper - landscape.lower)[:, None] * u
    values = landscape(points)
    index = torch.tensor([3, 0])
    torch.testing.assert_close(landscape.select(index)(points[index]), values[index], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(landscape.select(slice(1, 2))(points[1:2]), values[1:2], rtol=1e-12, atol=1e-12)
    assert (landscape.select(index).minimizer == landscape.minimizer[index]).all()
    assert landscape.batch_size == 4, "`select` must not change the original"
    permuted = torch.tensor([6, 5, 4, 3, 2, 1, 0])
    torch.testing.assert_close(landscape(points[:, permuted]), values[:, permuted], rtol=1e-12, atol=1e-12)


@every_landscape
def test_grids_are_what_their_points_say(make):
    landscape = make(3, dtype=torch.float64)
    center = (landscape.lower + landscape.upper) / 2
    basis = 0.1 * (landscape.upper - landscape.lower)[..., None] * torch.tensor([[1.0, -0.5]], dtype=torch.float64)
    basis[:, 0] *= -0.3
    offsets = torch.cartesian_prod(*2 * [torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)])
    points = center[:, None] + offsets @ basis.mT
    unit = scale_of(landscape)[:, None]
    torch.testing.assert_close(landscape.on_grid(center, basis, offsets) / unit, landscape(points) / unit)
    noisy = landscape.on_grid(center, basis, offsets, generator(1))
    torch.testing.assert_close(noisy / unit, landscape(points, generator(1)) / unit, rtol=1e-6, atol=1e-6)


@every_landscape
def test_noise_is_the_generators(make):
    landscape = make(2, dtype=torch.float64)
    points = landscape.minimizer[:, None] + 0.1
    before = torch.get_rng_state()
    first, again, other = (landscape(points, generator(s)) for s in (1, 1, 2))
    assert (torch.get_rng_state() == before).all(), "the global generator must not be touched"
    assert (first == again).all()
    noisy = landscape.noise_std(points) > 0
    assert ((first != other) == noisy).all()
    assert (landscape(points) == landscape.mean(points)).all()


@every_landscape
def test_wrong_shapes_are_named(make):
    landscape = make(2, dtype=torch.float64)
    for bad in (torch.zeros(2, landscape.dim), torch.zeros(3, 1, landscape.dim), torch.zeros(2, 1, landscape.dim + 1)):
        with pytest.raises(ValueError, match=rf"`points` must have shape \(2, P, {landscape.dim}\)"):
            landscape(bad.double())


@every_landscape
def test_derivatives_agree_with_finite_differences(make):
    landscape = make(2, dtype=torch.float64)
    width = (landscape.upper - landscape.lower)[:, None]
    u = torch.rand(2, 16, landscape.dim, generator=generator(11), dtype=torch.float64)
    points = (landscape.lower[:, None] + width * (0.1 + 0.8 * u)).requires_grad_()
    (gradient,) = torch.autograd.grad(landscape.mean(points).sum(), points)
    for axis in range(landscape.dim):
        step = torch.zeros_like(width)
        step[..., axis] = 1e-6 * width[..., axis]
        with torch.no_grad():
            difference = (landscape(points + step) - landscape(points - step)) / (2 * step[..., axis])
        unit = gradient.abs().amax((1, 2))[:, None] + 1e-12
        # creases and terraces: a central difference may straddle one, so one point in eight may disagree
        wrong = (difference - gradient[..., axis]).abs() > 1e-5 * unit + 1e-9 * scale_of(landscape)[
            :, None
        ] / step.max()
        assert wrong.float().mean() <= 0.125
