"""The optimisers a rover is compared with, behind one signature.

``run(name, problem, start, rounds=..., seed=..., **hyper) -> Run``. The first five are the paper's (section 4.2).

====================== ============================= ==================== =======================
name                   what                          sees                 a round is
====================== ============================= ==================== =======================
gradient_descent       theta - lr g                  exact gradient       a step
nesterov               with momentum                 exact gradient       a step
adam                   moments of the gradient       exact gradient       a step
newton                 theta - lr H^-1 g             gradient, Hessian    a step
cma_es                 pycma                         values               a generation
nelder_mead            SciPy                         values               an iteration
restarted_nelder_mead  the last, again and again     values               an iteration
restarted_cma_es       pycma, again and again        values               a generation
differential_evolution SciPy                         values, box          a generation
powell                 SciPy                         values               an evaluation
cobyqa                 SciPy                         values               an evaluation
random_search          uniform                       values, box          ``popsize`` evaluations
====================== ============================= ==================== =======================
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import Tensor

from rover.evaluation.baselines_gradient import adam, gradient_descent, nesterov, newton
from rover.evaluation.baselines_population import cma_es, differential_evolution, random_search, restarted_cma_es
from rover.evaluation.baselines_sequential import cobyqa, nelder_mead, powell, restarted_nelder_mead
from rover.evaluation.runs import Run
from rover.landscapes.base import Landscape

METHODS: dict[str, Callable[..., Run]] = {
    "gradient_descent": gradient_descent,
    "nesterov": nesterov,
    "adam": adam,
    "newton": newton,
    "cma_es": cma_es,
    "nelder_mead": nelder_mead,
    "restarted_nelder_mead": restarted_nelder_mead,
    "restarted_cma_es": restarted_cma_es,
    "differential_evolution": differential_evolution,
    "powell": powell,
    "cobyqa": cobyqa,
    "random_search": random_search,
}

BATCHED = frozenset({"gradient_descent", "nesterov", "adam", "newton"})
"""Methods that step all instances together, so that their clock must be read on one instance alone."""

DERIVATIVES = BATCHED
"""Methods that see exact, noise-free derivatives."""

PAPER = ("gradient_descent", "nesterov", "newton", "cma_es", "nelder_mead")
"""The hand-designed optimisers of Figures 4 and 5."""


def run(name: str, problem: Landscape, start: Tensor, *, rounds: int, seed: int = 0, **hyper: Any) -> Run:
    """Run a baseline on every instance of a landscape.

    Args:
        name: a key of :data:`METHODS`.
        problem: B instances.
        start: ``(B, d)``.
        rounds: how many rounds, at most.
        seed: of the method's random numbers and of the evaluation noise.
        **hyper: the method's hyper-parameters, and ``max_evaluations``, ``noisy``, ``bounded`` as in
            :func:`rover.evaluation.runs.run_each`.

    Raises:
        ValueError: for an unknown name, naming the nearest one.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {sorted(METHODS)}"
        raise ValueError(f"there is no baseline {name!r}{hint}")
    return METHODS[name](problem, start, rounds=rounds, seed=seed, **hyper)
