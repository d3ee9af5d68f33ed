"""The development suite: classic functions, none of them in F_test, randomly rotated, shifted and scaled, with noise.

Architectures, ranges, horizons and checkpoints are chosen on its *tuning* half. Its *evaluation* half has other
instances of the same functions (other random transforms), and also the functions of :data:`HELD_OUT`, which the
tuning half lacks.

An instance is ``g(z) = a f(x) + b``, ``z = c + s R x``: R a uniform rotation or reflection, the scales s and a
log-uniform in ``[1e-6, 1e6]``, the shift c up to two box widths, the offset b up to ten gap scales, either way. The
box has the size of f's box turned by R, but lies so that the minimiser is at a random place of its middle 60 %, and
not within 10 % of its centre: a probe at the centre finds nothing. The start is uniform in the box, at least an
eighth of its diagonal away from the minimiser.

Two scales make instances comparable:

* ``gap_scale``: the median of ``g - minimum`` over 4096 uniform points of the box. A target of 1e-3 is solved when
  ``g - minimum <= 1e-3 * gap_scale``. Targets run from 1e2 to 1e-8 (:data:`TARGETS`).
* ``local_range``: the interquartile range of g over 1024 uniform points of the ellipsoid around the start whose
  semi-axes are 10 % of the box's widths, but at least 1 % of ``gap_scale`` (plains). Noise of ``noise_rel = 0.1`` is
  normal with standard deviation ``0.1 * local_range``, everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rover.landscapes.analytic import AnalyticFunction
from rover.landscapes.base import Landscape
from rover.landscapes.multimodal import MULTIMODAL
from rover.landscapes.transforms import Noisy, Transformed, as_objective, random_rotations
from rover.landscapes.unimodal import UNIMODAL, Quadratic

TARGETS: tuple[float, ...] = tuple(10.0**-k for k in range(-2, 9))
"""Relative gaps 1e2, 1e1, ..., 1e-8."""

HELD_OUT = frozenset(
    {"freudenstein_roth", "sharp_ridge", "well", "griewank", "michalewicz", "alpine", "schaffer_4", "deckkers_aarts"}
)
"""Functions that appear in the evaluation half only."""

Split = Literal["tuning", "evaluation"]
_CONDITIONS = {"quadratic_round": (0.0, 1.0), "quadratic_moderate": (1.0, 3.0), "quadratic_ill": (3.0, 6.0)}  # log10


@dataclass(frozen=True)
class SuiteProblem:
    """One instance of the suite.

    Attributes:
        name: function and number, like ``leon/3``.
        function: name of the function.
        landscape: B = 1, noisy if evaluated with a generator and ``noise_rel > 0``.
        start: ``(d,)`` float64, in the box.
        gap_scale: unit of the targets, positive.
        local_range: unit of the noise, positive.
        noise_rel: standard deviation of the noise, in units of ``local_range``.
        categories: what makes it hard, see :class:`AnalyticFunction`.
    """

    name: str
    function: str
    landscape: Landscape
    start: np.ndarray
    gap_scale: float
    local_range: float
    noise_rel: float
    categories: tuple[str, ...]

    @property
    def lower(self) -> np.ndarray:
        """Lower corner of the box, ``(d,)``."""
        return self.landscape.lower[0].numpy()

    @property
    def upper(self) -> np.ndarray:
        """Upper corner of the box, ``(d,)``."""
        return self.landscape.upper[0].numpy()

    @property
    def minimum(self) -> float:
        """The noise-free minimum."""
        return self.landscape.minimum.item()

    def objective(self, seed: int | None = None) -> Callable[[Any], Any]:
        """The batched objective ``(m, d) -> (m,)``; the same seed repeats the same noise, no seed is noise-free."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return as_objective(self.landscape, 0, generator)

    def gap(self, values: np.ndarray) -> np.ndarray:
        """Noise-free values as relative gaps, ``(value - minimum) / gap_scale``, not below 0 (rounding)."""
        return np.maximum(np.asarray(values, dtype=np.float64) - self.minimum, 0.0) / self.gap_scale


def function_names(split: Split) -> tuple[str, ...]:
    """The functions of one half, in a fixed order."""
    names = (*_CONDITIONS, *(cls.name for cls in (*UNIMODAL, *MULTIMODAL)))
    return tuple(name for name in names if split == "evaluation" or name not in HELD_OUT)


