"""Problems of d > 2 variables in the books of the comparisons, and the rover on slices as one more optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rover.evaluation.rover_runner import run_minimize
from rover.evaluation.runs import Run
from rover.landscapes.base import Landscape
from rover.landscapes.problems import Problem
from rover.optimize.slices import AdaptiveAxes, AllPairs, BlockPartners, Partners, RandomAxes

STRATEGIES = ("all", "axes", "partners", "blocks", "adaptive")
_BOX = 10.0  # half width of the box that gives a sense of scale; nothing is bounded by it


class ProblemSet(Landscape):
    """Runs on one or several problems of the same dimension: instance b is a run on ``problems[which[b]]``.

    The gap is the value above the known minimum, or the value itself where none is known.

    Args:
        name: what the problems are, with everything that defines them (the cache tells sets apart by it).
        problems: of the same dimension.
        repeats: runs on each.
    """

    def __init__(self, name: str, problems: Sequence[Problem], repeats: int) -> None:
        self.name = name
        self._problems = list(problems)
        dim = self._problems[0].dim
        count = len(problems) * repeats
        self.which = torch.arange(count) // repeats
        least = [0.0 if p.minimum is None else p.minimum for p in self._problems]
        self.minimum = torch.tensor(least, dtype=torch.float64)[self.which]
        self.minimizer = torch.zeros(count, dim, dtype=torch.float64)  # of no use here, and unknown for networks
        self.lower = torch.full_like(self.minimizer, -_BOX)
        self.upper = -self.lower

    @property
    def blocks(self) -> list[int]:
        """Sizes of the blocks of variables that belong together."""
        return [len(block) for block in self._problems[0].blocks]

    def mean(self, points: Tensor) -> Tensor:
        """``(B, P, d) -> (B, P)``; one call for each problem, not for each run."""
        if len(self._problems) == 1:
            return self._problems[0](points.flatten(0, 1)).unflatten(0, points.shape[:2])
        values = points.new_zeros(points.shape[:2])
        for index in self.which.unique().tolist():
            mine = self.which == index
            rows = points[mine]
            values[mine] = self._problems[index](rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        return values

    def sample_starts(self, generator: torch.Generator) -> Tensor:
        """Starts as the problems draw them: ``(B, d)``."""
        draws = [self._problems[index].sample_starts(1, generator) for index in self.which.tolist()]
        return torch.cat(draws).double()


def make_strategy(strategy: str, blocks: Sequence[int], *, k: int | None = None, l: int | None = None) -> Any:  # noqa: E741
    """The strategy of slices of that name.

    Args:
        strategy: ``all`` pairs; all pairs of k random ``axes`` (the paper's (a)); l ``partners`` for every axis (b), or l
            from its own one of the ``blocks`` (c); k ``adaptive`` axes.
        blocks: sizes of the blocks.
        k: number of axes.
        l: partners of an axis.

    Raises:
        ValueError: for another name, or a number that is missing or not asked for.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"`strategy` must be one of {STRATEGIES}, got {strategy!r}")
    needed = {"all": None, "axes": "k", "adaptive": "k", "partners": "l", "blocks": "l"}[strategy]
    for name, value in (("k", k), ("l", l)):
        if (value is None) != (name != needed):
            raise ValueError(
                f"the strategy {strategy!r} takes {f'`{needed}`' if needed else 'no number'}, got {k=}, {l=}"
            )
    if strategy == "all":
        return AllPairs()
    if strategy == "axes":
        return RandomAxes(k or 0)
    if strategy == "adaptive":
        return AdaptiveAxes(k or 0)
    return Partners(l or 0) if strategy == "partners" else BlockPartners(l or 0, blocks)


def run_slices(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    strategy: str = "partners",
    k: int | None = None,
    l: int | None = None,  # noqa: E741
    policy: str = "default",
    initial_step: float | None = None,
    initial_resolution: float | None = None,
    combine: str | None = None,
    inherit: bool | None = None,
    **limits: Any,
) -> Run:
    """:func:`rover.minimize` on slices, run after run, convergence stops off.

    Args:
        problem: a :class:`ProblemSet`.
        start: ``(B, d)``.
        rounds: objective calls, whatever they are for.
        seed: of the slices.
        strategy, k, l: see :func:`make_strategy`.
        policy: a name or a path.
        initial_step, initial_resolution: in units of x; None: ``minimize`` finds them.
        combine, inherit: rules of :class:`rover.optimize.rules.EngineRules`; None: the policy's own.
        **limits: ``max_evaluations``, ``noisy``, ``bounded``.
    """
    if not isinstance(problem, ProblemSet):
        raise ValueError(f"`problem` must be a ProblemSet, got {type(problem).__name__}")
    slices = make_strategy(strategy, problem.blocks, k=k, l=l)
    chosen: dict[str, Any] = {
        "initial_step": initial_step, "initial_resolution": initial_resolution, "combine": combine, "inherit": inherit
    }  # fmt: skip
    run = run_minimize(problem, start, rounds=rounds, seed=seed, policy=policy, slices=slices, **chosen, **limits)
    run.hyper.clear()
    run.hyper.update({"policy": policy, "strategy": strategy, "k": k, "l": l, **chosen})
    return run
