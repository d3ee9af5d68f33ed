"""A surface with a closed formula and a certificate: minimiser, minimum, box and start, as class data."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rover.landscapes.base import Landscape


class AnalyticFunction(Landscape):
    """``batch_size`` copies of one formula; a subclass states its certificate and defines :meth:`mean`.

    Class attributes:
        name: how registries and tables call it.
        known_minimizer: one global minimiser, to full float64 precision.
        known_minimum: the value there.
        box: ``((low, high), ...)``, where it is judged; contains the minimiser.
        standard_start: the start for single-start experiments, in the box.
        categories: what makes it hard: ``quadratic``, ``ill-conditioned``, ``valley``, ``ridge``, ``multimodal``,
            ``plateau``.
        smooth: the gradient exists and vanishes at the minimiser.
        minimum_is_global: the minimum also holds outside the box.

    Attributes:
        start: ``(B, d)``, the standard start.
    """

    name: ClassVar[str]
    known_minimizer: ClassVar[tuple[float, ...]]
    known_minimum: ClassVar[float] = 0.0
    box: ClassVar[tuple[tuple[float, float], ...]]
    standard_start: ClassVar[tuple[float, ...]]
    categories: ClassVar[tuple[str, ...]] = ()
    smooth: ClassVar[bool] = True
    minimum_is_global: ClassVar[bool] = True

    start: Tensor

    def __init__(
        self, batch_size: int = 1, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> None:
        """Make the copies.

        Args:
            batch_size: number of copies B, at least 1.
            dtype: floating-point type of the certificate; values have the type of the points.
            device: where the certificate lives.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")

        def copies(row: tuple[float, ...]) -> Tensor:
            return torch.tensor(row, dtype=dtype, device=device).repeat(batch_size, 1)

        self.minimizer = copies(self.known_minimizer)
        self.minimum = copies((self.known_minimum,))[:, 0]
        self.lower = copies(tuple(low for low, _ in self.box))
        self.upper = copies(tuple(high for _, high in self.box))
        self.start = copies(self.standard_start)
