"""The prototypical surfaces on which a rover is trained, F_train (section 3.2.1, appendix 6.1).

A batch mixes four modalities:

========== =================================================================================================
quadratic  ``|A x - b|^2``, A and b standard normal, A redrawn until its condition is at most 10 (Deviation D1)
valley     one centre at 0 with value U[-5, 0]; S has eigenvalues l ~ N+(10, 2) and rho l, rho ~ U[100, 200]
saddle     four centres, one a quadrant of [-1, 1]^2, opposite ones of like sign; eigenvalues N+(10, 2)
plateau    one centre at 0 with value -N+(5, 2); eigenvalues N+(10, 2)
========== =================================================================================================

Instances are kept sorted by the number of their centres where possible, so that the evaluation is three dense blocks
(no centre, one, four) without needless exponentials and without a loop over instances.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rover.landscapes.base import Landscape, observed
from rover.landscapes.certify import certify_minimum
from rover.landscapes.gaussian_field import (
    correlation,
    mean_of,
    prior_std,
    quadratic_form,
    solve_weights,
    std_of,
    triangular_root,
)
from rover.landscapes.grid_field import Rows, coefficients, evaluate

MODALITIES = ("quadratic", "valley", "saddle", "plateau")
"""The four kinds of surface, in the order of ``Prototypes.modality``."""

_NUM_CENTERS = (0, 1, 4, 1)
_MAX_CENTERS = 4
_CONDITION = 10.0
_BLOCK = 2**17
"""Numbers in one pass: they stay in the cache, and the system does not take their memory back after every pass."""


class Prototypes(Landscape):
    """B surfaces of mixed modality; build them with :func:`sample_prototypes`.

    Attributes:
        modality: ``(B,)`` int64, index into :data:`MODALITIES`.
        noise_scale: ``(B,)``, factor on the standard deviation of the noise; 1 is the conditional distribution of (12).
        factor: ``(B, 2, 2)``, A of the quadratics.
        centers, weights, inverse, whitener: the fields, see :mod:`rover.landscapes.gaussian_field`.
        root: ``(B, 3)``, the quadratic form of each instance (of quadratics: the value itself).
        prior: ``(B,)``, the noise far from every centre (fields) or everywhere (quadratics).
    """

    def __init__(
        self, modality: Tensor, factor: Tensor, centers: Tensor, values: Tensor, whitener: Tensor, prior: Tensor
    ) -> None:
        self.modality = modality
        self.factor = factor
        self.centers = centers
        self.whitener = whitener
        quadratic = (modality == MODALITIES.index("quadratic"))[:, None, None]
        self.root = triangular_root(torch.where(quadratic, factor.mT, math.sqrt(0.5) * whitener))
        self.weights = torch.zeros_like(values)
        self.inverse = values.new_zeros(*values.shape, values.shape[-1])
        for count, index in self._groups():
            if count:
                part = slice(None, count)
                weights, inverse = solve_weights(values[index, part], centers[index, part], self.root[index])
                self.weights[index, :count] = weights
                self.inverse[index, :count, :count] = inverse
        self.prior = prior
        self.noise_scale = torch.ones_like(prior)
        self.minimizer = centers[:, 0].clone()
        self.minimum = values[:, 0].clone()
        saddles = (modality == MODALITIES.index("saddle")).nonzero()[:, 0]
        if len(saddles):
            minimizer, minimum = certify_minimum(self.select(saddles))
            self.minimizer[saddles], self.minimum[saddles] = minimizer, minimum
        reach = 4 * torch.linalg.inv(self.whitener).square().sum((-1, -2)).sqrt()[:, None]
        self.lower, self.upper = self.minimizer - reach, self.minimizer + reach

    def _groups(self) -> list[tuple[int, Tensor | slice]]:
        """(number of centres, where) for each non-empty block; slices where the instances are sorted."""
        counts = torch.tensor(_NUM_CENTERS, device=self.modality.device)[self.modality]
        host = counts.tolist()
        ordered = all(a <= b for a, b in zip(host, host[1:], strict=False))
        groups: list[tuple[int, Tensor | slice]] = []
        for count in sorted(set(host)):
            if ordered:
                first = host.index(count)
                groups.append((count, slice(first, first + host.count(count))))
            else:
                groups.append((count, (counts == count).nonzero()[:, 0]))
        return groups

    def mean(self, points: Tensor) -> Tensor:
        """Noise-free values, see :class:`Landscape`."""
        return self._evaluate(points, with_std=False)[0]

    def noise_std(self, points: Tensor) -> Tensor:
        """Standard deviation of the conditional distribution (12), constant for quadratics: ``(B, P, 2) -> (B, P)``."""
        return self._evaluate(points, with_std=True)[1]

    def mean_and_std(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Both from the same exponentials."""
        return self._evaluate(points, with_std=True)

    def on_grid(
        self, center: Tensor, basis: Tensor, offsets: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """By one matrix product, see :mod:`rover.landscapes.grid_field`; through the points where that would not do.

        That is: where gradients are wanted, in less than float64, and for instances that are not sorted.
        """
        if center.shape != self.minimizer.shape:
            raise ValueError(f"`center` must have shape {tuple(self.minimizer.shape)}, got {tuple(center.shape)}")
        groups, rows = self._layout()
        ordered = [(count, index) for count, index in groups if isinstance(index, slice)]
        differentiable = torch.is_grad_enabled() and (center.requires_grad or basis.requires_grad)
        if not ordered or differentiable or center.dtype != torch.float64:
            return super().on_grid(center, basis, offsets, generator)
        scale = None if generator is None else self.prior * self.noise_scale
        coefficient = coefficients(rows, center, basis)
        mean, std = evaluate(ordered, coefficient, offsets, self.weights, self.inverse, scale)
        return mean if generator is None else observed(mean, std, generator)

    def _evaluate(self, points: Tensor, *, with_std: bool) -> tuple[Tensor, Tensor]:
        means, stds, order = [], [], []
        scale = self.prior * self.noise_scale
        for count, index in self._blocks(points.shape[1]):
            x = points[index]
            if count == 0:
                means.append(quadratic_form(x, self.minimizer[index][:, None], self.root[index])[:, 0])
                if with_std:
                    stds.append(scale[index, None].expand(means[-1].shape))
            else:
                phi = correlation(x, self.centers[index, :count], self.root[index])
                means.append(mean_of(phi, self.weights[index, :count]))
                if with_std:
                    stds.append(std_of(phi, self.inverse[index, :count, :count], scale[index]))
            order.append(index)
        mean = torch.cat(means)
        std = torch.cat(stds) if with_std else mean
        if order and isinstance(order[0], Tensor):
            back = torch.argsort(torch.cat([o for o in order if isinstance(o, Tensor)]))
            mean, std = mean[back], std[back]
        return mean, std

    def _blocks(self, num_points: int) -> Iterator[tuple[int, Tensor | slice]]:
        """The groups in pieces of at most `_BLOCK` numbers."""
        for count, index in self._layout()[0]:
            step = max(_BLOCK // (max(count, 1) * max(num_points, 1)), 1)
            if isinstance(index, slice):
                yield from ((count, slice(k, min(k + step, index.stop))) for k in range(index.start, index.stop, step))
            else:
                yield from ((count, part) for part in index.split(step))

    def _layout(self) -> tuple[list[tuple[int, Tensor | slice]], Rows]:
        """The groups, and the rows of :meth:`on_grid`: found once for a set of instances, which copies to the host."""
        if getattr(self, "_layout_of", None) is not self.centers:
            counts = torch.tensor(_NUM_CENTERS, device=self.modality.device)[self.modality].clamp(min=1)
            self._kept_layout = self._groups(), Rows.of(counts, self.centers, self.root)
            self._layout_of = self.centers
        return self._kept_layout

    def sample_starts(self, generator: torch.Generator) -> Tensor:
        """Start points "far enough from the optimum" (3.2.3): ``(B, 2)``.

        Quadratics start 2 to 8 units away from the minimiser; valleys and plateaus 1 to 2.5 length scales (Mahalanobis)
        from their centre, where they are nearly flat; saddles within 2 units of the saddle and at least one unit away
        from the minimiser.
        """
        device, dtype = self.minimizer.device, self.minimizer.dtype
        u = torch.rand(self.batch_size, 2, generator=generator, dtype=dtype, device=device)
        angle = 2 * math.pi * u[:, 0]
        unit = torch.stack([angle.cos(), angle.sin()], -1)
        radius = u[:, 1:]
        stretch = torch.linalg.inv(self.whitener.mT)  # x - c = W'^-1 z
        away = self.minimizer + (2 + 6 * radius) * unit
        whitened = self.centers[:, 0] + (((1 + 1.5 * radius) * unit)[:, None] @ stretch.mT)[:, 0]
        near = 2 * radius.sqrt() * unit
        escape = near - self.minimizer
        distance = escape.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        near = self.minimizer + escape * (1 / distance).clamp(min=1)
        kind = self.modality[:, None]
        result = torch.where(kind == 0, away, torch.where(kind == 2, near, whitened))
        return result


def sample_prototypes(
    batch_size: int,
    generator: torch.Generator,
    modalities: Sequence[str] = MODALITIES,
    dtype: torch.dtype = torch.float64,
    noise: str = "full",
) -> Prototypes:
    """Draw a balanced batch of F_train (every modality equally often, the first ones once more if it does not divide).

    Args:
        batch_size: number of instances B.
        generator: source of randomness; its device is the batch's.
        modalities: which kinds, names from :data:`MODALITIES`.
        dtype: floating-point type; the near-singular covariance of the saddles needs float64.
        noise: ``full`` (the conditional distribution), ``none``, or ``mixed`` (half of the instances noise-free, the
            others with a log-uniform factor in [0.01, 1]).
    """
    unknown = set(modalities) - set(MODALITIES)
    if unknown or not modalities:
        raise ValueError(f"`modalities` must be a non-empty subset of {MODALITIES}, got {tuple(modalities)}")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")
    device = generator.device
    kinds = sorted({MODALITIES.index(name) for name in modalities}, key=lambda kind: (_NUM_CENTERS[kind], kind))
    counts = [batch_size // len(kinds) + (i < batch_size % len(kinds)) for i in range(len(kinds))]
    modality = torch.repeat_interleave(torch.tensor(kinds, device=device), torch.tensor(counts, device=device))

    def rand(*shape: int) -> Tensor:
        return torch.rand(batch_size, *shape, generator=generator, dtype=dtype, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch_size, *shape, generator=generator, dtype=dtype, device=device)

    def positive_normal(
        mean: float,
    ) -> Tensor:  # N+(mean, var 2); both means lie > 3.5 std above 0: folding is exact enough
        return (mean + math.sqrt(2) * normal()).abs()

    quadratic, valley, saddle = (modality == kind for kind in range(3))
    factor = _well_conditioned(normal(2, 2), generator)
    offset = torch.linalg.solve(factor, normal(2))  # A^-1 b

    eigen = torch.stack([positive_normal(10.0), positive_normal(10.0)], -1)
    eigen[:, 1] = torch.where(valley, eigen[:, 0] * (100 + 100 * rand()), eigen[:, 1])
    phi = 2 * math.pi * rand()
    rotation = torch.stack([torch.stack([phi.cos(), -phi.sin()], -1), torch.stack([phi.sin(), phi.cos()], -1)], -2)
    whitener = rotation.mT / eigen.sqrt()[:, None, :]  # S = R' diag(l) R, S^-1 = W W' with W = R' diag(l^-1/2)

    quadrants = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=dtype, device=device)
    centers = torch.where(saddle[:, None, None], rand(_MAX_CENTERS, 2) * quadrants, 0.0)
    sign = torch.where(rand() < 0.5, 1.0, -1.0).to(dtype)[:, None] * quadrants.prod(-1)  # + - + -: opposite ones alike
    values = normal(_MAX_CENTERS).abs() * sign
    first = torch.where(valley, -5 * rand(), -positive_normal(5.0))
    values = torch.where(saddle[:, None], values, torch.where(quadratic, 0.0, first)[:, None])
    centers[:, 0] = torch.where(quadratic[:, None], offset, centers[:, 0])

    # Quadratics have no distribution to sample from: additive noise of 0.1 % to 3 % of |A|^2, the range on a unit disc.
    relative = 10 ** (-3 + 1.5 * rand())
    prior = torch.where(quadratic, relative * factor.square().sum((-1, -2)), prior_std(whitener))
    batch = Prototypes(modality, factor, centers, values, whitener, prior)
    if noise == "none":
        batch.noise_scale.zero_()
    elif noise == "mixed":
        u = rand(2)
        batch.noise_scale = torch.where(u[:, 0] < 0.5, 0.0, 10 ** (-2 * u[:, 1])).to(dtype)
    elif noise != "full":
        raise ValueError(f"`noise` must be full, mixed or none, got {noise!r}")
    return batch


def _well_conditioned(factor: Tensor, generator: torch.Generator) -> Tensor:
    """Redraw the matrices with condition above 10."""
    for _ in range(64):
        # s1^2 + s2^2 = |A|^2 and s1 s2 = |det A|: the condition k satisfies k + 1/k = |A|^2 / |det A|.
        spread = factor.square().sum((-1, -2)) / torch.linalg.det(factor).abs()
        bad = (spread > _CONDITION + 1 / _CONDITION).nonzero()[:, 0]
        if len(bad) == 0:
            return factor
        shape = (len(bad), 2, 2)
        factor[bad] = torch.randn(shape, generator=generator, dtype=factor.dtype, device=factor.device)
    raise RuntimeError("64 redraws left an ill-conditioned matrix: the generator is broken")
