"""What a comparison records: a :class:`Run` a method, a row a round, and the :class:`Ledger` that keeps honest books.

A *round* is what could be evaluated in parallel: an iteration of gradient descent, Newton or Nelder-Mead, a generation
of an evolution strategy, one grid of the rover. Row 0 is the start, whose value everybody knows and pays for once.

Every gap is the **noise-free** ``f(x) - f*``. ``best`` belongs to the point that the method would return if it were
stopped there, which is chosen from noisy values where evaluations are noisy; without noise it can only fall.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rover.landscapes.base import Landscape

Array = NDArray[Any]

_WORST = 1e300  # stands for NaN and inf: several libraries compare with it, none of them does arithmetic on it


@dataclass(frozen=True)
class Run:
    """R runs of one method on R instances, T + 1 rows each.

    Attributes:
        method: name in :data:`rover.evaluation.baselines.METHODS` (or the rover's).
        current: ``(R, T + 1)`` true gap where the method stands.
        best: ``(R, T + 1)`` true gap of the point it would return.
        evaluations: ``(R, T + 1)`` function evaluations so far.
        derivatives: ``(R, T + 1)`` derivative calls so far: 1 for a gradient, d more for a Hessian.
        seconds: ``(R, T + 1)`` wall-clock time so far, of one run alone.
        hyper: the hyper-parameters.
    """

    method: str
    current: Array
    best: Array
    evaluations: Array
    derivatives: Array
    seconds: Array
    hyper: dict[str, Any] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """The last round T."""
        return self.best.shape[1] - 1

    def __len__(self) -> int:
        return self.best.shape[0]

    def truncated(
        self, *, rounds: int | None = None, evaluations: int | None = None, seconds: float | None = None
    ) -> Run:
        """The same runs as if stopped at a round, or before the one that would pass a number of evaluations or a time."""
        run = self
        if rounds is not None:
            keep = slice(None, rounds + 1)
            run = run.map_columns(lambda column: column[:, keep])
        for spent, limit in ((run.evaluations, evaluations), (run.seconds, seconds)):
            if limit is not None:
                index = np.minimum(np.arange(run.rounds + 1), (spent <= limit).sum(1, keepdims=True) - 1)
                run = run.map_columns(partial(np.take_along_axis, indices=np.maximum(index, 0), axis=1))
        return run

    def map_columns(self, fn: Callable[[Array], Array]) -> Run:
        """A copy with ``fn`` applied to every column of :data:`COLUMNS`."""
        columns: dict[str, Any] = {name: fn(getattr(self, name)) for name in COLUMNS}
        return replace(self, **columns)


COLUMNS = ("current", "best", "evaluations", "derivatives", "seconds")


def concatenate(runs: list[Run]) -> Run:
    """Runs of one method on several problems as one; shorter ones stand still after their last row."""
    rows = max(run.rounds for run in runs)

    padded = [
        run.map_columns(lambda column: np.pad(column, ((0, 0), (0, rows + 1 - column.shape[1])), mode="edge"))
        for run in runs
    ]
    columns: dict[str, Any] = {name: np.concatenate([getattr(run, name) for run in padded]) for name in COLUMNS}
    return replace(runs[0], **columns)


def true_gaps(problem: Landscape, points: Tensor, *, bounded: bool) -> Array:
    """Noise-free ``f(x) - f*``, at least 0: ``(B, P, d) -> (B, P)``.

    A point where f is not finite counts as infinitely bad, and so does one outside the box of a ``bounded`` problem (a
    function that falls without end outside its box would otherwise be "solved" there).
    """
    with torch.no_grad():
        gap = (problem.mean(points) - problem.minimum[:, None]).clamp(min=0)
        bad = ~gap.isfinite()
        if bounded:
            slack = 1e-9 * (problem.upper - problem.lower)[:, None]
            outside = (points < problem.lower[:, None] - slack) | (points > problem.upper[:, None] + slack)
            bad = bad | outside.any(-1)
        return gap.masked_fill(bad, math.inf).numpy()


class BudgetSpent(Exception):
    """Raised inside an objective to leave a library's loop; never reaches a user."""


class Ledger:
    """A counted, noisy objective for one instance, and the rows of its run.

    Args:
        problem: one instance (B = 1).
        start: ``(d,)``; evaluated at once, and not charged again if it is the first point a method asks for.
        rounds: refuse to evaluate after this many rows.
        max_evaluations: stop before this many evaluations are passed.
        generator: source of the evaluation noise; ``None`` evaluates without noise.
        round_is_call: close a round after every call (methods whose calls are whole batches, or strictly sequential).
    """

    def __init__(
        self,
        problem: Landscape,
        start: Array,
        *,
        rounds: int,
        max_evaluations: int | None = None,
        generator: torch.Generator | None = None,
        round_is_call: bool = False,
    ) -> None:
        self._problem, self._generator = problem, generator
        self._rounds = rounds
        self._budget = math.inf if max_evaluations is None else max_evaluations
        self._round_is_call = False
        self.evaluations = 0
        self._spent = False
        self.rows: list[tuple[Array, Array, int, float]] = []  # current, returned, evaluations, seconds
        self.best_point, self.best_value = start, math.inf
        self._began = time.perf_counter()
        self.start_value = float(self._evaluate(start[None])[0])
        self._known = {start.tobytes(): self.start_value}
        self.close_round(start)
        self._round_is_call = round_is_call

    def __call__(self, points: Array) -> Any:
        """Evaluate ``(d,) -> float`` or ``(m, d) -> (m,)``."""
        points = np.asarray(points, dtype=np.float64)
        if points.ndim == 1 and (key := points.tobytes()) in self._known:
            return self._known.pop(key)
        values = self._evaluate(np.atleast_2d(points))
        if self._round_is_call:
            self.close_round(self.best_point)
        return values if points.ndim == 2 else float(values[0])

    def prefetch(self, points: Array) -> Array:
        """Evaluate ``(m, d)`` points that a library will ask for one by one; it is not charged for them again."""
        values = np.array([self(point) for point in points])
        self._known.update((point.tobytes(), float(value)) for point, value in zip(points, values, strict=True))
        return values

    def _evaluate(self, points: Array) -> Array:
        if self.evaluations + len(points) > self._budget or len(self.rows) > self._rounds:
            self._spent = True
            raise BudgetSpent
        with torch.no_grad():
            values = self._problem(torch.as_tensor(points)[None], self._generator)[0].numpy()
        self.evaluations += len(points)
        values = np.nan_to_num(values, nan=_WORST, posinf=_WORST, neginf=-_WORST)
        lowest = int(values.argmin())
        if values[lowest] < self.best_value:
            self.best_value, self.best_point = float(values[lowest]), points[lowest].copy()
        return values

    def close_round(self, current: Array, returned: Array | None = None) -> None:
        """Write a row: where the method stands and what it would return (the best observed unless said otherwise)."""
        if self._spent:  # SciPy before 1.16 also reports the iteration that could not be finished
            return
        returned = self.best_point if returned is None else returned
        seconds = time.perf_counter() - self._began
        self.rows.append((np.array(current), np.array(returned), self.evaluations, seconds))

    def close(self) -> None:
        """Enter what an interrupted round evaluated, if a row is left for it."""
        if self.evaluations > self.rows[-1][2] and len(self.rows) <= self._rounds:
            seconds = time.perf_counter() - self._began
            self.rows.append((self.rows[-1][0], self.best_point, self.evaluations, seconds))


class Setting(NamedTuple):
    """What a sequential method is told about one instance."""

    start: Array  # (d,)
    lower: Array  # (d,), the box: a bound if `bounded`, a sense of scale for restarts and first steps otherwise
    upper: Array
    bounded: bool
    rng: np.random.Generator

    @property
    def width(self) -> Array:
        """``(d,)`` extent of the box."""
        return self.upper - self.lower

    @property
    def bounds(self) -> list[tuple[float, float]] | None:
        """Pairs for SciPy, or ``None`` where the box is no bound."""
        return list(zip(self.lower.tolist(), self.upper.tolist(), strict=True)) if self.bounded else None


Body = Callable[[Ledger, Setting], None]


def run_each(
    method: str,
    body: Body,
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int,
    max_evaluations: int | None = None,
    noisy: bool = False,
    bounded: bool = False,
    round_is_call: bool = False,
    hyper: dict[str, Any] | None = None,
) -> Run:
    """Run a sequential method on every instance in turn; instance b has its own random stream ``(seed, b)``.

    Args:
        method: the name in the result.
        body: ``body(ledger, setting)`` minimises one instance until it is done or :class:`BudgetSpent` is raised.
        problem: B instances.
        start: ``(B, d)``.
        rounds: last row T of the result.
        seed: of the methods' random numbers and of the evaluation noise.
        max_evaluations: a budget for each instance; ``None`` for no limit.
        noisy: evaluate with the landscape's noise.
        bounded: hand the box to the method and count points outside it as failures.
        round_is_call: see :class:`Ledger`.
        hyper: kept in the result.
    """
    check_start(problem, start)
    ledgers = []
    for b in range(problem.batch_size):
        one = problem.select(slice(b, b + 1))
        first = start[b].numpy().astype(np.float64)
        rng = np.random.default_rng([seed, b])
        setting = Setting(first, one.lower[0].numpy(), one.upper[0].numpy(), bounded, rng)
        noise = torch.Generator().manual_seed(stream_seed(seed, b)) if noisy else None
        ledger = Ledger(
            one, first, rounds=rounds, max_evaluations=max_evaluations, generator=noise, round_is_call=round_is_call
        )
        with contextlib.suppress(BudgetSpent):
            body(ledger, setting)
        ledger.close()
        ledgers.append(ledger)
    return from_rows(method, [ledger.rows for ledger in ledgers], problem, bounded=bounded, hyper=hyper or {})


def from_rows(
    method: str,
    rows: list[list[tuple[Array, Array, int, float]]],
    problem: Landscape,
    *,
    bounded: bool,
    hyper: dict[str, Any],
) -> Run:
    """Assemble a :class:`Run` from the rows of each instance; a run that ended early stands still."""
    length = max(len(r) for r in rows)
    padded = [r + [r[-1]] * (length - len(r)) for r in rows]
    current = torch.as_tensor(np.array([[row[0] for row in r] for r in padded]))
    returned = torch.as_tensor(np.array([[row[1] for row in r] for r in padded]))
    evaluations = np.array([[row[2] for row in r] for r in padded], dtype=np.int64)
    return Run(
        method=method,
        current=true_gaps(problem, current, bounded=bounded),
        best=true_gaps(problem, returned, bounded=bounded),
        evaluations=evaluations,
        derivatives=np.zeros_like(evaluations),
        seconds=np.array([[row[3] for row in r] for r in padded]),
        hyper=hyper,
    )


def stream_seed(seed: int, index: int) -> int:
    """A torch seed for instance ``index`` that no other ``(seed, index)`` is likely to share."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)


def check_start(problem: Landscape, start: Tensor) -> None:
    """Raise ``ValueError`` unless ``start`` has one point for each instance."""
    expected = (problem.batch_size, problem.dim)
    if tuple(start.shape) != expected:
        raise ValueError(f"`start` must have shape {expected}, one point for each instance, got {tuple(start.shape)}")
