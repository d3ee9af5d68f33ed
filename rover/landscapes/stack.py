"""Several landscapes side by side as one, so that rovers on different functions step together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rover.landscapes.base import Landscape


class Stack(Landscape):
    """The instances of all parts, one part after the other; a loop over parts, not over instances.

    Args:
        parts: landscapes of the same dimension and device.

    Raises:
        ValueError: if there is none, or their dimensions differ.
    """

    def __init__(self, parts: Sequence[Landscape]) -> None:
        if len({part.dim for part in parts}) != 1:
            raise ValueError(f"`parts` must be landscapes of one dimension, got {[part.dim for part in parts]}")
        self.parts = list(parts)
        for name in ("minimizer", "minimum", "lower", "upper"):
            setattr(self, name, torch.cat([getattr(part, name) for part in parts]))

    def _split(self, points: Tensor) -> list[tuple[Landscape, Tensor]]:
        sizes = [part.batch_size for part in self.parts]
        return list(zip(self.parts, points.split(sizes), strict=True))

    def mean(self, points: Tensor) -> Tensor:
        """Noise-free values of each part."""
        return torch.cat([part.mean(x) for part, x in self._split(points)])

    def noise_std(self, points: Tensor) -> Tensor:
        """The noise of each part."""
        return torch.cat([part.noise_std(x) for part, x in self._split(points)])

    def _map(self, fn: Callable[[Tensor], Tensor]) -> Any:
        new = super()._map(fn)
        new.parts = [part._map(fn) for part in self.parts]
        return new

    def select(self, index: Tensor | slice) -> Any:
        """The sub-batch at ``index`` (a slice, or row numbers in ascending order).

        Raises:
            ValueError: if the rows are not in ascending order: the parts stay one after the other.
        """
        rows = torch.arange(self.batch_size)[index]
        if (rows.diff() < 0).any():
            raise ValueError(f"`index` of a Stack must be in ascending order, got {rows.tolist()}")
        parts, first = [], 0
        for part in self.parts:
            mine = rows[(rows >= first) & (rows < first + part.batch_size)] - first
            if len(mine):
                parts.append(part.select(mine))
            first += part.batch_size
        return Stack(parts)
