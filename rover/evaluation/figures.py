"""Convergence figures: median, mean and envelope of every optimiser against rounds, evaluations and seconds.

Colours are Okabe and Ito's, told apart with every common form of colour blindness, and each comes with its own dashes.
Matplotlib is imported here only, and only its Agg canvas is used: no window, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rover.evaluation.curves import SMALLEST, Axis, curve
from rover.evaluation.runs import Run

Shade = Literal["envelope", "quartiles", "none"]

LABELS = {
    "gradient_descent": "gradient descent",
    "nesterov": "Nesterov",
    "adam": "Adam",
    "newton": "Newton",
    "cma_es": "CMA-ES",
    "nelder_mead": "Nelder–Mead",
    "cma_es_batch": "CMA-ES, same batch",
    "restarted_nelder_mead": "Nelder–Mead, restarted",
    "restarted_cma_es": "CMA-ES, restarted",
    "restarted_cma_es_batch": "CMA-ES, same batch, restarted",
    "differential_evolution": "differential evolution",
    "powell": "Powell",
    "cobyqa": "COBYQA",
    "random_search": "random search",
}
"""How the entrants of the shipped configurations are called in figures and tables; others keep their own name."""

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8A7B00", "#000000", "#7F7F7F")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (8, 2)), (0, (2, 2)))
_ROVER = "#D55E00"
_TOP = 1e12  # what has run away is drawn at the upper edge

_AXIS_LABELS = {
    "rounds": "iterations (parallel rounds)",
    "evaluations": "function evaluations",
    "seconds": "seconds",
}


def label(name: str) -> str:
    """The name of an entrant for people."""
    return LABELS.get(name, name.replace("rover_", "rover, ").replace("_", " "))


def convergence_figure(
    panels: Mapping[str, Mapping[Axis, Mapping[str, Run]]],
    *,
    title: str,
    shade: Shade = "envelope",
) -> Any:
    """One row a problem, one column an axis.

    Args:
        panels: problem -> axis -> entrant -> runs.
        title: over the figure.
        shade: between the extremes or the quartiles of the runs, or nothing.

    Returns:
        A matplotlib ``Figure``; :func:`save` writes it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    axes = list(next(iter(panels.values())))
    figure = Figure(figsize=(3.7 * len(axes) + 0.6, 2.5 * len(panels) + 1.3), layout="constrained")
    grid = figure.subplots(len(panels), len(axes), squeeze=False, sharey="row")
    entrants = list(dict.fromkeys(name for columns in panels.values() for runs in columns.values() for name in runs))
    styles = dict(zip(entrants, _styles(entrants), strict=True))
    for row, (problem, columns) in enumerate(panels.items()):
        for column, (axis, runs) in enumerate(columns.items()):
            panel = grid[row][column]
            for name, run in runs.items():
                _draw(panel, run, axis, styles[name], shade, label(name))
            panel.set_yscale("log")
            panel.yaxis.set_minor_locator(NullLocator())  # nine a decade: over ten decades they only cost time
            panel.grid(True, which="major", alpha=0.25, linewidth=0.6)
            if axis != "rounds":
                panel.set_xscale("log")
                panel.xaxis.set_minor_locator(NullLocator())
            if row == len(panels) - 1:
                panel.set_xlabel(_AXIS_LABELS[axis])
        grid[row][0].set_ylabel(f"{problem}\ngap to the minimum")
        _limit(grid[row][0], [run for runs in columns.values() for run in runs.values()])
    _legend(figure, grid[0][0], title)
    return figure


def profile_figure(profiles: Mapping[Axis, Mapping[str, tuple[np.ndarray, np.ndarray]]], *, title: str) -> Any:
    """Share of targets solved (COCO's data profiles), one panel an axis: axis -> entrant -> (cost, share)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.7 * len(profiles) + 0.6, 4.6), layout="constrained")
    panels = figure.subplots(1, len(profiles), squeeze=False, sharey=True)[0]
    entrants = list(dict.fromkeys(name for lines in profiles.values() for name in lines))
    styles = dict(zip(entrants, _styles(entrants), strict=True))
    for panel, (axis, lines) in zip(panels, profiles.items(), strict=True):
        for name, (x, share) in lines.items():
            panel.plot(x, share, label=label(name), **styles[name])
        panel.set_xlabel(_AXIS_LABELS[axis])
        panel.set_ylim(0, 1)
        panel.grid(True, alpha=0.25, linewidth=0.6)
        if axis != "rounds":
            panel.set_xscale("log")
    panels[0].set_ylabel("share solved")
    _legend(figure, panels[0], title)
    return figure


def _legend(figure: Any, panel: Any, title: str) -> None:
    handles, names = panel.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4), frameon=False)
    figure.suptitle(title, fontsize=11)


def _styles(names: Sequence[str]) -> list[dict[str, Any]]:
    """Rovers are vermilion and thick; the others take colours and dashes in turn."""
    styles, rovers, others = [], 0, 0
    for name in names:
        if "rover" in name:
            styles.append({"color": _ROVER, "linestyle": _DASHES[rovers % len(_DASHES)], "linewidth": 2.4, "zorder": 5})
            rovers += 1
        else:
            colour, dashes = _COLOURS[others % len(_COLOURS)], _DASHES[others % len(_DASHES)]
            styles.append({"color": colour, "linestyle": dashes, "linewidth": 1.4, "zorder": 3})
            others += 1
    return styles


def _draw(panel: Any, run: Run, axis: Axis, style: dict[str, Any], shade: Shade, name: str) -> None:
    line = curve(run, axis)

    def drawable(values: np.ndarray) -> np.ndarray:
        return np.clip(np.nan_to_num(values, nan=_TOP, posinf=_TOP), SMALLEST, _TOP)

    panel.plot(line.x, drawable(line.median), label=name, **style)
    panel.plot(line.x, drawable(line.mean), color=style["color"], linewidth=0.7, linestyle=":", zorder=2)
    if shade != "none":
        low, high = (line.low, line.high) if shade == "envelope" else (line.quarter, line.three_quarters)
        panel.fill_between(line.x, drawable(low), drawable(high), color=style["color"], alpha=0.10, linewidth=0)


def _limit(panel: Any, runs: Any) -> None:
    """From a little below the best run to a little above the worst start."""
    runs = list(runs)
    starts = max(float(np.max(run.best[:, 0])) for run in runs)
    ends = min(float(np.min(run.best[:, -1])) for run in runs)
    panel.set_ylim(max(ends, SMALLEST) / 3, min(max(starts, 10 * SMALLEST) * 3, _TOP))


def save(figure: Any, path: str | Path) -> Path:
    """Write a figure as PNG on the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
    return path
