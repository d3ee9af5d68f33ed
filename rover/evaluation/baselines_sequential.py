"""SciPy's derivative-free minimisers, one point after another: Nelder-Mead (also restarted), Powell, COBYQA.

What a round is follows what could run in parallel: an iteration of Nelder-Mead tries at most four points that are known
beforehand, so an iteration is a round; Powell's line searches and COBYQA's models need each value before the next
point, so every evaluation is a round. Lengths (`size`) are shares of the box width, which makes one grid of
hyper-parameters serve problems of every scale.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from rover.evaluation.runs import Array, Ledger, Run, Setting, run_each
from rover.landscapes.base import Landscape

_ENDLESS = 10**9


def simplex(start: Array, setting: Setting, size: float | None) -> Array:
    """``(d + 1, d)``: the start and one step along each axis, turned inwards at a bound.

    A step is ``size`` box widths, or by SciPy's rule 5 % of the coordinate (0.00025 where that is zero).
    """
    rule = np.where(start == 0, 0.00025, 0.05 * start)
    steps = np.diag(rule if size is None else size * setting.width)
    corners = start + steps
    if setting.bounded:
        corners = np.where((corners > setting.upper) | (corners < setting.lower), start - steps, corners)
        corners = corners.clip(setting.lower, setting.upper)
    return np.vstack([start, corners])


def nelder_mead(
    problem: Landscape, start: Tensor, *, rounds: int, seed: int = 0, size: float | None = None, **options: Any
) -> Run:
    """SciPy's Nelder-Mead, without tolerances, so that it goes on as long as it is let.

    Args:
        problem: B instances.
        start: ``(B, d)``.
        rounds: iterations.
        seed: of the evaluation noise; the method itself is deterministic.
        size: edge of the first simplex in box widths; ``None`` is SciPy's rule (5 % of each coordinate).
        **options: see :func:`rover.evaluation.runs.run_each`.
    """

    def body(ledger: Ledger, setting: Setting) -> None:
        first = simplex(setting.start, setting, size)
        ledger.prefetch(first)
        ledger.close_round(first[0])
        _nelder_mead(ledger, setting, first, xatol=0.0, fatol=0.0)

    return run_each("nelder_mead", body, problem, start, rounds=rounds, seed=seed, hyper={"size": size}, **options)


def restarted_nelder_mead(
    problem: Landscape, start: Tensor, *, rounds: int, seed: int = 0, size: float = 0.05, **options: Any
) -> Run:
    """Nelder-Mead that, once its simplex has collapsed, starts again uniformly in the box and keeps the best point.

    Collapsed: the simplex is 1e-8 of its first size and its values differ by 1e-12 of those of the first one, so that
    the rule does not depend on the scale of x or f. Arguments as :func:`nelder_mead`.
    """

    def body(ledger: Ledger, setting: Setting) -> None:
        point = setting.start
        while True:
            first = simplex(point, setting, size)
            spread = float(np.ptp(ledger.prefetch(first)))
            ledger.close_round(first[0])
            xatol, fatol = 1e-8 * size * float(setting.width.min()), 1e-12 * spread
            _nelder_mead(ledger, setting, first, xatol=xatol, fatol=fatol)
            point = setting.rng.uniform(setting.lower, setting.upper)

    hyper = {"size": size}
    return run_each("restarted_nelder_mead", body, problem, start, rounds=rounds, seed=seed, hyper=hyper, **options)


def _nelder_mead(ledger: Ledger, setting: Setting, first: Array, *, xatol: float, fatol: float) -> None:
    """From a first simplex ``(d + 1, d)``, which is a round of its own, as in SciPy's count of iterations."""
    _minimize()(
        ledger,
        first[0],
        method="Nelder-Mead",
        bounds=setting.bounds,
        callback=lambda best: ledger.close_round(best),
        options={
            "initial_simplex": first,
            "xatol": xatol,
            "fatol": fatol,
            "maxiter": _ENDLESS,
            "maxfev": _ENDLESS,
        },
    )


def powell(problem: Landscape, start: Tensor, *, rounds: int, seed: int = 0, size: float = 0.05, **options: Any) -> Run:
    """SciPy's Powell with a first direction set of ``size`` box widths. Arguments as :func:`nelder_mead`."""

    def body(ledger: Ledger, setting: Setting) -> None:
        direc = np.diag(size * setting.width)
        settings = {"direc": direc, "xtol": 1e-6, "ftol": 1e-15, "maxiter": _ENDLESS, "maxfev": _ENDLESS}
        _minimize()(ledger, setting.start, method="Powell", bounds=setting.bounds, options=settings)

    hyper = {"size": size}
    return run_each(
        "powell", body, problem, start, rounds=rounds, seed=seed, hyper=hyper, round_is_call=True, **options
    )


def cobyqa(problem: Landscape, start: Tensor, *, rounds: int, seed: int = 0, size: float = 0.05, **options: Any) -> Run:
    """SciPy's COBYQA (>= 1.14) with a first trust region of ``size`` box widths. Arguments as :func:`nelder_mead`."""

    def body(ledger: Ledger, setting: Setting) -> None:
        radius = size * float(setting.width.min())
        settings = {
            "initial_tr_radius": radius,
            "final_tr_radius": 1e-10 * radius,
            "maxfev": min(rounds + 1, 100_000),  # the start is not a round
            "maxiter": min(rounds + 1, 100_000),
            "f_target": -math.inf,
        }
        _minimize()(ledger, setting.start, method="COBYQA", bounds=setting.bounds, options=settings)

    hyper = {"size": size}
    return run_each(
        "cobyqa", body, problem, start, rounds=rounds, seed=seed, hyper=hyper, round_is_call=True, **options
    )


def _minimize() -> Any:
    from scipy.optimize import minimize

    return minimize