def suite(
    split: Split,
    *,
    seed: int = 0,
    instances: int = 5,
    noise_rel: float = 0.0,
    functions: Sequence[str] | None = None,
) -> list[SuiteProblem]:
    """Build one half of the suite; the same arguments give the same problems.

    An instance depends on the seed, the half, its function and its number alone, so that a subset of functions, more
    instances or another noise leave the others as they are.

    Args:
        split: ``tuning`` (may be looked at) or ``evaluation`` (for the final count).
        seed: any integer, not negative.
        instances: how many of each function.
        noise_rel: standard deviation of the noise in units of each problem's local range.
        functions: a subset of :func:`function_names`.

    Raises:
        ValueError: for an unknown half or function, or a number out of range.
    """
    if split not in ("tuning", "evaluation"):
        raise ValueError(f"`split` must be 'tuning' or 'evaluation', got {split!r}")
    if instances < 1 or noise_rel < 0:
        raise ValueError(f"`instances` must be positive and `noise_rel` not negative, got {instances} and {noise_rel}")
    known = function_names(split)
    names = known if functions is None else tuple(functions)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"`functions` must be among those of the {split} half, {known}; got {unknown}")
    return [_instance(name, k, split, seed, noise_rel) for name in names for k in range(instances)]


def _instance(name: str, number: int, split: Split, seed: int, noise_rel: float) -> SuiteProblem:
    entropy = (seed, zlib.crc32(split.encode()), zlib.crc32(name.encode()), number)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    base, categories = _base(name, uniform)
    scale = 10 ** uniform(-6, 6, 1)
    widths = (base.upper - base.lower).max(-1).values
    parts = {
        "rotation": random_rotations(1, base.dim, generator),
        "scale": scale,
        "shift": 2 * (scale * widths)[:, None] * uniform(-1, 1, 1, base.dim),
    }
    shape = Transformed(base, **parts)  # where things are; how high they are follows
    lower, upper = _box(shape, uniform)
    shape.lower, shape.upper = lower, upper
    start = _start(shape, uniform)

    values = shape(lower + (upper - lower) * uniform(0, 1, 1, 4096, base.dim))
    gap_scale = (values - shape.minimum[:, None]).median(-1).values
    value_scale = 10 ** uniform(-6, 6, 1)
    landscape = Transformed(
        base, **parts, value_scale=value_scale, value_shift=10 * value_scale * gap_scale * uniform(-1, 1, 1)
    )
    landscape.lower, landscape.upper, landscape.start = lower, upper, start
    local_range = _local_range(landscape, uniform).maximum(0.01 * value_scale * gap_scale)
    return SuiteProblem(
        name=f"{name}/{number}",
        function=name,
        landscape=Noisy(landscape, noise_rel * local_range),
        start=start[0].numpy(),
        gap_scale=(value_scale * gap_scale).item(),
        local_range=local_range.item(),
        noise_rel=noise_rel,
        categories=categories,
    )


def _base(name: str, uniform: Callable[..., Tensor]) -> tuple[AnalyticFunction, tuple[str, ...]]:
    """The untransformed function and its categories."""
    if name in _CONDITIONS:
        low, high = _CONDITIONS[name]
        ill = ("ill-conditioned",) if low >= 3 else ()
        return Quadratic(condition=10 ** uniform(low, high, 1)), Quadratic.categories + ill
    cls = next(cls for cls in (*UNIMODAL, *MULTIMODAL) if cls.name == name)
    return cls(), cls.categories


def _box(landscape: Landscape, uniform: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """A box of the same size with the minimiser in its middle 60 %, but not within 10 % of the centre on every axis."""
    width = landscape.upper - landscape.lower
    place = uniform(0.2, 0.8, 64, landscape.dim)
    place = place[((place - 0.5).abs() > 0.1).any(-1)][:1]
    lower = landscape.minimizer - place * width
    return lower, lower + width


def _start(landscape: Landscape, uniform: Callable[..., Tensor]) -> Tensor:
    """Uniform in the box, at least an eighth of its diagonal away from the minimiser: ``(1, d)``."""
    width = landscape.upper - landscape.lower
    points = landscape.lower + width * uniform(0, 1, 256, landscape.dim)
    far = ((points - landscape.minimizer) / width).norm(dim=-1) > landscape.dim**0.5 / 8
    return points[far][:1]


def _local_range(landscape: Transformed, uniform: Callable[..., Tensor]) -> Tensor:
    """Interquartile range over an ellipsoid of 10 % of the box's widths around the start: ``(1,)``."""
    ball = uniform(-1, 1, 1, 4096, landscape.dim)
    ball = ball[ball.norm(dim=-1) <= 1][None, :1024]
    values = landscape(landscape.start[:, None] + 0.1 * (landscape.upper - landscape.lower)[:, None] * ball)
    low, high = values.quantile(torch.tensor([0.25, 0.75], dtype=values.dtype), dim=-1)
    return high - low
