"""Landscape evaluations a second: against a loop over functions, scikit-learn, and what the machine can do at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.measure import interleaved, rate_row
from rover.landscapes import MODALITIES, Prototypes, sample_prototypes
from rover.navigation.grid import grid_points

BATCH, LOOPED, GRID_SIZE = 256, 32, 15
CHUNK = 2048  # functions at once where points are few: the cloning data


def rows() -> list[dict[str, Any]]:
    """What was measured, see :mod:`benchmarks.measure`."""
    return [*_loops(1), *_loops(GRID_SIZE), _ceiling(MODALITIES), *(_ceiling((name,)) for name in MODALITIES[1:])]


def _loops(grid_size: int) -> list[dict[str, Any]]:
    """Noisy evaluations against loops over the functions: of our own surfaces, in NumPy, and in scikit-learn."""
    batch = CHUNK if grid_size == 1 else BATCH
    surfaces, points, generator = _batch(MODALITIES, grid_size, batch)
    few, their_points, _ = _batch(MODALITIES, grid_size, LOOPED)
    functions, rng = [numpy_function(few, k) for k in range(LOOPED)], np.random.default_rng(0)
    processes = [gaussian_process(few, k) for k in range(LOOPED)]
    where = their_points.numpy()

    def loop() -> None:
        for function, x in zip(functions, where, strict=True):
            mean, std = function(x)
            _ = mean + std * rng.standard_normal(len(mean))

    def fitted() -> None:
        for process, x in zip(processes, where, strict=True):
            if process is not None:
                mean, std = process.predict(x, return_std=True)
                _ = mean + std * rng.standard_normal(len(mean))

    single = [few.select(slice(k, k + 1)) for k in range(LOOPED)]

    def one_by_one() -> None:
        for k, surface in enumerate(single):
            surface(their_points[k : k + 1], generator)

    rivals = {
        "ours": lambda: surfaces(points, generator),
        "one by one": one_by_one,
        "loop": loop,
        "scikit-learn": fitted,
    }
    seconds = interleaved(rivals)
    size, count = points.shape[1], LOOPED * points.shape[1]
    of = f"{batch} functions, " + ("1 point" if size == 1 else f"{size} points")
    fields = sum(process is not None for process in processes) * size
    asked = ">= 100" if size == 1 else ""
    return [
        rate_row(
            f"noisy evaluations/s, {of} each, against the same surfaces one by one in a loop",
            seconds["ours"], seconds["one by one"], asked, work=batch * size, their_work=count,
        ),
        rate_row(
            f"noisy evaluations/s, {of} each, against a NumPy loop over the functions",
            seconds["ours"], seconds["loop"], asked, work=batch * size, their_work=count,
        ),
        rate_row(
            f"noisy evaluations/s, {of} each, against a loop over scikit-learn's GaussianProcessRegressor",
            seconds["ours"], seconds["scikit-learn"], ">= 100", work=batch * size, their_work=fields,
        ),
    ]  # fmt: skip


def _ceiling(modalities: tuple[str, ...]) -> dict[str, Any]:
    """Noise-free evaluations against one exponential and one multiply-add for each point and centre.

    A quadratic has no exponential: there the ceiling is the multiply-add.
    """
    surfaces, points, _ = _batch(modalities, GRID_SIZE)
    size = points.shape[1]
    centers = {"quadratic": 0, "valley": 1, "saddle": 4, "plateau": 1}
    counts = torch.tensor([centers[name] for name in MODALITIES])[surfaces.modality]
    exponentials, additions = int(counts.sum()) * size, int(counts.clamp(min=1).sum()) * size
    x = -torch.rand(additions, dtype=torch.float64)
    a, out = torch.rand_like(x), torch.empty_like(x)

    def ceiling() -> None:
        torch.exp(x[:exponentials], out=out[:exponentials])
        torch.addcmul(a, out, a, out=out)

    seconds = interleaved({"ours": lambda: surfaces.mean(points), "ceiling": ceiling}, rounds=25)
    what = "all modalities mixed" if len(modalities) > 1 else f"{modalities[0]}s"
    name = f"evaluations/s, {what}, as a share of the ceiling (one exp and one multiply-add a point and centre)"
    return rate_row(name, seconds["ours"], seconds["ceiling"], ">= 0.5", work=BATCH * size)


def _batch(
    modalities: tuple[str, ...], grid_size: int, count: int = BATCH
) -> tuple[Prototypes, torch.Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(0)
    surfaces = sample_prototypes(count, generator, modalities)
    starts = surfaces.sample_starts(generator)
    if grid_size == 1:
        return surfaces, starts[:, None], generator
    return surfaces, grid_points(starts, torch.full((count,), 0.1, dtype=starts.dtype), grid_size), generator


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
