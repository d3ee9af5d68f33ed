"""What bounds the errors of the direction in the *field* protocol: noise, the size of the window, the choice of teacher.

The same states (functions, points, resolutions) are looked at with less and less noise: the mean of k looks has the noise
divided by the square root of k. What is left without noise is the net's fault or the window's: where it is too small, the
curvature that Newton's teacher follows and the far side of the surface that decides between the teachers are out of sight.

**A bound.** Suppose that someone knows everything about the surface, the point, the resolution and the noise, except how the
surface is turned and mirrored around the point. From a noisy grid he computes the posterior of that one angle and that one
bit and answers with the circular median of the direction. F_train is invariant under rotations and reflections (the saddles
only under those of a square), so that no predictor that sees one grid can have a smaller mean error than his.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rover.evaluation.figures import save
from rover.evaluation.report import Plot, Report, Table, provenance, write_report
from rover.landscapes import MODALITIES, Prototypes, sample_prototypes
from rover.learning.losses import angle_error
from rover.learning.teachers import derivatives, gradient_step, newton_step, teach
from rover.navigation.grid import grid_points, rescale
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic
from rover.networks import AngleNet
from rover.policy import load, load_angle_net

LOOKS = (1, 4, 16, 64, math.inf)
"""How many looks are averaged; infinitely many are one without noise."""

_DELTA_RANGE = (0.02, 1.5)
_STEPS = 10
_BINS = 10
_CHUNK = 16  # states whose posterior is computed at once


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


class States(NamedTuple):
    """N points on N surfaces, as a damped teacher's rollout visits them."""

    landscape: Prototypes
    theta: Tensor  # (N, 2)
    delta: Tensor  # (N,)
    action: Tensor  # (N, 2) unit, of the better teacher
    teachers: Tensor  # (N, 2, 2) unit, of gradient descent and of Newton


def visit(num_functions: int, generator: torch.Generator, grid_size: int) -> States:
    """States of the *field* protocol, see :func:`rover.learning.cloning.generate_tuples`."""
    landscape = sample_prototypes(num_functions, generator)
    theta = landscape.sample_starts(generator)
    depth = landscape.mean(theta[:, None])[:, 0] - landscape.minimum
    low, high = _DELTA_RANGE
    index, points, deltas, actions, teachers = [], [], [], [], []
    for _ in range(_STEPS):
        u = torch.rand(num_functions, 2, generator=generator, dtype=theta.dtype)
        lesson = teach(landscape, theta)
        _, gradient, hessian = derivatives(landscape, theta)
        kept = (lesson.gain > 1e-9 * depth).nonzero()[:, 0]
        index.append(kept)
        points.append(theta[kept])
        deltas.append((low * (high / low) ** u[kept, 0]) * 14 / (grid_size - 1))
        actions.append(lesson.step[kept])
        teachers.append(torch.stack([gradient_step(gradient), newton_step(gradient, hessian)], 1)[kept])
        theta = theta + (0.1 + 0.4 * u[:, 1:]) * lesson.step
    unit = [torch.nn.functional.normalize(torch.cat(part), dim=-1) for part in (actions, teachers)]
    return States(landscape.select(torch.cat(index)), torch.cat(points), torch.cat(deltas), *unit)


def look_at(states: States, looks: float, generator: torch.Generator, grid_size: int) -> Tensor:
    """Grids ``(N, n, n)`` with the noise of the mean of so many looks."""
    mean, std = states.landscape.mean_and_std(grid_points(states.theta, states.delta, grid_size))
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return rescale(mean + std * noise / math.sqrt(looks), grid_size)


