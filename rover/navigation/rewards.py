"""The three rewards of the paper (eqs 5-7), on whole trajectories and step by step."""

from __future__ import annotations

import torch
from torch import Tensor

REWARDS = ("value", "start", "window")
"""Eq 5 (the value itself), eq 6 (relative to the start), eq 7 (relative to the last k iterates)."""


def value_reward(value: Tensor) -> Tensor:
    """Eq 5: ``-f(theta_t)``. Depends on the scale and offset of f."""
    return -value


def start_reward(value: Tensor, start: Tensor, minimum: Tensor) -> Tensor:
    """Eq 6: ``-(f(theta_t) - f*) / (f(theta_0) - f*)``; -1 for standing still."""
    return -_ratio(value - minimum, start - minimum)


def window_reward(window: Tensor, minimum: Tensor) -> Tensor:
    """Eq 7: ``-(f(theta_t) - f*) / (mean of the last k values - f*)``, the current one included; in [-k, 0].

    Args:
        window: ``(..., k)``, the last values, the current one last; NaN where there were not yet so many.
        minimum: ``(...,)``.
    """
    gaps = window - minimum[..., None]
    return -_ratio(gaps[..., -1], torch.nanmean(gaps, -1))


def _ratio(gap: Tensor, reference: Tensor) -> Tensor:
    """``gap / reference`` with 0 / 0 = 0: at the minimum nothing is left to lose. Gaps below rounding count as zero."""
    gap, reference = gap.clamp(min=0), reference.clamp(min=0)
    return torch.where(reference > 0, gap / torch.where(reference > 0, reference, 1.0), 0.0)
