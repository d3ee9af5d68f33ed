"""Landscape evaluations a second: against a loop over functions, scikit-learn, and what the machine can do at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.measure import interleaved, rate_row
from rover.landscapes import MODALITIES, Prototypes, sample_prototypes
from rover.navigation.grid import grid_offsets, grid_points

BATCH, LOOPED, GRID_SIZE = 256, 32, 15
REPEATED = 20
CHUNK = 2048  # functions at once: the cloning data


def rows() -> list[dict[str, Any]]:
    """What was measured, see :mod:`benchmarks.measure`."""
    kinds = [MODALITIES, *((name,) for name in MODALITIES[1:])]
    ceilings = [row for count in (CHUNK, BATCH) for names in kinds for row in _ceiling(names, count)]
    return [*_loops(1), *_loops(GRID_SIZE), *ceilings]


def _loops(grid_size: int) -> list[dict[str, Any]]:
    """Noisy evaluations against loops over the functions: of our own surfaces, in NumPy, and in scikit-learn."""
    batch = CHUNK if grid_size == 1 else BATCH
    ours, few = Case(MODALITIES, grid_size, batch), Case(MODALITIES, grid_size, LOOPED)
    rng, where = np.random.default_rng(0), few.points.numpy()
    functions = [numpy_function(few.surfaces, k) for k in range(LOOPED)]
    processes = [gaussian_process(few.surfaces, k) for k in range(LOOPED)]

    def loop() -> None:
        for function, x in zip(functions, where, strict=True):
            mean, std = function(x)
            _ = mean + std * rng.standard_normal(len(mean))

    def fitted() -> None:
        for process, x in zip(processes, where, strict=True):
            if process is not None:
                mean, std = process.predict(x, return_std=True)
                _ = mean + std * rng.standard_normal(len(mean))

    single = [few.select(k) for k in range(LOOPED)]

    def one_by_one() -> None:
        for case in single:
            case(noisy=True)

    rivals = {
        "ours": repeated(lambda: ours(noisy=True)),
        "one by one": one_by_one,
        "loop": loop,
        "scikit-learn": fitted,
    }
    seconds = interleaved(rivals)
    size = few.points.shape[1]
    of = f"{batch} functions, " + ("1 point" if size == 1 else f"grids of {size} points")
    fields = sum(process is not None for process in processes) * size
    asked = ">= 100" if size == 1 else ""
    names = {
        "one by one": ("the same surfaces one by one in a loop", asked, LOOPED * size),
        "loop": ("a NumPy loop over the functions", asked, LOOPED * size),
        "scikit-learn": ("a loop over scikit-learn's GaussianProcessRegressor", ">= 100", fields),
    }
    return [
        rate_row(
            f"noisy evaluations/s, {of} each, against {what}",
            seconds["ours"], seconds[rival], bound, work=REPEATED * batch * size, their_work=work,
        )
        for rival, (what, bound, work) in names.items()
    ]  # fmt: skip


def _ceiling(modalities: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Noise-free evaluations against one exponential and one multiply-add for each point and centre.

    A quadratic has no exponential: there the ceiling is the multiply-add. Grids (what a rover samples) and the same points
    without the knowledge that they form grids.
    """
    case = Case(modalities, GRID_SIZE, count)
    size = case.points.shape[1]
    centers = {"quadratic": 0, "valley": 1, "saddle": 4, "plateau": 1}
    counts = torch.tensor([centers[name] for name in MODALITIES])[case.surfaces.modality]
    exponentials, additions = int(counts.sum()) * size, int(counts.clamp(min=1).sum()) * size
    x = -torch.rand(additions, dtype=torch.float64)
    a, out = torch.rand_like(x), torch.empty_like(x)

    def ceiling() -> None:
        torch.exp(x[:exponentials], out=out[:exponentials])
        torch.addcmul(a, out, a, out=out)

    points = case.points
    rivals = {"grids": case, "points": lambda: case.surfaces.mean(points), "ceiling": ceiling}
    seconds = interleaved({name: repeated(rival) for name, rival in rivals.items()}, rounds=25)
    what = f"{count} functions, " + ("all modalities" if len(modalities) > 1 else f"{modalities[0]}s")
    work = REPEATED * count * size
    return [
        rate_row(
            f"evaluations/s on grids, {what}, as a share of the ceiling (one exp and one multiply-add a point and centre)",
            seconds["grids"], seconds["ceiling"], ">= 0.5", work=work,
        ),
        rate_row(f"the same at points that need not be grids, {what}", seconds["points"], seconds["ceiling"], work=work),
    ]  # fmt: skip


