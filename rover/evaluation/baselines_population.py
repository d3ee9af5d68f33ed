"""Methods that evaluate a batch a round, like the rover: CMA-ES, differential evolution, random search.

A generation is a round. With ``popsize = n * n`` they get exactly the rover's batch, which is the fair comparison for
whoever evaluates in parallel; with pycma's own small population they are thriftier with evaluations.
"""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import numpy as np
from torch import Tensor

from rover.evaluation.runs import Array, Ledger, Run, Setting, run_each
from rover.landscapes.base import Landscape

DEFAULT_SIGMA = 0.3
"""First standard deviation in box widths, pycma's own advice."""

_ENDLESS = 10**9
_NEVER_STOP = {
    "tolfun": 0,
    "tolfunhist": 0,
    "tolfunrel": 0,
    "tolx": 0,
    "tolflatfitness": _ENDLESS,
    "tolstagnation": _ENDLESS,
    "tolxstagnation": False,
    "tolfacupx": math.inf,
    "tolupsigma": math.inf,
}


def cma_es(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    sigma: float = DEFAULT_SIGMA,
    popsize: int | None = None,
    noisy: bool = False,
    **options: Any,
) -> Run:
    """CMA-ES (pycma) with its stopping rules off, so that it goes on as long as it is let.

    Args:
        problem: B instances.
        start: ``(B, d)``, the first mean.
        rounds: generations.
        seed: of the samples and of the evaluation noise; the global NumPy state is not touched.
        sigma: first standard deviation along each axis, in box widths.
        popsize: points a generation; ``None`` is pycma's ``4 + 3 ln d``.
        noisy: evaluate with noise; the method then returns its mean, not its luckiest sample.
        **options: see :func:`rover.evaluation.runs.run_each`.
    """

    def body(ledger: Ledger, setting: Setting) -> None:
        _evolve(ledger, setting, setting.start, sigma, popsize, noisy=noisy, extra=_NEVER_STOP)

    hyper = {"sigma": sigma, "popsize": popsize}
    return run_each("cma_es", body, problem, start, rounds=rounds, seed=seed, hyper=hyper, noisy=noisy, **options)


def restarted_cma_es(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    sigma: float = DEFAULT_SIGMA,
    popsize: int | None = None,
    growth: float = 1.0,
    noisy: bool = False,
    **options: Any,
) -> Run:
    """CMA-ES with pycma's stopping rules, started again uniformly in the box, the incumbent kept.

    Args as :func:`cma_es`, and ``growth``: the factor on the population at each restart (2 is IPOP). The absolute
    tolerances on f are replaced by relative ones, so that the scale of f does not matter.
    """
    relative = {"tolfun": 0, "tolfunhist": 0, "tolfunrel": 1e-12}

    def body(ledger: Ledger, setting: Setting) -> None:
        point, size = setting.start, float(popsize or 4 + int(3 * math.log(len(setting.start))))
        extra = {**relative, "tolx": 1e-12 * sigma * float(setting.width.min())}
        while True:
            _evolve(ledger, setting, point, sigma, int(size), noisy=noisy, extra=extra)
            point = setting.rng.uniform(setting.lower, setting.upper)
            size *= growth

    hyper = {"sigma": sigma, "popsize": popsize, "growth": growth}
    return run_each(
        "restarted_cma_es", body, problem, start, rounds=rounds, seed=seed, hyper=hyper, noisy=noisy, **options
    )


def _evolve(
    ledger: Ledger,
    setting: Setting,
    mean: Array,
    sigma: float,
    popsize: int | None,
    *,
    noisy: bool,
    extra: dict[str, Any],
) -> None:
    options = {
        "verbose": -9,
        "seed": np.nan,  # hands off the global generator; the numbers come from `randn`
        "randn": lambda *shape: setting.rng.standard_normal(shape),
        "CMA_stds": setting.width,
        **extra,
    }
    if popsize is not None:
        options["popsize"] = popsize
    if setting.bounded:
        options["bounds"] = [setting.lower.tolist(), setting.upper.tolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycma warns where its own stopping rules would have ended the run
        strategy = import_cma().CMAEvolutionStrategy(mean, sigma, options)
        while not strategy.stop():
            points = strategy.ask()
            strategy.tell(points, ledger(np.asarray(points)).tolist())
            center = strategy.result.xfavorite
            ledger.close_round(center, center if noisy else None)


def differential_evolution(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    popsize: int = 15,
    mutation: tuple[float, float] = (0.5, 1.0),
    recombination: float = 0.7,
    **options: Any,
) -> Run:
    """SciPy's differential evolution in the box, a generation as one batch, the start in the first population.

    Args:
        problem: B instances.
        start: ``(B, d)``.
        rounds: generations, the first population included.
        seed: of the population and of the evaluation noise.
        popsize: points a generation *per variable*, as SciPy counts them.
        mutation: range of the differential weight.
        recombination: crossover probability.
        **options: see :func:`rover.evaluation.runs.run_each`.
    """
    from scipy.optimize import differential_evolution as scipy_de

    random = "rng" if "rng" in inspect.signature(scipy_de).parameters else "seed"  # renamed in SciPy 1.15

    def body(ledger: Ledger, setting: Setting) -> None:
        inside = bool(((setting.start >= setting.lower) & (setting.start <= setting.upper)).all())
        scipy_de(
            lambda columns: ledger(columns.T),
            list(zip(setting.lower, setting.upper, strict=True)),
            x0=setting.start if inside else None,
            popsize=popsize,
            mutation=tuple(mutation),
            recombination=recombination,
            maxiter=_ENDLESS,
            tol=0,
            atol=0,
            polish=False,
            updating="deferred",
            vectorized=True,
            **{random: setting.rng},
        )

    hyper = {"popsize": popsize, "mutation": tuple(mutation), "recombination": recombination}
    return run_each(
        "differential_evolution",
        body,
        problem,
        start,
        rounds=rounds,
        seed=seed,
        hyper=hyper,
        round_is_call=True,
        **options,
    )


def random_search(
    problem: Landscape, start: Tensor, *, rounds: int, seed: int = 0, popsize: int = 225, **options: Any
) -> Run:
    """``popsize`` uniform points of the box a round: what any method must beat. Arguments as :func:`cma_es`."""

    def body(ledger: Ledger, setting: Setting) -> None:
        while True:
            ledger(setting.rng.uniform(setting.lower, setting.upper, (popsize, len(setting.start))))

    hyper = {"popsize": popsize}
    return run_each(
        "random_search", body, problem, start, rounds=rounds, seed=seed, hyper=hyper, round_is_call=True, **options
    )


def import_cma() -> Any:
    """The ``cma`` package, or an ``ImportError`` that says how to get it."""
    try:
        import cma
    except ImportError as error:
        raise ImportError("CMA-ES needs the `cma` package: pip install 'rover-descent[eval]'") from error
    return cma