def posterior_error(states: States, generator: torch.Generator, grid_size: int) -> Tensor:
    """Mean angle error (degrees) of whoever knows all but the orientation, given one noisy grid: ``(N,)``."""
    arc = torch.logspace(-2, math.log10(180), 60, dtype=torch.float64)
    angle = torch.deg2rad(torch.cat([-arc.flip(0), torch.zeros(1, dtype=torch.float64), arc]))  # dense around the truth
    width = torch.gradient(angle)[0]
    width[[0, -1]] /= 2  # -180 and 180 degrees are one angle
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)  # (J, 2, 2)
    eye = torch.eye(2, dtype=torch.float64)
    errors = []
    for part in torch.arange(len(states.theta)).split(_CHUNK):
        landscape, theta = states.landscape.select(part), states.theta[part]
        slope = states.teachers[part, 0]
        mirror = (
            2 * slope[:, :, None] * slope[:, None] - eye
        )  # at the slope: it changes what is seen as little as may be
        mirrored = rotation @ mirror[:, None]
        turns = torch.cat([rotation.expand_as(mirrored), mirrored], 1)  # (S, 2 J, 2, 2), the first half without mirror
        away = grid_points(torch.zeros_like(theta), states.delta[part], grid_size)[:, None]  # (S, 1, P, 2)
        points = theta[:, None, None] + away @ turns  # (S, 2 J, P, 2): the turned surface is f(theta + T' away)
        mean, std = (v.view(points.shape[:-1]) for v in landscape.mean_and_std(points.flatten(1, 2)))
        std = std.clamp(min=1e-6 * landscape.prior[:, None, None])
        truth = len(arc)
        noise = torch.randn(mean[:, truth].shape, generator=generator, dtype=mean.dtype)
        seen = (mean[:, truth] + std[:, truth] * noise)[:, None]
        likelihood = -((seen - mean) / std).square().sum(-1) / 2 - std.log().sum(-1)
        posterior = (likelihood + width.log().repeat(2)).softmax(-1)  # (S, 2 J)
        action = (turns @ states.action[part, None, :, None])[..., 0]  # (S, 2 J, 2), which is also what can be answered
        distance = _degrees(action[:, :, None].expand(-1, -1, len(posterior[0]), -1), action[:, None])
        errors.append((distance @ posterior[..., None])[..., 0].amin(-1))
    return torch.cat(errors)


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
        errors[f"net, {name}"] = _degrees(direction, states.action)
        if looks in (1, math.inf):
            fitted = fit_direction(fit_quadratic(grid.double()))
            errors[f"quadratic fit, {name}"] = _degrees(fitted, states.action)
            nearer = _degrees(direction[:, None].expand(-1, 2, -1), states.teachers).amin(-1)
            errors[f"net, {name}, to the nearer teacher"] = nearer
    order = torch.randperm(len(kind), generator=torch.Generator().manual_seed(config.seed))
    some = torch.cat([order[kind[order] == k][: config.bound_states] for k in range(len(MODALITIES))])
    part = States(states.landscape.select(some), *(column[some] for column in states[1:]))
    bound = posterior_error(part, torch.Generator().manual_seed(config.seed), n)
    errors["no predictor is better, one look"] = torch.full_like(states.delta, math.nan).index_copy(0, some, bound)
    return _report(config, states, errors)


def _load(net: str) -> AngleNet:
    return load_angle_net(net) if net.endswith(".safetensors") else load(net).angle_net


def _name(looks: float) -> str:
    return "no noise" if math.isinf(looks) else "one look" if looks == 1 else f"mean of {looks:g} looks"


def _degrees(direction: Tensor, action: Tensor) -> Tensor:
    return torch.rad2deg(angle_error(direction, action))


def _report(config: DirectionConfig, states: States, errors: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    kind = states.landscape.modality
    means = {
        row: {name: float(error[kind == k].nanmean()) for k, name in enumerate(MODALITIES)}
        for row, error in errors.items()
    }
    folder = Path(config.output_dir)
    save(_figure(states, errors), folder / "direction.png")
    rows: list[list[Any]] = [[row, *(f"{found[name]:.1f}" for name in MODALITIES)] for row, found in means.items()]
    report = Report(
        name=folder.name,
        title="What bounds the direction",
        command="python evaluate.py --config direction.yaml" + (" smoke=true" if config.smoke else ""),
        paragraphs=[
            "States of the *field* protocol, seen with less and less noise, on functions that no net was trained on. "
            "The last row belongs to whoever knows the surface, the point, the resolution and the noise, and lacks only "
            "how the surface is turned and mirrored around the point: no predictor that sees one grid can be better (on "
            "saddles, whose distribution has the symmetries of a square only, nearly so).",
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
        "no predictor is better, one look": ("#000000", "--"),
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
