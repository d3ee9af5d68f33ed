"""What a navigator does, in pictures: Figures 8, 9 and 10 of the paper, for one policy on prototypes.

========= ==================================================================================================
Figure 8  step size and resolution along the episode, modality by modality
Figure 9  recovery from a step size that is 100 times too small and a resolution that is 100 times too large
Figure 10 contour plots with the path and the grids that were sampled on it
========= ==================================================================================================

Observations are noisy, as in training. Matplotlib is imported inside the functions only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rover.evaluation.held_out import ALPHA_RANGE, WINDOW_RANGE, initial_rovers
from rover.evaluation.navigate import Trajectory, navigate
from rover.landscapes.prototypes import MODALITIES, Prototypes, sample_prototypes
from rover.navigation.grid import grid_points
from rover.policy import Policy

MISSET = {
    "usual start": (1.0, 1.0),
    "step size / 100": (0.01, 1.0),
    "resolution x 100": (1.0, 100.0),
    "both": (0.01, 100.0),
}
"""Factors on the initial step size and resolution of Figure 9."""

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_SMALLEST = 1e-16  # gaps below are drawn here
_GRIDS_AT = (0, 1, 2, 4, 8, 16)  # rounds whose grids are drawn in Figure 10


def navigation_figures(policy: Policy, *, instances: int = 24, horizon: int = 30, seed: int = 0) -> dict[str, Any]:
    """All three, as Matplotlib figures: ``schedules`` (8), ``recovery`` (9) and ``paths`` (10).

    Args:
        policy: whose.
        instances: surfaces a modality.
        horizon: rounds.
        seed: of surfaces, starts and noise.
    """
    surfaces = sample_prototypes(4 * instances, torch.Generator().manual_seed(seed))
    start = initial_rovers(surfaces, policy.grid_size, seed)
    course = navigate(policy, surfaces, *start, horizon, torch.Generator().manual_seed(seed + 1))
    shown = typical(course, surfaces.modality)
    return {
        "schedules": schedule_figure(course, surfaces.modality, policy.grid_size),
        "recovery": recovery_figure(misset_courses(policy, surfaces, horizon, seed), surfaces.modality),
        "paths": path_figure(surfaces.select(shown), select(course, shown), policy.grid_size),
    }


def select(course: Trajectory, index: Tensor) -> Trajectory:
    """The runs at `index`."""
    return Trajectory(*(part[:, index] for part in course))


def typical(course: Trajectory, modality: Tensor) -> Tensor:
    """The run of each modality whose last gap is the median: neither the best nor the worst is shown."""
    chosen = []
    for kind in range(len(MODALITIES)):
        mine = (modality == kind).nonzero()[:, 0]
        chosen.append(mine[course.gap[-1, mine].argsort()[len(mine) // 2]])
    return torch.stack(chosen)


def misset_courses(policy: Policy, surfaces: Prototypes, horizon: int, seed: int) -> dict[str, Trajectory]:
    """Runs from the middle of the training's ranges, and from factors :data:`MISSET` of it; same starts, same noise."""
    theta, _, _ = initial_rovers(surfaces, policy.grid_size, seed)
    alpha = (ALPHA_RANGE[0] * ALPHA_RANGE[1]) ** 0.5
    delta = (WINDOW_RANGE[0] * WINDOW_RANGE[1]) ** 0.5 * 2 / (policy.grid_size - 1)
    one = torch.ones_like(theta[:, 0])
    return {
        name: navigate(policy, surfaces, theta, a * alpha * one, d * delta * one, horizon, _noise(seed))
        for name, (a, d) in MISSET.items()
    }


def _noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed + 1)


def schedule_figure(course: Trajectory, modality: Tensor, grid_size: int) -> Any:
    """Figure 8: a column a modality; step size, half-width of the grid and gap below each other, every run a thin line."""
    rows = {
        "step size": course.alpha,
        "half-width of the grid": course.delta * (grid_size - 1) / 2,
        "gap to the minimum": course.gap.clamp(min=_SMALLEST),
    }
    figure, panels = _panels(rows, 2.3)
    for column, name in enumerate(MODALITIES):
        for row, values in enumerate(rows.values()):
            mine = values[:, modality == column].numpy()
            panels[row][column].plot(mine, color=_COLOURS[column], linewidth=0.6, alpha=0.35)
            panels[row][column].plot(_median(mine), color="black", linewidth=1.6)
        panels[0][column].set_title(name)
    figure.suptitle("Step size and resolution along the episode (black: median)", fontsize=11)
    return figure


def recovery_figure(courses: dict[str, Trajectory], modality: Tensor) -> Any:
    """Figure 9: medians of step size, resolution and gap from well and badly set initial states."""
    figure, panels = _panels(["step size", "resolution", "gap to the minimum"], 2.3)
    for column, kind in enumerate(MODALITIES):
        for (name, course), colour in zip(courses.items(), _COLOURS, strict=True):
            for row, values in enumerate((course.alpha, course.delta, course.gap.clamp(min=_SMALLEST))):
                line = _median(values[:, modality == column].numpy())
                panels[row][column].plot(line, color=colour, label=name, linewidth=1.5)
        panels[0][column].set_title(kind)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.suptitle("Recovery from a badly set initial state (medians)", fontsize=11)
    return figure


