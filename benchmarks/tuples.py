"""Cloning tuples: how fast they are made, against a loop over functions, and whether the trainer has to wait for them.

``python -m benchmarks.tuples`` prints the rows; ``rows()`` returns them.
"""

from __future__ import annotations

import logging
import time
import warnings
from itertools import islice
from typing import Any

import numpy as np
import torch

from conf import TRAININGS, load_config
from datamodules.cloning import CloningDataModule, streamed_chunk
from datamodules.stream import BatchStream
from rover.landscapes import MODALITIES, sample_prototypes
from rover.learning.cloning import generate_tuples

GRID_SIZE = 15
LABELS = 2  # a state is one positive and one negative tuple


def rows() -> list[dict[str, Any]]:
    """What was measured: ``name``, ``ours``, ``theirs``, ``ratio`` (or the figure itself), ``asked``."""
    loop, one_core, two_cores = loop_rate(), generation_rate(), stream_rate()
    wait = waiting_share()
    against = "labelled tuples/s, {}, against a loop over scikit-learn's GaussianProcessRegressor"
    return [
        _row(against.format("two processes"), two_cores, loop, ">= 100"),
        _row(against.format("one thread"), one_core, loop, ""),
        _row("labelled tuples/s, two processes, in units of 100,000", two_cores, 1e5, ">= 1"),
        _row("share of angle.yaml's training that is spent waiting for data", wait, 1.0, "< 0.1"),
    ]


def _row(name: str, ours: float, theirs: float, asked: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ours / theirs, "asked": asked}


def generation_rate(seconds: float = 3.0, num_functions: int = 2048) -> float:
    """Labelled tuples a second of one thread, in the *field* protocol (noise on every grid)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    try:
        generate_tuples(num_functions, generator, grid_size=GRID_SIZE)
        begin, made = time.process_time(), 0  # of this process: what else the machine does is not counted
        while (taken := time.process_time() - begin) < seconds:
            made += LABELS * len(generate_tuples(num_functions, generator, grid_size=GRID_SIZE).modality)
    finally:
        torch.set_num_threads(threads)
    return made / taken


def stream_rate(num_workers: int = 2, num_chunks: int = 24) -> float:
    """Labelled tuples a second that reach a consumer from `num_workers` processes."""
    config = load_config("angle.yaml", ["data.protocol=field", "data.num_negatives=1"], TRAININGS).config.data
    per_chunk = config.chunk_functions * config.num_steps // config.batch_size
    stream = iter(
        BatchStream(
            _FieldChunk(config),
            batches_per_chunk=per_chunk,
            batch_size=config.batch_size,
            start=lambda: 0,
            num_workers=num_workers,
        )
    )
    for _ in islice(stream, 5 * per_chunk):  # what the processes made while they started
        pass
    begin = time.perf_counter()
    made = sum(len(batch.modality) for batch in islice(stream, num_chunks * per_chunk))
    return LABELS * made / (time.perf_counter() - begin)


class _FieldChunk:
    """``chunk = self(index)``; a class, so that worker processes can be handed it."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __call__(self, index: int) -> Any:
        return streamed_chunk(self.config, 0, 0, index)


