"""From the user's function to ``(m, d) -> (m,)``: batched or point by point, here or on workers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rover.optimize.settings import as_array

Array = NDArray[Any]
_CHUNKS_A_WORKER = 4  # enough to even out uneven points, few enough that sending them costs little


class WorkerError(RuntimeError):
    """The workers died; what was known until then is in ``result``."""

    result: Any = None


class PointByPoint:
    """Rows ``(m, d)`` to a list of floats, one call of `fun` a row; picklable if `fun` is."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.fun, self.args = fun, args

    def __call__(self, points: Array) -> list[float]:
        """``(m, d) -> m`` floats."""
        return [as_number(self.fun(x.copy(), *self.args)) for x in points]


class Batched:
    """Rows ``(m, d)`` to ``(m,)`` in one call; the points are torch tensors where x0 was one."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...], device: torch.device | None) -> None:
        self.fun, self.args, self.device = fun, args, device

    def __call__(self, points: Array) -> Array:
        """``(m, d) -> (m,)``."""
        given: Any = points.copy()
        if self.device is not None:
            given = torch.from_numpy(given).to(self.device)
        values = self.fun(given, *self.args)
        if isinstance(values, torch.Tensor):
            values = as_array(values)
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise ValueError(f"the batched objective must return {len(points)} numbers ({error})") from None
        if array.shape != (len(points),) or array.dtype.kind not in "fiub":
            raise ValueError(
                f"the batched objective must map points of shape {points.shape} to ({len(points)},) real numbers, "
                f"got {array.dtype} of shape {array.shape}"
            )
        return array.astype(np.float64)


class OnWorkers:
    """Chunks of rows on an executor or through a map-like callable, in order."""

    def __init__(self, evaluate: Callable[[Array], Any], workers: Any) -> None:
        self.evaluate, self.workers = evaluate, workers
        executor = isinstance(workers, Executor)
        if not executor and not callable(workers):
            raise ValueError(
                "`workers` must be a concurrent.futures.Executor or a callable like map(function, iterable), "
                f"got {workers!r}; for processes pass ProcessPoolExecutor({workers if isinstance(workers, int) else 4})"
            )
        self.map = workers.map if executor else workers
        self.chunks = _CHUNKS_A_WORKER * (getattr(workers, "_max_workers", None) or os.cpu_count() or 1)
        if _crosses_processes(workers):
            try:
                pickle.dumps(evaluate)
            except Exception as error:
                raise ValueError(
                    f"the objective cannot be sent to another process ({error}); define it at the top level of a "
                    "module (no lambda, no local function) or use threads"
                ) from error

    def __call__(self, points: Array) -> Array:
        """``(m, d) -> (m,)``."""
        pieces = np.array_split(points, min(self.chunks, len(points)))
        try:
            values: Iterable[Any] = self.map(self.evaluate, pieces)
            return np.concatenate([np.asarray(part, dtype=np.float64) for part in values])
        except BrokenExecutor as error:
            raise WorkerError(
                f"a worker died while it evaluated the objective ({str(error) or type(error).__name__}); "
                "what was found until then is in the `result` of this exception"
            ) from error


def _crosses_processes(workers: Any) -> bool:
    """Whether the plain pickle must carry the function (Dask and others bring their own)."""
    if isinstance(workers, ProcessPoolExecutor):
        return True
    owner = type(getattr(workers, "__self__", None))
    return owner.__module__ == "multiprocessing.pool" and owner.__name__ == "Pool"


def as_number(value: Any) -> float:
    """What an objective returned as a float.

    Raises:
        ValueError: if it is not one real number.
    """
    if isinstance(value, float):
        return value
    if isinstance(value, torch.Tensor):
        value = as_array(value)
    array = np.asarray(value) if not isinstance(value, (list, tuple)) else np.empty(0)
    if array.size != 1 or array.dtype.kind not in "fiub":
        shape = (
            f"an array of shape {array.shape}" if isinstance(value, np.ndarray) else f"{type(value).__name__} {value!r}"
        )
        raise ValueError(
            f"the objective must return one real number, got {shape}; with `batched=True` it takes all points"
        )
    return float(array.reshape(()))


def make_objective(
    fun: Any, args: tuple[Any, ...], *, batched: bool, workers: Any, device: torch.device | None
) -> Callable[[Array], Array]:
    """``(m, d) -> (m,)`` float64 from whatever the user gave.

    Args:
        fun: ``f(x, *args)``, or with `batched` ``f(points, *args)``.
        args: extra arguments.
        batched: whether `fun` takes all points at once.
        workers: an executor, a map-like callable, or None.
        device: where the points of a torch objective live; None for NumPy.
    """
    if not callable(fun):
        raise ValueError(f"`fun` must be callable, got {fun!r}")
    if not isinstance(batched, (bool, np.bool_)):
        raise ValueError(f"`batched` must be True or False, got {batched!r}")
    evaluate: Callable[[Array], Any] = Batched(fun, args, device) if batched else PointByPoint(fun, args)
    if workers is not None:
        return OnWorkers(evaluate, workers)
    return lambda points: np.asarray(evaluate(points), dtype=np.float64)