def path_figure(surfaces: Prototypes, course: Trajectory, grid_size: int) -> Any:
    """Figure 10: one panel a surface; the contours are of the logarithm of the gap.

    Args:
        surfaces: B instances.
        course: B runs on them.
        grid_size: n.
    """
    from matplotlib.figure import Figure

    count = surfaces.batch_size
    figure = Figure(figsize=(3.9 * count, 4.2), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for k, panel in enumerate(panels):
        one, run = surfaces.select(slice(k, k + 1)), select(course, torch.tensor([k]))
        path = run.theta[:, 0]
        low, high = _view(torch.cat([path, one.minimizer]))
        _contours(panel, one, low, high)
        points = grid_points(run.theta, run.delta, grid_size, run.frame)[:, 0]  # (R + 1, n * n, 2)
        rounds = [t for t in _GRIDS_AT if t < len(path) - 1]
        for t in rounds:
            shade = 0.15 + 0.75 * rounds.index(t) / max(1, len(rounds) - 1)
            _draw_grid(panel, points[t], grid_size, shade)
        panel.plot(*path.T.numpy(), color="white", linewidth=2.6, zorder=4)
        panel.plot(*path.T.numpy(), color="#D55E00", linewidth=1.3, marker="o", markersize=2.5, zorder=5)
        panel.plot(
            *one.minimizer[0].tolist(), marker="*", color="white", markeredgecolor="black", markersize=12, zorder=6
        )
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        panel.set_title(
            f"{MODALITIES[int(one.modality[0])]}: gap {run.gap[0, 0]:.1e} to {run.gap[-1, 0]:.1e}", fontsize=9
        )
    figure.suptitle(
        f"Paths, grids of rounds {', '.join(map(str, _GRIDS_AT))} (dark to light), minimum (star)", fontsize=11
    )
    return figure


def rates_figure(returns: Any, rates: Any, own: float, name: str) -> Any:
    """Return of every constant pair of rates: ``returns (alpha_rate, delta_rate)``, beside a policy's own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(returns.T, origin="lower", cmap="viridis", vmax=max(own, float(returns.max())))
    for i, row in enumerate(returns):
        for j, value in enumerate(row):
            panel.text(i, j, f"{value:.0f}", ha="center", va="center", color="white", fontsize=8)
    labels = [f"{rate:g}" for rate in rates]
    panel.set_xticks(range(len(labels)), labels)
    panel.set_yticks(range(len(labels)), labels)
    panel.set(xlabel="alpha_rate", ylabel="delta_rate", title=f"Return of constant rates ({name}: {own:.1f})")
    figure.colorbar(image, ax=panel, label="return (7)")
    return figure


def _panels(rows: Any, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(3.1 * len(MODALITIES), height * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(MODALITIES), squeeze=False, sharex=True, sharey="row")
    for row, label in enumerate(rows):
        panels[row][0].set_ylabel(label)
        for panel in panels[row]:
            panel.set_yscale("log")
            panel.yaxis.set_minor_locator(NullLocator())  # nine a decade: over ten decades they only cost time
            panel.grid(True, which="major", alpha=0.25, linewidth=0.6)
    for panel in panels[-1]:
        panel.set_xlabel("round")
    return figure, panels


def _median(values: Any) -> Any:
    import numpy as np

    return np.median(values, axis=1)


def _view(points: Tensor) -> tuple[list[float], list[float]]:
    """A square around the points with a margin."""
    low, high = points.amin(0), points.amax(0)
    middle, half = (low + high) / 2, 0.62 * float((high - low).max().clamp(min=1e-3))
    return (middle - half).tolist(), (middle + half).tolist()


def _contours(panel: Any, surface: Prototypes, low: list[float], high: list[float], resolution: int = 120) -> None:
    first, second = (torch.linspace(low[k], high[k], resolution, dtype=surface.minimum.dtype) for k in range(2))
    points = torch.cartesian_prod(first, second)
    gap = (surface.mean(points[None])[0] - surface.minimum).clamp(min=1e-12)
    values = gap.log10().clamp(min=float(gap.log10().quantile(0.02))).view(resolution, resolution)
    panel.contourf(first.numpy(), second.numpy(), values.T.numpy(), levels=24, cmap="viridis")


def _draw_grid(panel: Any, points: Tensor, grid_size: int, shade: float) -> None:
    """The outline, and the points as dots."""
    grid = points.view(grid_size, grid_size, 2)
    outline = torch.stack([grid[0, 0], grid[0, -1], grid[-1, -1], grid[-1, 0], grid[0, 0]])
    colour = (shade, shade, shade)
    panel.plot(*outline.T.numpy(), color=colour, linewidth=0.9, zorder=2)
    panel.plot(*points.T.numpy(), linestyle="", marker=".", markersize=1.2, color=colour, zorder=2)