def loop_rate(num_functions: int = 16, num_steps: int = 10) -> float:
    """Labelled tuples a second of the obvious program: for each function, for each step, scikit-learn and NumPy.

    It does the same work: condition the field, find the minimum of a saddle, roll the better teacher out. What can be
    asked of a function at once is asked at once; the parameters of the functions are drawn beforehand and not counted.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    generator = torch.Generator().manual_seed(0)
    landscape = sample_prototypes(num_functions, generator)
    starts = landscape.sample_starts(generator).numpy()
    fields = {name: getattr(landscape, name).numpy() for name in ("factor", "centers", "weights", "whitener", "prior")}
    kinds = [MODALITIES[k] for k in landscape.modality]
    values = landscape.mean(landscape.centers).numpy()
    rng = np.random.default_rng(0)
    axis = np.arange(GRID_SIZE) - (GRID_SIZE - 1) / 2
    offsets = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)

    begin = time.process_time()
    for k, kind in enumerate(kinds):
        if kind == "quadratic":
            mean, std = _quadratic(fields["factor"][k], landscape.minimizer[k].numpy(), fields["prior"][k])
        else:
            count = 4 if kind == "saddle" else 1
            kernel = ConstantKernel(fields["prior"][k] ** 2, "fixed") * RBF(1.0, "fixed")
            process = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-10)
            process.fit(fields["centers"][k, :count] @ fields["whitener"][k], values[k, :count])
            mean, std = _field(process, fields["whitener"][k])
            if kind == "saddle":
                _find_minimum(mean, fields["whitener"][k])
        _rollout(mean, std, starts[k], offsets, rng, num_steps)
    return LABELS * num_functions * num_steps / (time.process_time() - begin)


def _find_minimum(mean: Any, whitener: np.ndarray) -> np.ndarray:
    """A coarse grid over five length scales, then Nelder-Mead from its best point."""
    from scipy.optimize import minimize

    axis = np.linspace(-5, 5, 41)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2) @ np.linalg.inv(whitener)
    best = grid[np.argmin(mean(grid))]
    return minimize(lambda x: mean(x[None])[0], best, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}).x


def _quadratic(factor: np.ndarray, center: np.ndarray, scale: float) -> tuple[Any, Any]:
    def mean(x: np.ndarray) -> np.ndarray:
        return (((x - center) @ factor.T) ** 2).sum(-1)

    return mean, lambda x: (mean(x), np.full(len(x), scale))


def _field(process: Any, whitener: np.ndarray) -> tuple[Any, Any]:
    return lambda x: process.predict(x @ whitener), lambda x: process.predict(x @ whitener, return_std=True)


def _rollout(mean: Any, mean_and_std: Any, theta: np.ndarray, offsets: np.ndarray, rng: Any, num_steps: int) -> None:
    """The better of gradient descent and Newton, derivatives by central differences, a noisy grid at every step."""
    h = 1e-4
    e = h * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]])
    lengths, damping = np.logspace(-3, 1, 21)[:, None], 2.0 ** np.arange(-6, 4)[:, None]
    for _ in range(num_steps):
        delta = 0.02 * 75 ** rng.random()
        average, spread = mean_and_std(theta + delta * offsets)
        grid = average + spread * rng.standard_normal(len(average))
        grid = (grid - grid.min()) / max(np.ptp(grid), 1e-12)
        f, right, left, up, down, both, neither = mean(theta + e)
        gradient = np.array([right - left, up - down]) / (2 * h)
        a, d = (right + left - 2 * f) / h**2, (up + down - 2 * f) / h**2
        b = ((both + neither - 2 * f) / h**2 - a - d) / 2
        eigen, vectors = np.linalg.eigh(np.array([[a, b], [b, d]]))
        newton = -vectors @ (vectors.T @ gradient / np.maximum(np.abs(eigen), 1e-6))
        newton *= min(1.0, 10 / max(np.abs(newton).max(), 1e-12))
        steps = np.concatenate([-lengths * gradient / max(np.linalg.norm(gradient), 1e-12), damping * newton])
        step = steps[np.argmin(mean(theta + steps))]
        angle = np.arctan2(step[1], step[0]) + np.pi * (0.5 + rng.random())  # of the negative action
        _ = grid, np.array([np.cos(angle), np.sin(angle)])
        theta = theta + (0.1 + 0.4 * rng.random()) * step


def waiting_share(num_batches: int = 1000) -> float:
    """Share of the training loop of ``angle.yaml`` that is spent on getting the next batch.

    The first batch is left out: the start of the generating process takes seconds once, not a share of the training.
    """
    import lightning.pytorch as pl
    from lightning.pytorch.profilers import SimpleProfiler

    from lit_modules.angle import AngleModule

    config = load_config("angle.yaml", [], TRAININGS).config
    profiler, threads, log = SimpleProfiler(), torch.get_num_threads(), logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                accelerator="cpu",
                devices=1,
                max_epochs=1,
                limit_train_batches=num_batches,
                limit_val_batches=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                profiler=profiler,
            )
            trainer.fit(AngleModule(config.model), CloningDataModule(config.data, seed=config.seed))
    finally:
        log.setLevel(level)
        torch.set_num_threads(threads)
    first, *waits = profiler.recorded_durations["[_TrainingEpochLoop].train_dataloader_next"]
    return sum(waits) / (sum(profiler.recorded_durations["run_training_epoch"]) - first)


if __name__ == "__main__":
    for row in rows():
        print(f"{row['ratio']:10.3g} (asked {row['asked']}): {row['name']}; {row['ours']:.3g} / {row['theirs']:.3g}")
