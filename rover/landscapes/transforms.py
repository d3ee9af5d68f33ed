"""New landscapes from old ones: rotated, shifted, rescaled, noisy copies; and one instance as a plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rover.landscapes.base import Landscape


class _Wrapped(Landscape):
    """A landscape that holds another one; `to` and `select` reach both."""

    base: Landscape

    def _map(self, fn: Callable[[Tensor], Tensor]) -> Any:
        new = super()._map(fn)
        new.base = self.base._map(fn)
        return new


class Transformed(_Wrapped):
    """``g(z) = value_scale * f(x) + value_shift`` with ``z = shift + scale * R x``, other numbers for each instance.

    Minimiser, minimum, start (if f has one) and noise are carried along. The box becomes the smallest axis-aligned box
    around the image of f's box. Its corners lie outside the image: where the minimum of f holds only inside its own box
    (`minimum_is_global` is False: McCormick), f is continued beyond it by reflection, so that it stays the minimum.
    """

    def __init__(
        self,
        base: Landscape,
        *,
        rotation: Tensor | None = None,
        shift: Tensor | None = None,
        scale: Tensor | None = None,
        value_scale: Tensor | None = None,
        value_shift: Tensor | None = None,
    ) -> None:
        """Wrap ``base``; what is not given stays as it is.

        Args:
            base: B instances in d dimensions.
            rotation: ``(B, d, d)`` orthogonal, R.
            shift: ``(B, d)``.
            scale: ``(B,)`` or ``(B, d)`` (one factor an axis of z), positive.
            value_scale: ``(B,)``, positive.
            value_shift: ``(B,)``.

        Raises:
            ValueError: if a shape does not fit, a scale is not positive or R is not orthogonal.
        """
        like, size, dim = base.minimizer, base.batch_size, base.dim
        eye = torch.eye(dim, dtype=like.dtype, device=like.device)
        self.base = base
        self.rotation = _checked("rotation", rotation, eye.expand(size, dim, dim))
        self.shift = _checked("shift", shift, torch.zeros_like(like))
        if scale is not None and scale.ndim == 1:
            scale = scale[:, None].expand(-1, dim)
        self.scale = _checked("scale", scale, torch.ones_like(like))
        self.value_scale = _checked("value_scale", value_scale, torch.ones_like(base.minimum))
        self.value_shift = _checked("value_shift", value_shift, torch.zeros_like(base.minimum))
        for name in ("scale", "value_scale"):
            smallest = getattr(self, name).min().item()
            if not smallest > 0:
                raise ValueError(f"`{name}` must be positive, got a smallest entry of {smallest}")
        error = (self.rotation @ self.rotation.mT - eye).abs().max().item()
        if error > (1e-8 if like.dtype == torch.float64 else 1e-4):
            raise ValueError(f"`rotation` must be orthogonal, but R R' differs from the identity by {error:.1e}")
        self.minimizer = self.forward(base.minimizer[:, None])[:, 0]
        self.minimum = self.value_scale * base.minimum + self.value_shift
        center = self.forward(0.5 * (base.lower + base.upper)[:, None])[:, 0]
        half = 0.5 * (base.upper - base.lower)
        reach = self.scale * (self.rotation.abs() @ half[..., None])[..., 0]
        self.lower, self.upper = center - reach, center + reach
        if isinstance(start := getattr(base, "start", None), Tensor):
            self.start = self.forward(start[:, None])[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        """From the coordinates of f to those of g: ``(B, P, d) -> (B, P, d)``."""
        return self.shift[:, None] + self.scale[:, None] * (x @ self.rotation.mT)

    def backward(self, z: Tensor) -> Tensor:
        """From the coordinates of g to those of f: ``(B, P, d) -> (B, P, d)``."""
        x = ((z - self.shift[:, None]) / self.scale[:, None]) @ self.rotation
        if getattr(self.base, "minimum_is_global", True):
            return x
        return _reflect(x, self.base.lower[:, None], self.base.upper[:, None])

    def mean(self, points: Tensor) -> Tensor:
        """``value_scale * f(x) + value_shift``."""
        return self.value_scale[:, None] * self.base.mean(self.backward(points)) + self.value_shift[:, None]

    def noise_std(self, points: Tensor) -> Tensor:
        """``value_scale`` times the noise of f."""
        return self.value_scale[:, None] * self.base.noise_std(self.backward(points))


class Noisy(_Wrapped):
    """``base`` with additive normal noise of constant standard deviation instead of its own."""

    def __init__(self, base: Landscape, std: Tensor) -> None:
        """Wrap ``base``; ``std`` of shape ``(B,)``, not negative."""
        self.base = base
        self.std = _checked("std", std, base.minimum)
        if not (self.std >= 0).all():
            raise ValueError(f"`std` must not be negative, got a smallest entry of {self.std.min().item()}")
        self.minimizer, self.minimum = base.minimizer, base.minimum
        self.lower, self.upper = base.lower, base.upper
        if isinstance(start := getattr(base, "start", None), Tensor):
            self.start = start

    def mean(self, points: Tensor) -> Tensor:
        """The mean of ``base``."""
        return self.base.mean(points)

    def noise_std(self, points: Tensor) -> Tensor:
        """``std``, everywhere."""
        return self.std[:, None].expand(points.shape[:-1])


def random_rotations(
    batch_size: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Uniformly distributed orthogonal matrices (reflections included), ``(batch_size, dim, dim)``.

    QR of a normal matrix with the signs fixed (Mezzadri 2007, https://arxiv.org/abs/math-ph/0609050).
    """
    gauss = torch.randn(batch_size, dim, dim, generator=generator, dtype=dtype, device=generator.device)
    q, r = torch.linalg.qr(gauss)
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


def as_objective(
    landscape: Landscape, index: int = 0, generator: torch.Generator | None = None
) -> Callable[[Any], Any]:
    """One instance as the batched objective that optimisers take: ``(m, d) -> (m,)``.

    NumPy in, float64 NumPy out; torch in, torch out (differentiable).

    Args:
        landscape: where from.
        index: which instance.
        generator: source of noise; without one the objective is noise-free.
    """
    if not -landscape.batch_size <= index < landscape.batch_size:
        raise IndexError(f"`index` must be below the {landscape.batch_size} instances, got {index}")
    index %= landscape.batch_size
    one = landscape.select(slice(index, index + 1))

    def objective(points: Any) -> Any:
        given = points if isinstance(points, Tensor) else np.asarray(points, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != one.dim:
            raise ValueError(f"`points` must have shape (m, {one.dim}), got {tuple(given.shape)}")
        if isinstance(given, Tensor):
            return one(given[None], generator)[0]
        x = torch.as_tensor(given, dtype=one.minimizer.dtype, device=one.minimizer.device)
        with torch.no_grad():
            values = one(x[None], generator)
        return values[0].cpu().numpy().astype(np.float64, copy=False)

    return objective


def _checked(name: str, value: Tensor | None, default: Tensor) -> Tensor:
    """``value`` in the type of ``default``, or ``default``."""
    if value is None:
        return default
    if value.shape != default.shape:
        raise ValueError(f"`{name}` must have shape {tuple(default.shape)}, got {tuple(value.shape)}")
    return value.to(default)


def _reflect(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Fold the space into a box, like between two mirrors; the identity inside."""
    width = upper - lower
    folded = lower + width - ((x - lower).remainder(2 * width) - width).abs()
    return torch.where((x >= lower) & (x <= upper), x, folded)
