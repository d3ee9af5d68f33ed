"""F_train against scikit-learn's Gaussian process, finite differences, dense grids and the text of appendix 6.1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rover.landscapes.gaussian_field import prior_std
from rover.landscapes.prototypes import MODALITIES, sample_prototypes

NUM_CENTERS = {"valley": 1, "saddle": 4, "plateau": 1}


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(count, kind=None, seed=0, **options):
    return sample_prototypes(count, gen(seed), MODALITIES if kind is None else (kind,), **options)


def covariance(batch, i):
    """S of instance i, from the whitener W with S^-1 = W W'."""
    return torch.linalg.inv(batch.whitener[i] @ batch.whitener[i].mT)


def oracle(batch, i, points):
    """Mean and standard deviation of scikit-learn's Gaussian process, conditioned as in (12)."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    s = covariance(batch, i)
    eigen, basis = torch.linalg.eigh(s)
    count = NUM_CENTERS[MODALITIES[batch.modality[i]]]
    centers = batch.centers[i, :count]
    values = batch.mean(batch.centers)[i, :count]
    # an anisotropic RBF on coordinates along the principal axes of S is the Mahalanobis kernel (11)
    kernel = ConstantKernel(1 / math.sqrt(torch.linalg.det(2 * math.pi * s).item()), "fixed") * RBF(
        eigen.sqrt().numpy(), "fixed"
    )
    process = GaussianProcessRegressor(kernel, alpha=1e-12 * kernel.k1.constant_value, optimizer=None)
    process.fit((centers @ basis).numpy(), values.numpy())
    return process.predict((points @ basis).numpy(), return_std=True), kernel.k1.constant_value


@pytest.mark.parametrize("kind", ["valley", "saddle", "plateau"])
@pytest.mark.filterwarnings("ignore:Predicted variances smaller than 0")
def test_field_is_scikit_learns_gaussian_process(kind):
    batch = sample(24, kind)
    points = 8 * torch.randn(24, 40, 2, generator=gen(1), dtype=torch.float64)
    mean, std = batch.mean_and_std(points)
    for i in range(24):
        (expected_mean, expected_std), prior = oracle(batch, i, points[i])
        assert np.abs(mean[i].numpy() - expected_mean).max() <= 1e-6 * max(1, np.abs(expected_mean).max())
        assert np.abs(std[i].numpy() ** 2 - expected_std**2).max() <= 1e-6 * prior


def test_nearly_singular_saddles_against_extended_precision():
    mpmath = pytest.importorskip("mpmath")
    batch = sample(24, "saddle")
    points = 4 * torch.randn(24, 5, 2, generator=gen(2), dtype=torch.float64)
    mean, std = batch.mean_and_std(points)
    with mpmath.workdps(40):
        for i in range(24):
            precision = mpmath.matrix((batch.whitener[i] @ batch.whitener[i].mT).tolist())

            def k(a, b, precision=precision):
                d = mpmath.matrix(a) - mpmath.matrix(b)
                return mpmath.exp(-(d.T * precision * d)[0] / 2)

            c = batch.centers[i].tolist()
            gram = mpmath.matrix([[k(a, b) for b in c] for a in c])
            # the values at the centres, recovered from the weights: the oracle then conditions on them afresh
            values = gram * mpmath.matrix(batch.weights[i].tolist())
            weights = mpmath.lu_solve(gram, values)
            for j, x in enumerate(points[i].tolist()):
                row = mpmath.matrix([k(x, b) for b in c])
                expected = float((row.T * weights)[0])
                variance = float(1 - (row.T * mpmath.lu_solve(gram, row))[0]) * batch.prior[i].item() ** 2
                scale = max(1.0, batch.weights[i].abs().max().item() * 1e-8)
                assert abs(mean[i, j].item() - expected) <= 1e-6 * scale
                assert abs(std[i, j].item() ** 2 - variance) <= 1e-6


@pytest.mark.parametrize("kind", ["valley", "saddle", "plateau"])
def test_noise_vanishes_at_the_centres_and_is_the_prior_far_away(kind):
    batch = sample(16, kind)
    count = NUM_CENTERS[kind]
    prior = 1 / torch.stack([torch.linalg.det(2 * math.pi * covariance(batch, i)) for i in range(16)]) ** 0.25
    torch.testing.assert_close(batch.prior, prior, rtol=1e-9, atol=0)
    torch.testing.assert_close(batch.prior, prior_std(batch.whitener), rtol=1e-12, atol=0)
    at_centers = batch.noise_std(batch.centers)[:, :count]
    assert (at_centers <= 1e-3 * batch.prior[:, None]).all()
    far = batch.noise_std(torch.full((16, 1, 2), 1e4, dtype=torch.float64))
    torch.testing.assert_close(far[:, 0], prior)
    expected = {"valley": 0.036, "saddle": 0.13, "plateau": 0.13}[kind]
    assert batch.prior.median().item() == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("kind", MODALITIES)
def test_noise_has_the_stated_moments_and_is_independent(kind):
    batch = sample(6, kind)
    points = batch.sample_starts(gen(1))[:, None].expand(6, 40_000, 2).contiguous()
    std = batch.noise_std(points)[:, 0]
    noise = batch(points, gen(2)) - batch(points)
    assert (std > 0).all()
    torch.testing.assert_close(noise.std(-1), std, rtol=0.02, atol=0)
    assert (noise.mean(-1).abs() < 4.5 * std / 200).all()
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean(-1) / std.square()
    assert (neighbours.abs() < 4.5 / 200).all(), "each point has its own draw"
    assert ((noise / std[:, None]).pow(4).mean(-1) - 3).abs().max() < 0.3, "normal"


@pytest.mark.parametrize("kind", MODALITIES)
def test_derivatives_agree_with_finite_differences(kind):
    batch = sample(12, kind)
    points = (batch.sample_starts(gen(3))[:, None] + torch.zeros(12, 1, 2)).requires_grad_()
    (gradient,) = torch.autograd.grad(batch.mean(points).sum(), points, create_graph=True)
    hessian = torch.stack(
        [torch.autograd.grad(gradient[..., a].sum(), points, retain_graph=True)[0] for a in (0, 1)], -2
    )
    for axis in (0, 1):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-4
        plus, minus = points.detach() + step, points.detach() - step
        slope = (batch.mean(plus) - batch.mean(minus)) / 2e-4
        torch.testing.assert_close(slope, gradient[..., axis].detach(), rtol=1e-4, atol=1e-6)
        plus, minus = plus.requires_grad_(), minus.requires_grad_()
        bend = (
            torch.autograd.grad(batch.mean(plus).sum(), plus)[0]
            - torch.autograd.grad(batch.mean(minus).sum(), minus)[0]
        ) / 2e-4
        torch.testing.assert_close(bend, hessian[..., axis, :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MODALITIES)
def test_no_lower_value_on_a_dense_grid(kind):
    batch = sample(60, kind, seed=4)
    u = torch.linspace(0, 1, 161, dtype=torch.float64)
    for half in (batch.lower, batch.upper), (batch.minimizer - 0.01, batch.minimizer + 0.01):
        low, high = half
        points = low[:, None] + (high - low)[:, None] * torch.cartesian_prod(u, u)
        lowest = batch.mean(points).min(-1).values
        # a saddle's weights reach 1e6 and cancel: rounding is relative to them
        slack = 1e-12 * (1 + batch.weights.abs().amax(-1))
        assert (lowest >= batch.minimum - slack).all()
    values = batch.mean(batch.minimizer[:, None])[:, 0]
    assert ((values - batch.minimum).abs() <= 1e-12 * (1 + batch.weights.abs().amax(-1))).all()


def test_saddles_have_a_saddle_between_their_centres():
    """Opposite centres of like sign: the field crosses zero in between, and a stationary point there is indefinite."""
    batch = sample(200, "saddle", seed=5)
    quadrants = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    assert (batch.centers.sign() == quadrants).all() and (batch.centers.abs() <= 1).all()
    values = batch.mean(batch.centers)
    assert (values[:, 0] * values[:, 2] > 0).all() and (values[:, 1] * values[:, 3] > 0).all()
    assert (values[:, 0] * values[:, 1] < 0).all()
    share = (values[:, 0] > 0).double().mean().item()
    assert 0.35 < share < 0.65, "either diagonal may be the low one"


def test_distributions_are_those_of_the_appendix():
    count = 4000
    truncated = (10.0, math.sqrt(2))
    for kind in ("valley", "saddle", "plateau"):
        batch = sample(count if kind != "saddle" else 500, kind, seed=6)
        eigen = torch.stack([torch.linalg.eigvalsh(covariance(batch, i)) for i in range(batch.batch_size)])  # ascending
        if kind == "valley":
            assert eigen[:, 0].mean().item() == pytest.approx(truncated[0], abs=0.1)
            assert eigen[:, 0].std().item() == pytest.approx(truncated[1], rel=0.05)
            ratio = eigen[:, 1] / eigen[:, 0]
            assert 99.9 < ratio.min() < 102 and 198 < ratio.max() < 200.1
            assert ratio.mean().item() == pytest.approx(150, abs=2)
            assert -5 <= batch.minimum.min() < -4.9 and -0.1 < batch.minimum.max() <= 0
            assert batch.minimum.mean().item() == pytest.approx(-2.5, abs=0.1)
        else:
            assert eigen.mean().item() == pytest.approx(truncated[0], abs=0.15)
            assert eigen.std().item() == pytest.approx(truncated[1], rel=0.08)
        if kind == "plateau":
            assert batch.minimum.mean().item() == pytest.approx(-5, abs=0.1)
            assert batch.minimum.std().item() == pytest.approx(math.sqrt(2), rel=0.05)
            assert (batch.minimum < 0).all()
        # no preferred orientation: the first principal axis is uniform on the half circle
        angle = 2 * torch.atan2(batch.whitener[:, 1, 0], batch.whitener[:, 0, 0])
        assert math.hypot(angle.cos().mean().item(), angle.sin().mean().item()) < 4 / math.sqrt(batch.batch_size)


def test_quadratics_are_what_the_deviation_says():
    batch = sample(3000, "quadratic", seed=7)
    singular = torch.linalg.svdvals(batch.factor)
    assert (singular[:, 0] <= 10 * singular[:, 1]).all()
    assert (batch.minimum == 0).all()
    x = torch.randn(3000, 1, 2, generator=gen(8), dtype=torch.float64)
    b = batch.factor @ batch.minimizer[..., None]  # |A x - b|^2
    expected = (batch.factor @ x.mT - b).square().sum((-1, -2))
    torch.testing.assert_close(batch.mean(x)[:, 0], expected, rtol=1e-9, atol=1e-9)
    assert b.mean().abs() < 0.06 and b.std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("count", [4, 7, 403])
def test_mixture_is_balanced(count):
    batch = sample(count)
    counts = torch.bincount(batch.modality, minlength=4)
    assert counts.sum() == count and counts.max() - counts.min() <= 1
    two = sample_prototypes(10, gen(), ("plateau", "quadratic"))
    assert torch.bincount(two.modality, minlength=4).tolist() == [5, 0, 0, 5]


def test_mixed_batch_equals_its_parts_in_any_order():
    batch = sample(41, seed=9)
    points = torch.randn(41, 13, 2, generator=gen(1), dtype=torch.float64)
    mean, std = batch.mean_and_std(points)
    order = torch.randperm(41, generator=gen(2))
    shuffled = batch.select(order)
    for got, expected in zip(shuffled.mean_and_std(points[order]), (mean[order], std[order]), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert (shuffled.modality == batch.modality[order]).all()
    for i in range(41):
        one = batch.select(slice(i, i + 1))
        torch.testing.assert_close(one.mean(points[i : i + 1])[0], mean[i], rtol=1e-12, atol=1e-12)
    twice = shuffled.select(order).select(torch.tensor([5, 5, 0]))
    pick = order[order[torch.tensor([5, 5, 0])]]
    torch.testing.assert_close(twice.mean(points[pick]), mean[pick], rtol=1e-12, atol=1e-12)


def test_to_keeps_integers_and_moves_the_rest():
    batch = sample(8).to(torch.float32)
    assert batch.modality.dtype == torch.int64 and batch.minimizer.dtype == batch.weights.dtype == torch.float32
    values = batch(batch.minimizer[:, None], gen())
    assert values.dtype == torch.float32


@pytest.mark.parametrize("kind", MODALITIES)
def test_starts_are_far_from_the_optimum_but_see_something(kind):
    batch = sample(2000, kind, seed=10)
    starts = batch.sample_starts(gen(11))
    assert starts.shape == (2000, 2) and starts.dtype == torch.float64
    assert (starts == batch.sample_starts(gen(11))).all()
    distance = (starts - batch.minimizer).norm(dim=-1)
    assert (distance > 0.99).all()
    gap = batch.mean(starts[:, None])[:, 0] - batch.minimum
    if kind == "quadratic":
        assert distance.min() >= 2 and distance.max() <= 8
    elif kind == "saddle":
        assert (starts.norm(dim=-1) <= 2 + 1e-9).double().mean() > 0.9
    else:
        mahalanobis = ((starts - batch.centers[:, 0])[:, None] @ batch.whitener)[:, 0].norm(dim=-1)
        assert mahalanobis.min() >= 1 - 1e-9 and mahalanobis.max() <= 2.5 + 1e-9
        relative = gap / batch.minimum.abs()
        assert (relative > 1 - math.exp(-0.5) - 1e-9).all() and (relative < 1).all()
    assert (gap > 0).all()


def test_noise_can_be_switched_off_and_mixed():
    quiet = sample(12, noise="none")
    points = torch.randn(12, 4, 2, generator=gen(), dtype=torch.float64)
    assert (quiet.noise_std(points) == 0).all() and (quiet(points, gen(1)) == quiet(points)).all()
    loud, mixed = sample(400), sample(400, noise="mixed")
    x = torch.full((400, 1, 2), 500.0, dtype=torch.float64)
    factor = (mixed.noise_std(x) / loud.noise_std(x))[:, 0]
    assert 0.4 < (factor == 0).double().mean() < 0.6
    assert ((factor == 0) | ((factor >= 0.01 - 1e-9) & (factor <= 1))).all()
    torch.testing.assert_close(mixed.mean(points.repeat(34, 1, 1)[:400]), loud.mean(points.repeat(34, 1, 1)[:400]))


def test_same_seed_same_surfaces_and_global_state_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = sample(16, seed=1), sample(16, seed=1), sample(16, seed=2)
    assert (torch.get_rng_state() == before).all()
    assert (first.minimizer == again.minimizer).all() and (first.minimum == again.minimum).all()
    assert (first.minimizer != other.minimizer).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"modalities": ("cliff",)}, "`modalities` must be a non-empty subset"),
        ({"modalities": ()}, "`modalities` must be a non-empty subset"),
        ({"noise": "loud"}, "`noise` must be full, mixed or none, got 'loud'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sample_prototypes(**{"batch_size": 4, "generator": gen(), **options})


def test_in_a_mixture_every_instance_starts_around_its_own_centre():
    batch = sample_prototypes(2000, gen(12))
    starts = batch.sample_starts(gen(13))
    mahalanobis = ((starts - batch.centers[:, 0])[:, None] @ batch.whitener)[:, 0].norm(dim=-1)
    trenches = mahalanobis[(batch.modality == 1) | (batch.modality == 3)]
    assert (trenches >= 1 - 1e-9).all() and (trenches <= 2.5 + 1e-9).all()
    away = (starts - batch.minimizer).norm(dim=-1)
    assert (away[batch.modality == 0] >= 2 - 1e-9).all() and (away[batch.modality == 0] <= 8 + 1e-9).all()
