"""The coordinates a rover works in, and how its grids stay proper grids beside a bound.

Where an axis has both bounds the rover sees ``(x - lower) / (upper - lower)``, so that scaling a problem together with
its box changes nothing; elsewhere it sees x itself. Axes whose bounds coincide are left out.

A grid is never squashed onto a bound: that would show slopes and curvatures that are not there. Coordinates may be
*folded*: mirrored at the walls, so that a grid can stick out of the box and still be a grid of values from inside, and
parabolic within a margin of each wall, so that a minimum on a wall, towards which f falls straight, becomes the bottom
of a bowl (compare the bound handling of CMA-ES by Hansen, 2009). Without folding, a grid that would stick out is shrunk
and moved inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MARGIN = 0.05
"""Box widths from a wall within which folded coordinates are parabolic."""


class Space:
    """The map between the user's x, ``(N, d)`` NumPy, and the rover's u, ``(N, dim)`` torch float64.

    Attributes:
        dim: number of axes that the rover moves along.
        lower, upper: ``(dim,)``, limits in u; infinite where there are none.
        bounded: whether every axis has two finite limits (then u runs over the unit box).
        limited: whether any axis has a finite limit.
        fold: whether coordinates are folded; `lower` and `upper` are then the mirrors, a margin outside of the box.
        width: ``(dim,)``, length of one unit of u in x.
    """

    def __init__(self, x0: NDArray[Any], bounds: Any = None, *, fold: bool = False) -> None:
        num_axes = x0.shape[-1]
        low, high = parse_bounds(bounds, num_axes)
        outside = (x0 < low) | (x0 > high)
        if outside.any():
            axis = int(np.argwhere(outside)[0][-1])
            value = x0.reshape(-1, num_axes)[outside.reshape(-1, num_axes).any(-1)][0][axis]
            raise ValueError(
                f"`x0` must lie inside `bounds`, got x0[{axis}] = {value:g} outside [{low[axis]:g}, {high[axis]:g}]; "
                "move the start or widen the box"
            )
        self._low, self._high = low, high
        self._free = low < high
        if not self._free.any():
            raise ValueError("`bounds` leave nothing to optimise: every axis has equal lower and upper bounds")
        self._fixed = x0.reshape(-1, num_axes)[0].copy()
        low, high = low[self._free], high[self._free]
        finite = np.isfinite(low) & np.isfinite(high)
        self._origin = np.where(finite, low, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            self._width = np.where(finite, high - low, 1.0)
        if not np.isfinite(self._width).all():
            raise ValueError(
                "`bounds` are too far apart: upper - lower overflows; use None for an axis without a bound"
            )
        self.dim = int(self._free.sum())
        self.bounded = bool(finite.all())
        self.limited = bool((np.isfinite(low) | np.isfinite(high)).any())
        self.lower = torch.from_numpy(np.where(finite, 0.0, low))
        self.upper = torch.from_numpy(np.where(finite, 1.0, high))
        self.fold = fold and self.limited
        self._margin = torch.from_numpy(np.where(finite, MARGIN, MARGIN * (1 + np.minimum(abs(low), abs(high)))))
        self._walls = self.lower, self.upper
        if self.fold:
            self.lower, self.upper = self.lower - self._margin, self.upper + self._margin
        self.width = torch.from_numpy(self._width.copy())

    def inward(self, x: NDArray[Any]) -> Tensor:
        """Points x ``(N, d)`` -> u ``(N, dim)``."""
        u = torch.from_numpy((x[:, self._free] - self._origin) / self._width)
        return self._unfolded(u) if self.fold else u

    def outward(self, u: Tensor) -> NDArray[Any]:
        """Points u ``(N, dim)`` -> x ``(N, d)``, inside the bounds to the last bit."""
        x = self._origin + (self._folded(u) if self.fold else u).numpy() * self._width
        if self.dim < len(self._free):
            full = np.tile(self._fixed, (len(x), 1))
            full[:, self._free] = x
            x = full
        if self.limited:  # only rounding can have led out
            np.clip(x, self._low, self._high, out=x)
        return x

    def _folded(self, u: Tensor) -> Tensor:
        """Mirrored at both walls as often as needed, and parabolic within a margin of each."""
        (low, high), margin = self._walls, self._margin
        u = self._mirrored(u)
        above, below = u - self.lower, self.upper - u
        x = torch.where(above < 2 * margin, low + above.square() / (4 * margin), u)
        return torch.where(below < 2 * margin, high - below.square() / (4 * margin), x)

    def _mirrored(self, u: Tensor) -> Tensor:
        """Between the walls, each of which is a mirror."""
        low, high = self.lower, self.upper
        inside = (u >= low) & (u <= high)
        if bool(inside.all()):  # nearly always, and a fifth of the work
            return u
        period = torch.where(high - low < float("inf"), high - low, 1.0)
        both = low + period - ((u - low).remainder(2 * period) - period).abs()
        above, below = low + (u - low).abs(), high - (high - u).abs()
        one = torch.where(low.isfinite(), above, torch.where(high.isfinite(), below, u))
        mirrored = torch.where(high - low < float("inf"), both, one)
        return torch.where(inside, u, mirrored)  # to the last bit

    def _unfolded(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`_folded` between the walls."""
        (low, high), margin = self._walls, self._margin
        above, below = x - low, high - x
        u = torch.where(above < margin, low - margin + 2 * (margin * above).sqrt(), x)
        return torch.where(below < margin, high + margin - 2 * (margin * below).sqrt(), u)

    def vectors_outward(self, v: Tensor) -> NDArray[Any]:
        """Differences of u ``(N, dim)`` -> differences of x ``(N, d)``."""
        full = np.zeros((len(v), len(self._free)))
        full[:, self._free] = v.numpy() * self._width
        return full

    def reflect(self, u: Tensor) -> Tensor:
        """Mirror points that stick out back into the box (scattered samples only: a grid is moved as a whole)."""
        if not self.limited or self.fold:
            return u
        return self._mirrored(u)

    def clamp(self, u: Tensor) -> Tensor:
        """The nearest position inside the box, or in folded coordinates the same place between the walls."""
        if self.fold:
            return self._mirrored(u)
        return torch.minimum(torch.maximum(u, self.lower), self.upper) if self.limited else u

    def fit_window(
        self, center: Tensor, delta: Tensor, frame: Tensor, pairs: Tensor, grid_size: int, finest: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Shrink windows that stick out of the box by up to `finest`, and move inside what still sticks out.

        A window that is larger than the box shrinks as far as it must. In folded coordinates that is all that happens.

        Args:
            center: ``(m, A, 2)``, where the grids of A rovers would stand.
            delta: ``(m, A)``, their resolutions.
            frame: ``(m, A, 2, 2)``; the limits apply to the bounding box of the turned and stretched window.
            pairs: ``(m, 2)``, the axes of each grid.
            grid_size: n.
            finest: smallest factor of delta, in (0, 1]; 1 moves at once.

        Returns:
            centres and resolutions of the same shapes.
        """
        if not self.limited:
            return center, delta
        low, high = self.lower[pairs][:, None], self.upper[pairs][:, None]
        unit = (grid_size - 1) / 2 * frame.abs().sum(-1)  # (m, A, 2): half a window with a delta of one
        if not self.fold:
            room = torch.minimum(center - low, high - center)
            delta = torch.minimum(delta, torch.maximum((room / unit).amin(-1), finest * delta))
        delta = torch.minimum(delta, ((high - low) / (2 * unit)).amin(-1))
        if self.fold:
            return center, delta
        reach = delta[..., None] * unit
        return torch.maximum(torch.minimum(center, high - reach), low + reach), delta

    def narrow(self, delta: Tensor, frame: Tensor, grid_size: int, radius: float) -> Tensor:
        """Resolutions ``(..., A)`` so fine that windows with frames ``(..., A, 2, 2)`` reach no farther than `radius`."""
        unit = (grid_size - 1) / 2 * frame.abs().sum(-1)
        return torch.minimum(delta, (radius / unit).amin(-1)) if self.bounded else delta


def parse_bounds(bounds: Any, num_axes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lower and upper bounds ``(d,)`` from SciPy's ``Bounds`` or a sequence of d pairs, in which None means none.

    Raises:
        ValueError: if the number or the form is wrong, if a bound is NaN, or if a lower bound lies above the upper one.
    """
    if bounds is None:
        return np.full(num_axes, -np.inf), np.full(num_axes, np.inf)
    try:
        if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
            low = np.broadcast_to(np.asarray(bounds.lb, dtype=np.float64), num_axes).copy()
            high = np.broadcast_to(np.asarray(bounds.ub, dtype=np.float64), num_axes).copy()
        else:
            pairs = [tuple(pair) for pair in _rows(bounds)]
            if len(pairs) != num_axes or any(len(pair) != 2 for pair in pairs):
                raise ValueError(f"{len(pairs)} rows")
            low = np.array([-np.inf if a is None else float(a) for a, _ in pairs])
            high = np.array([np.inf if b is None else float(b) for _, b in pairs])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`bounds` must be a scipy.optimize.Bounds or {num_axes} pairs (low, high), one for each variable, "
            f"got {bounds!r}"
        ) from error
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("`bounds` must not be NaN; use None where there is no bound")
    crossed = (low > high) | (low == np.inf) | (high == -np.inf)
    if crossed.any():
        axis = int(np.argmax(crossed))
        raise ValueError(
            f"`bounds` of axis {axis} are empty: lower {low[axis]:g}, upper {high[axis]:g}; swap or widen them"
        )
    return low, high


def _rows(bounds: Any) -> list[Any]:
    """The rows of any sequence, tensor or array."""
    return bounds.tolist() if hasattr(bounds, "tolist") else list(bounds)
