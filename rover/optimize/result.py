"""What a run returns: SciPy's ``OptimizeResult`` with the trajectory, and pictures of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import OptimizeResult

from rover.optimize.space import Space


class RoverResult(OptimizeResult):
    """The result of :func:`rover.minimize`.

    Attributes:
        x: ``(d,)``, the best point evaluated (with ``noisy=True``: the one that proved best when evaluated again).
        fun: its value (with ``noisy=True``: the mean of its values).
        success, status, message: why the run ended, see :class:`rover.optimize.stopping.Status`.
        nfev, nit: points evaluated and rounds, the probing round included.
        trajectory: of the rover that found x, one row a round: ``theta (T, d)`` where it stood, ``fun (T,)`` the value
            there, ``alpha (T,)`` and ``delta (T,)`` the step size and resolution in units of x (geometric means over
            the slices), ``direction (T, d)`` the unit vector of its move, ``nfev (T,)`` points of all rovers so far,
            ``frame (T, 2, 2)``, and ``restart (T,)``, how often it had begun anew. A probing round is a row too: it
            stands at the start and its direction leads to the best sample.
        starts: a list with x, fun, success, status, message and trajectory of every rover.
        fun_std, fun_stderr, fun_evaluations: with ``noisy=True``: standard deviation of one evaluation, standard error
            of `fun`, number of evaluations that it is worth (not whole where a model of many values stands behind it).
    """

    def plot(self, fun: Any = None, **options: Any) -> Any:
        """Draw the run, see :func:`rover.plot`."""
        from rover.optimize.plot import plot

        return plot(self, fun, **options)


class Trajectory(OptimizeResult):
    """A trajectory: arrays with one row a round, as attributes and as keys."""


def trajectory_of(rows: list[dict[str, Any]], start: int, space: Space) -> Trajectory:
    """Collect the rows in which rover `start` took part; `theta` and `direction` become points and unit vectors in x."""
    mine = [(row, row["active"].index(start)) for row in rows if start in row["active"]]

    def column(name: str, shape: tuple[int, ...]) -> Any:
        if not mine:
            return np.empty((0, *shape))
        return np.stack([np.asarray(row[name][index], dtype=np.float64) for row, index in mine])

    direction = space.vectors_outward(torch.from_numpy(column("direction", (space.dim,))))
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    return Trajectory(
        theta=space.outward(torch.from_numpy(column("theta", (space.dim,)))),
        fun=column("fun", ()),
        alpha=column("alpha", ()),
        delta=column("delta", ()),
        direction=direction / np.where(length > 0, length, 1.0),
        frame=column("frame", (2, 2)),
        nfev=np.array([row["nfev"] for row, _ in mine], dtype=np.int64),
        restart=np.array([row["restart"][index] for row, index in mine], dtype=np.int64),
    )
