"""The last grids of noisy rovers: one model of all of them is as good as one grid of ten times as many points."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rover.navigation.quadratic_fit import quadratic_basis, slope_and_curvature

ROUNDS = 10
"""How many grids are kept."""
_INNER, _OUTER = 1.0, 1.5  # half-windows: points count in full up to the first, no more from the second on


class Model(NamedTuple):
    """A quadratic in half-windows u: ``value + gradient' u + u' hessian u / 2``."""

    value: Tensor  # (A,)
    gradient: Tensor  # (A, 2)
    hessian: Tensor  # (A, 2, 2)
    weight: Tensor  # (A,) how many points it rests on


class Recent:
    """Points and values of S rovers, ``ROUNDS`` grids of P points each; NaN where nothing was seen yet."""

    def __init__(self, num_starts: int, num_points: int) -> None:
        self.points = torch.zeros(num_starts, ROUNDS, num_points, 2, dtype=torch.float64)
        self.values = torch.full((num_starts, ROUNDS, num_points), float("nan"), dtype=torch.float64)
        self.next = torch.zeros(num_starts, dtype=torch.int64)

    def add(self, active: Tensor, points: Tensor, values: Tensor) -> None:
        """Keep a grid of each of A rovers: ``points (A, P, 2)``, ``values (A, P)``."""
        slot = self.next[active] % ROUNDS
        self.points[active, slot], self.values[active, slot] = points, values
        self.next[active] += 1

    def forget(self, start: int) -> None:
        """A rover begins anew."""
        self.values[start] = float("nan")

    def model(self, active: Tensor, center: Tensor, window: Tensor) -> Model:
        """Least squares over the points near the current windows.

        Args:
            active: ``(A,)``.
            center: ``(A, 2)``.
            window: ``(A, 2, 2)``, half a window: the frame times half the grid's width.
        """
        points, values = self.points[active].flatten(1, 2), self.values[active].flatten(1)
        u = torch.linalg.solve_ex(window, (points - center[:, None]).mT)[0].mT
        weight = ((_OUTER - u.abs().amax(-1)) / (_OUTER - _INNER)).clamp(0, 1)
        weight = torch.where(values.isfinite(), weight, 0.0)
        x, y = u.clamp(-_OUTER, _OUTER).unbind(-1)
        basis = quadratic_basis(x, y)  # (A, N, 6)
        weighted = basis * weight[..., None]
        # About a level: values may be large numbers that differ little.
        level = (weight * values.nan_to_num(0, 0, 0)).sum(-1) / weight.sum(-1).clamp(min=1)
        height = torch.where(weight > 0, values - level[:, None], 0.0)
        ridge = 1e-9 * torch.eye(6, dtype=x.dtype)
        fit = torch.linalg.solve_ex(weighted.mT @ basis + ridge, weighted.mT @ height[..., None])[0][..., 0]
        constant, gradient, hessian = slope_and_curvature(fit)
        return Model(level + constant, gradient, hessian, weight.sum(-1))

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors."""
        return {"points": self.points.clone(), "values": self.values.clone(), "next": self.next.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Undo :meth:`state_dict`."""
        self.points, self.values, self.next = (state[name].clone() for name in ("points", "values", "next"))
