"""Angle errors of a direction predictor, in degrees: by modality and by resolution, right under DDP."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from rover.landscapes import MODALITIES
from rover.learning.losses import angle_error

_BINS_PER_DEGREE = 10
_BINS = 180 * _BINS_PER_DEGREE + 1


class AngleError(Metric):
    """Mean and median angle between predicted and teacher's direction, in degrees, for each modality.

    The state is a sum, a count and a histogram (bins of 0.1 degrees, from which the median is read), so it has a fixed
    size and adds up over processes.
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = False

    total: Tensor  # (M,) sum of errors
    count: Tensor  # (M,)
    histogram: Tensor  # (M, 1801)

    def __init__(self) -> None:
        super().__init__()
        kinds = len(MODALITIES)
        self.add_state("total", torch.zeros(kinds, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(kinds, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(kinds, _BINS, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, direction: Tensor, teacher_action: Tensor, modality: Tensor) -> None:
        """Add N predictions.

        Args:
            direction, teacher_action: ``(N, 2)``, unit vectors.
            modality: ``(N,)``.
        """
        degrees = torch.rad2deg(angle_error(direction, teacher_action)).to(self.total.dtype)
        self.total.index_add_(0, modality, degrees)
        self.count += torch.bincount(modality, minlength=len(self.count))
        flat = modality * _BINS + (degrees * _BINS_PER_DEGREE).floor().long().clamp(max=_BINS - 1)
        self.histogram += torch.bincount(flat, minlength=self.histogram.numel()).view_as(self.histogram)

    def compute(self) -> dict[str, Tensor]:
        """``{modality: mean, modality_median: median}`` in degrees; NaN for a modality that never came."""
        mean = self.total / self.count
        below = self.histogram.cumsum(-1)
        middle = (2 * below < self.count[:, None]).sum(-1)  # the first bin with half of the errors in it or below
        median = torch.where(self.count > 0, (middle + 0.5) / _BINS_PER_DEGREE, math.nan)
        result = {name: mean[k].float() for k, name in enumerate(MODALITIES)}
        return result | {f"{name}_median": median[k].float() for k, name in enumerate(MODALITIES)}


class ErrorByResolution(Metric):
    """Mean angle error in degrees for each modality and each of `num_bins` log-uniform classes of the resolution.

    Args:
        low, high: range of the resolution; what lies outside goes into the outermost classes.
        num_bins: classes.
    """

    full_state_update = False

    total: Tensor  # (M, bins)
    count: Tensor  # (M, bins)

    def __init__(self, low: float, high: float, num_bins: int = 12) -> None:
        super().__init__()
        self.edges = torch.logspace(math.log10(low), math.log10(high), num_bins + 1, dtype=torch.float64)
        shape = (len(MODALITIES), num_bins)
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, direction: Tensor, teacher_action: Tensor, modality: Tensor, delta: Tensor) -> None:
        """Add N predictions made at resolutions ``delta (N,)``; the others as for :class:`AngleError`."""
        degrees = torch.rad2deg(angle_error(direction, teacher_action)).to(self.total.dtype)
        inner = self.edges[1:-1].to(delta.device)
        flat = modality * self.count.shape[1] + torch.bucketize(delta.double(), inner, right=True)
        self.total.view(-1).index_add_(0, flat, degrees)
        self.count += torch.bincount(flat, minlength=self.count.numel()).view_as(self.count)

    def compute(self) -> Tensor:
        """``(M, bins)`` in degrees, NaN where nothing came."""
        return (self.total / self.count).float()
