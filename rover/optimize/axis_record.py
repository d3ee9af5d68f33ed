"""What each axis showed when it was last looked along: for convergence, which all axes must agree on, and for heirs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_NAMES = ("size", "spread", "log_rates")


class AxisRecord:
    """Per axis, of S rovers on d axes.

    Attributes:
        size: ``(S, d)``, the largest step size or half-window of its slices; infinite before the first look.
        spread: ``(S, d)``, the largest range of f on its grids; infinite before the first look.
        log_rates: ``(2, S, d)``, means of log alpha and log delta of its slices; NaN before the first look.
    """

    def __init__(self, num_starts: int, dim: int) -> None:
        self.size = torch.full((num_starts, dim), float("inf"), dtype=torch.float64)
        self.spread = self.size.clone()
        self.log_rates = torch.full((2, num_starts, dim), float("nan"), dtype=torch.float64)

    def forget(self, start: int) -> None:
        """A rover begins anew."""
        self.size[start] = self.spread[start] = float("inf")
        self.log_rates[:, start] = float("nan")

    def note(self, active: Tensor, pairs: Tensor, size: Tensor, spread: Tensor, log_rates: Tensor | None) -> None:
        """Take in a round of A rovers on m slices.

        Args:
            active: ``(A,)``.
            pairs: ``(m, 2)``.
            size, spread: ``(A, m)``.
            log_rates: ``(2, A, m)``, or None if nobody will inherit them.
        """
        if self.size.shape[1] <= 2:  # one slice, all axes
            self.size[active], self.spread[active] = size, spread
            return
        axes = pairs.flatten()
        for target, source in ((self.size, size), (self.spread, spread)):
            current = target[active]
            current[:, axes] = 0.0
            current.scatter_reduce_(1, axes.expand(len(current), -1), source.repeat_interleave(2, 1), "amax")
            target[active] = current
        if log_rates is not None:
            dim = self.size.shape[1]
            count = torch.bincount(axes, minlength=dim)
            total = torch.zeros(2, len(active), dim, dtype=torch.float64)
            total.index_add_(2, axes, log_rates.repeat_interleave(2, 2))
            current = self.log_rates[:, active]
            self.log_rates[:, active] = torch.where(count > 0, total / count.clamp(min=1), current)

    def inherited(self, starts: Tensor, pairs: Tensor, initial: Tensor) -> Tensor:
        """Log alpha and log delta for pairs that are used for the first time: the mean of what their axes have reached.

        Args:
            starts: ``(A,)``.
            pairs: ``(m, 2)``.
            initial: ``(2, A, 1)``, where no axis was ever seen.

        Returns:
            ``(2, A, m)``.
        """
        known = self.log_rates[:, starts]
        reached = torch.nanmean(known, -1, keepdim=True)  # an axis never seen: as the others are by now
        axes = torch.where(known.isnan(), reached, known)[:, :, pairs]  # (2, A, m, 2)
        return torch.where(reached.isnan(), initial, axes.mean(-1))

    def state_dict(self) -> dict[str, Any]:
        """Tensors."""
        return {name: getattr(self, name).clone() for name in _NAMES}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        for name in _NAMES:
            setattr(self, name, state[name].clone())
