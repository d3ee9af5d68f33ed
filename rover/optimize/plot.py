"""Pictures of a run: the path with its grids on the surface, and f, alpha and delta against evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np


def plot(result: Any, fun: Any = None, *, grid_size: int = 15, every: int | None = None, batched: bool = False) -> Any:
    """Draw the run of the rover that found the best point.

    Args:
        result: what :func:`rover.minimize` returned.
        fun: the objective; with two variables its contours are drawn under the path (a grid of 80 x 80 evaluations).
        grid_size: n of the policy, for the size of the windows.
        every: draw the window of every so many rounds; None: about twelve in all.
        batched: whether `fun` maps ``(m, 2) -> (m,)``.

    Returns:
        the matplotlib figure.

    Raises:
        ImportError: if matplotlib is missing.
        ValueError: if the result holds no trajectory.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'rover-descent[plot]'") from error
    path = getattr(result, "trajectory", None)
    if path is None or len(path.theta) == 0:
        raise ValueError("`result` holds no trajectory: no round was evaluated")
    two = path.theta.shape[1] == 2
    figure = Figure(figsize=(11 if two else 6, 5), layout="constrained")
    if two:
        grid = figure.add_gridspec(2, 2, width_ratios=[1.2, 1])
        _draw_path(figure.add_subplot(grid[:, 0]), result, fun, grid_size, every, batched)
        values, lengths = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    else:
        values, lengths = figure.subplots(2, 1)
    _draw_curves(values, lengths, result)
    return figure


def _draw_path(axes: Any, result: Any, fun: Any, grid_size: int, every: int | None, batched: bool) -> None:
    path = result.trajectory
    theta = path.theta
    every = every or max(len(theta) // 12, 1)
    reach = (grid_size - 1) / 2
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * reach
    for index in range(0, len(theta), every):
        outline = theta[index] + path.delta[index] * square @ path.frame[index].T
        axes.plot(*outline.T, color="tab:orange", linewidth=0.8, alpha=0.7)
    for restart in np.unique(path.restart):
        axes.plot(*theta[path.restart == restart].T, ".-", color="tab:red", linewidth=1, markersize=4)
    axes.plot(*result.x, "*", color="black", markersize=11, label=f"best, f = {result.fun:.3g}")
    low, high = np.minimum(theta.min(0), result.x), np.maximum(theta.max(0), result.x)
    margin = 0.15 * (high - low).max() + 1e-12
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    if fun is not None:
        _draw_contours(axes, fun, batched)
    axes.set_xlabel("x[0]")
    axes.set_ylabel("x[1]")
    axes.set_title("path and grids")
    axes.legend(loc="best")


def _draw_contours(axes: Any, fun: Any, batched: bool) -> None:
    x, y = (np.linspace(low, high, 80) for low, high in (axes.get_xlim(), axes.get_ylim()))
    points = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    values = fun(points) if batched else [fun(point) for point in points]
    values = np.asarray(values, dtype=np.float64).reshape(80, 80)
    finite = values[np.isfinite(values)]
    if finite.size and finite.max() > finite.min():
        # Levels at even shares of the area, so that valleys and plateaus both show.
        levels = np.unique(np.quantile(finite, np.linspace(0, 1, 25)))
        axes.contour(x, y, np.ma.masked_invalid(values).T, levels=levels, cmap="viridis", linewidths=0.6, zorder=0)


def _draw_curves(values: Any, lengths: Any, result: Any) -> None:
    path = result.trajectory
    finite = np.where(np.isfinite(path.fun), path.fun, np.nan)
    values.plot(path.nfev, finite, ".-", color="tab:red", linewidth=1, label="where it stood")
    best = np.fmin.accumulate(np.where(np.isnan(finite), np.inf, finite))
    values.plot(path.nfev, np.where(np.isfinite(best), best, np.nan), color="black", linewidth=1, label="best of these")
    span = np.nanmax(finite) - np.nanmin(finite) if np.isfinite(finite).any() else 0.0
    if span > 0:
        values.set_yscale("symlog", linthresh=max(span * 1e-9, 1e-300))
    values.set_ylabel("f")
    values.legend(loc="best")
    lengths.semilogy(path.nfev, path.alpha, label="step size alpha")
    lengths.semilogy(path.nfev, path.delta, label="resolution delta")
    lengths.set_ylabel("length in x")
    lengths.set_xlabel("evaluations")
    lengths.legend(loc="best")
