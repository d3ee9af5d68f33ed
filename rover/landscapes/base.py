"""What a landscape is: B functions of d variables, evaluated together.

A landscape is *data* (tensors with a leading batch dimension) and one formula, :meth:`Landscape.mean`. Everything else
(noise, moving to a device, taking a sub-batch) is shared here, so that a new surface is a few lines.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

L = TypeVar("L", bound="Landscape")


class Landscape(ABC):
    """B instances of a function R^d -> R with a known minimum.

    Attributes:
        minimizer: ``(B, d)``, a global minimiser of each instance (inside its box).
        minimum: ``(B,)``, the noise-free value there.
        lower, upper: ``(B, d)``, the box in which the instance is judged.
    """

    minimizer: Tensor
    minimum: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def batch_size(self) -> int:
        """Number of instances B."""
        return self.minimizer.shape[0]

    @property
    def dim(self) -> int:
        """Number of variables d."""
        return self.minimizer.shape[-1]

    @abstractmethod
    def mean(self, points: Tensor) -> Tensor:
        """Noise-free values, differentiable: ``(B, P, d) -> (B, P)``."""

    def noise_std(self, points: Tensor) -> Tensor:
        """Standard deviation of one noisy evaluation: ``(B, P, d) -> (B, P)``; zero unless a landscape says otherwise."""
        return points.new_zeros(points.shape[:-1])

    def mean_and_std(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Both at once, for landscapes in which they share work."""
        return self.mean(points), self.noise_std(points)

    def __call__(self, points: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Evaluate: ``(B, P, d) -> (B, P)``.

        Args:
            points: where, P points for each instance.
            generator: the source of noise; without one the evaluation is noise-free.
        """
        if points.ndim != 3 or points.shape[0] != self.batch_size or points.shape[-1] != self.dim:
            expected = f"({self.batch_size}, P, {self.dim})"
            raise ValueError(f"`points` must have shape {expected}, got {tuple(points.shape)}")
        if generator is None:
            return self.mean(points)
        return observed(*self.mean_and_std(points), generator)

    def on_grid(
        self, center: Tensor, basis: Tensor, offsets: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Evaluate on one grid of offsets, moved and stretched for each instance: at ``center + basis o``.

        A landscape that knows a faster way than through the points overrides this.

        Args:
            center: ``(B, d)``.
            basis: ``(B, d, k)``, the grid's axes as columns.
            offsets: ``(P, k)``.
            generator: the source of noise; without one the evaluation is noise-free.

        Returns:
            ``(B, P)``, equal up to rounding to what evaluation at the points gives.
        """
        return self((center[..., None] + basis @ offsets.mT).mT, generator)

    def _map(self: L, fn: Callable[[Tensor], Tensor]) -> L:
        new = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(new, name, fn(value))
        return new

    def to(self: L, *args, **kwargs) -> L:
        """A copy on another device or in another floating-point type (integer tensors keep theirs)."""

        def move(value: Tensor) -> Tensor:
            if value.is_floating_point():
                return value.to(*args, **kwargs)
            kept = {k: v for k, v in kwargs.items() if k != "dtype"}
            return value.to(*[a for a in args if not isinstance(a, torch.dtype)], **kept)

        return self._map(move)

    def select(self: L, index: Tensor | slice) -> L:
        """The sub-batch at ``index`` (anything that indexes the leading dimension)."""
        return self._map(lambda value: value[index])


def observed(mean: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """One noisy evaluation each; overwrites `mean` where autograd allows it."""
    # Drawn in float32, which is five times faster and as normal as anybody can tell.
    noise = torch.randn(mean.shape, generator=generator, device=mean.device).to(mean.dtype)
    return mean.addcmul_(std, noise) if not mean.requires_grad else mean + std * noise