def repeated(call: Callable[[], Any]) -> Callable[[], None]:
    """So many calls as one, which is long enough to be timed."""

    def calls() -> None:
        for _ in range(REPEATED):
            call()

    return calls


class Case:
    """Surfaces, and where they are evaluated: on the grids of rovers at their starts, or (grid size 1) at the starts."""

    def __init__(self, modalities: tuple[str, ...], grid_size: int, count: int) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.surfaces = sample_prototypes(count, self.generator, modalities)
        self.center = self.surfaces.sample_starts(self.generator)
        self.offsets = torch.zeros(1, 2, dtype=torch.float64) if grid_size == 1 else grid_offsets(grid_size)
        self.delta = torch.full((count,), 0.1, dtype=torch.float64)
        self.frame = torch.eye(2, dtype=torch.float64).repeat(count, 1, 1)

    @property
    def points(self) -> torch.Tensor:
        """The same places one by one, ``(B, P, 2)``."""
        grid_size = int(len(self.offsets) ** 0.5)
        return self.center[:, None] if grid_size == 1 else grid_points(self.center, self.delta, grid_size)

    def select(self, index: int) -> Case:
        """One instance."""
        new, part = copy.copy(self), slice(index, index + 1)
        new.surfaces = self.surfaces.select(part)
        new.center, new.delta, new.frame = self.center[part], self.delta[part], self.frame[part]
        return new

    def __call__(self, noisy: bool = False) -> torch.Tensor:
        """Evaluate, as the environment does."""
        generator = self.generator if noisy else None
        if len(self.offsets) == 1:
            return self.surfaces(self.center[:, None], generator)
        return self.surfaces.on_grid(self.center, self.delta[:, None, None] * self.frame, self.offsets, generator)


def numpy_function(surfaces: Prototypes, index: int) -> Any:
    """``(P, 2) -> (P,), (P,)``: mean and standard deviation of one instance, as one would write it in NumPy."""
    modality, prior = MODALITIES[int(surfaces.modality[index])], float(surfaces.prior[index])
    if modality == "quadratic":
        factor, center = surfaces.factor[index].numpy(), surfaces.minimizer[index].numpy()
        return lambda x: ((((x - center) @ factor.T) ** 2).sum(-1), prior)
    count = 4 if modality == "saddle" else 1
    centers, whitener = surfaces.centers[index, :count].numpy(), surfaces.whitener[index].numpy()
    weights, inverse = surfaces.weights[index, :count].numpy(), surfaces.inverse[index, :count, :count].numpy()

    def field(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phi = np.exp(-0.5 * (((x[:, None] - centers) @ whitener) ** 2).sum(-1))
        explained = ((phi @ inverse) * phi).sum(-1)
        return phi @ weights, prior * np.sqrt(np.maximum(1 - explained, 0))

    return field


def gaussian_process(surfaces: Prototypes, index: int) -> Any:
    """The same as a fitted scikit-learn model on whitened points; None for a quadratic."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    modality = MODALITIES[int(surfaces.modality[index])]
    if modality == "quadratic":
        return None
    count = 4 if modality == "saddle" else 1
    centers = surfaces.centers[index : index + 1, :count]
    values = surfaces.select(slice(index, index + 1)).mean(centers)[0].numpy()
    kernel = ConstantKernel(float(surfaces.prior[index]) ** 2, "fixed") * RBF(1.0, "fixed")
    process = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-10)
    return process.fit(centers[0].numpy() @ surfaces.whitener[index].numpy(), values)
