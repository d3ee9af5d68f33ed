"""What bounds the errors of the direction in the *field* protocol: noise, the size of the window, the choice of teacher.

The same states (functions, points, resolutions) are looked at with less and less noise: the mean of k looks has the noise
divided by the square root of k. What is left without noise is the net's fault or the window's: where it is too small, the
curvature that Newton's teacher follows and the far side of the surface that decides between the teachers are out of sight.
The bounds are explained in :mod:`rover.evaluation.direction_bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rover.evaluation.direction_bounds import States, degrees, look_at, orientation_error, quadratic_error, visit
from rover.evaluation.figures import save
from rover.evaluation.report import Plot, Report, Table, provenance, write_report
from rover.landscapes import MODALITIES
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic
from rover.networks import AngleNet
from rover.policy import load, load_angle_net

LOOKS = (1, 4, 16, 64, math.inf)
"""How many looks are averaged; infinitely many are one without noise."""

_BINS = 10
_BOUND = "no predictor is better, one look"


@dataclass
class DirectionConfig:
    """Settings.

    Attributes:
        seed: of functions, points, resolutions and noise.
        output_dir: where the summary and the figure go.
        net: a policy's name, or the path of a direction net.
        functions: held-out functions, a quarter of each modality, ten states each.
        bound_states: states of each modality on which the bound is computed.
        smoke: a small version, written to ``<output_dir>/smoke``.
    """

    seed: int = 0
    output_dir: str = "results/direction"
    net: str = "default"
    functions: int = 2000
    bound_states: int = 1000
    smoke: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("functions", "bound_states"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"`seed` must not be negative, got {self.seed}")
        if self.smoke:
            self.functions, self.bound_states = 80, 32
            self.output_dir = self.output_dir if self.output_dir.endswith("/smoke") else f"{self.output_dir}/smoke"


@torch.no_grad()
def run(config: DirectionConfig) -> dict[str, dict[str, float]]:
    """Measure, and write tables and a figure into ``output_dir``; returns row -> modality -> mean error in degrees."""
    net = _load(config.net)
    n = net.config.grid_size
    states = visit(config.functions, torch.Generator().manual_seed(1_000_003 + config.seed), n)
    kind = states.landscape.modality
    errors: dict[str, Tensor] = {}
    for looks in LOOKS:
        grid = look_at(states, looks, torch.Generator().manual_seed(config.seed), n)
        direction = torch.cat([net.direction(part) for part in grid.split(4096)]).double()
        name = _name(looks)
        errors[f"net, {name}"] = degrees(direction, states.action)
        if looks in (1, math.inf):
            fitted = fit_direction(fit_quadratic(grid.double()))
            errors[f"quadratic fit, {name}"] = degrees(fitted, states.action)
            nearer = degrees(direction[:, None].expand(-1, 2, -1), states.teachers).amin(-1)
            errors[f"net, {name}, to the nearer teacher"] = nearer
    order = torch.randperm(len(kind), generator=torch.Generator().manual_seed(config.seed))
    some = torch.cat([order[kind[order] == k][: config.bound_states] for k in range(len(MODALITIES))])
    part = States(states.landscape.select(some), *(column[some] for column in states[1:]))
    bound = orientation_error(part, torch.Generator().manual_seed(config.seed), n)
    errors[_BOUND] = torch.full_like(states.delta, math.nan).index_copy(0, some, bound)
    bowls = (part.landscape.modality == MODALITIES.index("quadratic")).nonzero()[:, 0]
    bowl = States(part.landscape.select(bowls), *(column[bowls] for column in part[1:]))
    best = quadratic_error(bowl, torch.Generator().manual_seed(config.seed), n)
    row = "who knows that it is a quadratic, one look"
    errors[row] = torch.full_like(states.delta, math.nan).index_copy(0, some[bowls], best)
    return _report(config, states, errors)


def _load(net: str) -> AngleNet:
    return load_angle_net(net) if net.endswith(".safetensors") else load(net).angle_net


def _name(looks: float) -> str:
    return "no noise" if math.isinf(looks) else "one look" if looks == 1 else f"mean of {looks:g} looks"


def _report(config: DirectionConfig, states: States, errors: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    kind = states.landscape.modality
    means = {
        row: {
            name: float(error[kind == k].nanmean())
            for k, name in enumerate(MODALITIES)
            if not error[kind == k].isnan().all()
        }
        for row, error in errors.items()
    }
    folder = Path(config.output_dir)
    save(_figure(states, errors), folder / "direction.png")
    rows: list[list[Any]] = [
        [row, *(f"{found[name]:.1f}" if name in found else None for name in MODALITIES)] for row, found in means.items()
    ]
    report = Report(
        name=folder.name,
        title="What bounds the direction",
        command="python evaluate.py --config direction.yaml" + (" smoke=true" if config.smoke else ""),
        paragraphs=[
            "States of the *field* protocol, seen with less and less noise, on functions that no net was trained on. "
            "The last row but one belongs to whoever knows the surface, the point, the resolution and the noise, and lacks "
            "only how the surface is turned and mirrored around the point: no predictor that sees one grid can be better (on "
            "saddles, whose distribution has the symmetries of a square only, nearly so). The last one belongs to whoever "
            "knows that the surface is a quadratic and how large the noise is.",
        ],
        tables=[Table("Mean error", ["", *MODALITIES], rows, "Degrees; resolutions log-uniform in [0.02, 1.5].")],
        plots=[Plot("direction.png", "Mean error against the resolution: with noise, without, and the bound.")],
        provenance=provenance(seed=config.seed, net=config.net, functions=config.functions),
        numbers={"mean": means},
    )
    write_report(report, folder)
    return means


def _figure(states: States, errors: Mapping[str, Tensor]) -> Any:
    """One panel a modality, error against resolution."""
    from matplotlib.figure import Figure

    lines = {
        "quadratic fit, one look": ("#7F7F7F", ":"),
        "net, one look": ("#D55E00", "-"),
        _BOUND: ("#000000", "--"),
        "net, no noise": ("#0072B2", "-"),
    }
    low, high = (float(edge) for edge in (states.delta.min(), states.delta.max()))
    edges = torch.logspace(math.log10(low), math.log10(high), _BINS + 1, dtype=torch.float64)
    place = torch.bucketize(states.delta, edges[1:-1])
    middle = (edges[1:] * edges[:-1]).sqrt().numpy()
    figure = Figure(figsize=(4 * len(MODALITIES), 3.8), layout="constrained")
    for k, (name, panel) in enumerate(zip(MODALITIES, figure.subplots(1, len(MODALITIES)), strict=True)):
        for row, (colour, dashes) in lines.items():
            chosen = [errors[row][(states.landscape.modality == k) & (place == b)] for b in range(_BINS)]
            panel.plot(
                middle, [float(e.nanmean()) for e in chosen], color=colour, linestyle=dashes, label=row, marker="."
            )
        panel.set(xscale="log", xlabel="resolution (delta)", title=name, ylim=(0, None))
        panel.grid(True, alpha=0.25, linewidth=0.6)
    figure.axes[0].set_ylabel("mean angle error (degrees)")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(lines), frameon=False)
    return figure
