"""``rover.minimize``: a thin loop over :class:`rover.Optimizer` with SciPy's signature."""

from __future__ import annotations

import inspect
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from rover.optimize.objective import WorkerError, make_objective
from rover.optimize.optimizer import Optimizer
from rover.optimize.result import RoverResult
from rover.optimize.settings import OPTIONS, refuse_unknown
from rover.optimize.stopping import Status

_OURS = ("batched", "workers", "disp")


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    *,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> RoverResult:
    """Minimise a function with a trained rover: no gradient, one batch of points a round.

    Args:
        fun: ``f(x, *args) -> float``; with ``batched=True`` ``f(points, *args)``, ``(m, d) -> (m,)``, NumPy in and out,
            or torch in and out where `x0` is a tensor. NaN and infinities count as worse than everything finite.
        x0: start ``(d,)``, or several ``(S, d)`` that run together (the best is returned, ``result.starts`` has all).
        args: extra arguments of `fun`.
        jac, hess, hessp: not used; a warning says so.
        bounds: SciPy ``Bounds`` or d pairs ``(low, high)``; no point outside is ever evaluated.
        constraints: must be empty.
        tol: sets `xatol` and `fatol` where they are not given.
        callback: called after each round, as SciPy does: ``callback(intermediate_result=r)`` if that is the name of its
            only parameter, else ``callback(x)`` with the best point so far. ``StopIteration`` ends the run.
        options: the keyword arguments below as a mapping (SciPy's custom-method protocol).
        **more: ``batched``, ``workers`` (an Executor or a map-like callable), ``disp`` (progress on stderr), and every
            option of :class:`rover.optimize.settings.Settings`: ``maxiter maxfev xatol fatol ftarget maxtime policy
            seed initial_step initial_resolution probe restarts noisy slices ...``

    Returns:
        the best point evaluated and how it was found, see :class:`rover.optimize.result.RoverResult`.

    Raises:
        ValueError: for arguments that make no sense, before anything is evaluated, and for values that are not numbers.
        WorkerError: if a worker process died; its ``result`` holds what was known until then.

    Example:
        >>> import rover
        >>> result = rover.minimize(lambda x: (x[0] - 1) ** 2 + (x[1] + 2) ** 2, [4.0, 4.0])  # doctest: +SKIP
        >>> result.x.round(3)  # doctest: +SKIP
        array([ 1., -2.])
    """
    merged = {**more, **dict(options or {})}
    refuse_unknown(merged, OPTIONS + _OURS)
    _warn_of_derivatives(jac, hess, hessp)
    if not _is_empty(constraints):
        raise ValueError("`constraints` are not supported; use `bounds`, or add a penalty to the objective")
    if tol is not None:
        merged.setdefault("xatol", tol)
        merged.setdefault("fatol", tol)
    if jac is True:
        fun = FirstOf(fun)
    args = args if isinstance(args, tuple) else (args,)
    batched, workers, disp = (merged.pop(name, None) for name in _OURS)
    device = x0.device if isinstance(x0, torch.Tensor) else None
    evaluate = make_objective(fun, args, batched=False if batched is None else batched, workers=workers, device=device)
    report = _callback(callback)
    optimizer = Optimizer(x0, bounds=merged.pop("bounds", bounds), **merged)
    progress = Progress() if disp else None
    while not optimizer.stop():
        _one_round(optimizer, evaluate)
        if progress is not None:
            progress.show(optimizer)
        if report is not None:
            try:
                report(optimizer.best)
            except StopIteration:
                optimizer.halt(Status.CALLBACK)
    result = optimizer.result
    if progress is not None:
        progress.close(result)
    return result


def _one_round(optimizer: Optimizer, evaluate: Callable[[Any], Any]) -> None:
    pieces, values = [], []
    try:
        for piece in optimizer.batches():
            pieces.append(piece)
            values.append(optimizer.check_values(evaluate(piece), len(piece)))
    except WorkerError as error:
        error.result = optimizer.result
        raise
    points = pieces[0] if len(pieces) == 1 else None
    ends = np.cumsum([len(piece) for piece in pieces])

    def row(index: int) -> Any:
        if points is not None:
            return points[index]
        which = int(np.searchsorted(ends, index, side="right"))
        return pieces[which][index - (ends[which] - len(pieces[which]))]

    optimizer.receive(values[0] if len(values) == 1 else np.concatenate(values), row)


class FirstOf:
    """The first of the two things that a function with ``jac=True`` returns."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun

    def __call__(self, *args: Any) -> Any:
        """The value without the gradient.

        Raises:
            ValueError: if the function does not return a pair.
        """
        pair = self.fun(*args)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"with `jac=True`, `fun` must return (value, gradient), got {type(pair).__name__}")
        return pair[0]


def _warn_of_derivatives(jac: Any, hess: Any, hessp: Any) -> None:
    for name, given, what in (
        ("jac", jac is not None and jac is not False, "gradient information"),
        ("hess", hess is not None, "Hessian information"),
        ("hessp", hessp is not None, "Hessian-vector product information"),
    ):
        if given:
            warnings.warn(f"Method rover does not use {what} ({name}).", RuntimeWarning, stacklevel=3)


def _is_empty(constraints: Any) -> bool:
    return constraints is None or (isinstance(constraints, (tuple, list, dict)) and len(constraints) == 0)


def _callback(callback: Any) -> Callable[[RoverResult], Any] | None:
    """SciPy's two kinds of callback behind one call."""
    if callback is None:
        return None
    if not callable(callback):
        raise ValueError(f"`callback` must be callable, got {callback!r}")
    try:
        names = set(inspect.signature(callback).parameters)
    except (TypeError, ValueError):  # built-in functions have no signature
        names = set()
    if names == {"intermediate_result"}:
        return lambda best: callback(intermediate_result=best)
    return lambda best: callback(best.x.copy())


class Progress:
    """One line on stderr that is rewritten on a terminal, and written now and then elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.last = -1.0

    def show(self, optimizer: Optimizer) -> None:
        """After a round."""
        now = time.monotonic()
        if now - self.last < (0.1 if self.live else 5.0) and optimizer.nit > 1:
            return
        self.last = now
        best = optimizer.best
        line = f"rover: round {best.nit}, {best.nfev} evaluations, best {best.fun:.10g}"
        sys.stderr.write(f"\r{line:<78}" if self.live else line + "\n")
        sys.stderr.flush()

    def close(self, result: RoverResult) -> None:
        """At the end."""
        start = "\r" if self.live else ""
        spent = f"{result.nit} rounds, {result.nfev} evaluations"
        sys.stderr.write(f"{start}rover: {result.message} f = {result.fun:.10g} after {spent}\n")
