"""How a comparison is run: starts, tuning sets, and jobs that are cached and shared out over processes.

An :class:`Entrant` is a line of a figure. A :class:`Job` is an entrant on a problem: tuned first, if it has a grid, on
problems of its own; then run; then, if it steps all instances together, run once more on one of them for the clock.
"""

from __future__ import annotations

import hashlib
import inspect
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rover.evaluation.baselines import BATCHED, METHODS
from rover.evaluation.baselines import run as run_baseline
from rover.evaluation.cache import RunCache, source_digest
from rover.evaluation.high_dimensional import run_slices
from rover.evaluation.rover_runner import run_minimize, run_navigator, weights_digest
from rover.evaluation.runs import Run
from rover.evaluation.tuning import tune
from rover.landscapes.base import Landscape
from rover.landscapes.test_functions import TEST_FUNCTIONS
from rover.policy import available

J = TypeVar("J")

ROVERS: dict[str, Callable[..., Run]] = {"rover": run_minimize, "navigator": run_navigator, "slices": run_slices}
"""``rover``: through ``rover.minimize``; ``navigator``: the bare method, all instances at once, no bounds; ``slices``:
through ``rover.minimize`` with a named strategy of slices."""


@dataclass
class Entrant:
    """One optimiser in a comparison.

    Attributes:
        method: a baseline of :data:`rover.evaluation.baselines.METHODS`, or one of :data:`ROVERS`.
        hyper: fixed hyper-parameters.
        grid: values to choose from on the tuning set, for each hyper-parameter that is tuned.
    """

    method: str
    hyper: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names."""
        known = {**METHODS, **ROVERS}
        if self.method not in known:
            raise ValueError(f"`method` must be one of {sorted(known)}, got {self.method!r}")
        parameters = inspect.signature(known[self.method]).parameters
        open_ended = self.method == "rover"  # further options go to `rover.minimize`, which checks them
        for name in {**self.hyper, **self.grid}:
            if name not in parameters and not open_ended:
                raise ValueError(f"`{self.method}` has no hyper-parameter {name!r}; it has {_hyper_names(parameters)}")

    @property
    def missing_policy(self) -> str | None:
        """The name of a policy that does not ship (yet), or ``None`` if the entrant can run."""
        policy = str(self.hyper.get("policy", "default"))
        if self.method not in ROVERS or policy in available() or Path(policy).is_file():
            return None
        return policy


def _hyper_names(parameters: Iterable[str]) -> list[str]:
    return [p for p in parameters if p not in ("problem", "start", "rounds", "seed", "options", "noisy")]


@dataclass(frozen=True)
class Job:
    """An entrant on a problem.

    Attributes:
        entrant: who.
        problem: B instances.
        start: ``(B, d)``.
        options: ``rounds``, ``seed`` and what else :func:`rover.evaluation.runs.run_each` takes.
        tuning: problem and starts for tuning; needed if the entrant has a grid.
        budget: points of the grid to try, at most.
    """

    entrant: Entrant
    problem: Landscape
    start: Tensor
    options: dict[str, Any]
    tuning: tuple[Landscape, Tensor] | None = None
    budget: int | None = None


def execute(
    jobs: Sequence[J],
    work: Callable[[J, str | None], Run] | None = None,
    *,
    cache: str | Path | None = None,
    workers: int = 1,
    progress: str | None = None,
) -> list[Run]:
    """Run jobs, in order of the list in the result, in any order in time.

    Args:
        jobs: what to run; must survive pickling.
        work: ``work(job, cache)``, a function of a module; :func:`run_job` by default.
        cache: folder for the results, or ``None``.
        workers: processes; 1 runs here.
        progress: title of a progress bar (if rich is installed), or ``None``.
    """
    folder = None if cache is None else str(cache)
    do: Callable[..., Run] = work or run_job
    if workers <= 1:
        return [do(job, folder) for job in track(jobs, progress, len(jobs))]
    # "spawn": a forked child would inherit torch's threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    results: dict[int, Run] = {}
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(do, job, folder): i for i, job in enumerate(jobs)}
        for future in track(as_completed(futures), progress, len(jobs)):
            results[futures[future]] = future.result()
    return [results[i] for i in range(len(jobs))]


def run_job(job: Job, cache: str | None = None) -> Run:
    """Tune, run, read the clock."""
    store = RunCache(cache)
    seed = job.options["seed"]

    def cached(problem: Landscape, start: Tensor, hyper: dict[str, Any], options: dict[str, Any]) -> Run:
        key = {
            "method": job.entrant.method,
            "hyper": hyper,
            "options": options,
            "problem": fingerprint(problem, start),
            "source": source_key(job.entrant.method, hyper),
        }
        return store.get(key, lambda: run_entrant(job.entrant.method, problem, start, **hyper, **options))

    hyper = dict(job.entrant.hyper)
    if job.entrant.grid:
        if job.tuning is None:
            raise ValueError(f"`{job.entrant.method}` has a grid, so the job needs a tuning problem")
        problem, start = job.tuning
        options = {**job.options, "seed": seed + 1}
        best, _ = tune(
            lambda **point: cached(problem, start, {**hyper, **point}, options),
            job.entrant.grid,
            budget=job.budget,
            seed=seed,
        )
        hyper.update(best)
    run = cached(job.problem, job.start, hyper, job.options)
    if job.problem.batch_size > 1 and job.entrant.method in {*BATCHED, *ROVERS}:
        alone = job.problem.select(slice(0, 1)), job.start[:1]
        repeats = [cached(*alone, hyper, {**job.options, "seed": seed + k}) for k in range(3)]
        seconds = np.median([r.seconds[0] for r in repeats], axis=0)
        run = replace(run, seconds=np.broadcast_to(seconds, run.best.shape).copy())
    return run


def run_entrant(method: str, problem: Landscape, start: Tensor, **options: Any) -> Run:
    """A baseline or a rover, by name."""
    if method not in ROVERS:
        return run_baseline(method, problem, start, **options)
    if method == "navigator" and options.pop("bounded", False):
        raise ValueError("`navigator` knows no bounds; use the method `rover` on a bounded problem")
    return ROVERS[method](problem, start, **options)


@torch.no_grad()
def fingerprint(problem: Landscape, start: Tensor) -> str:
    """Digest of the starts, of the numbers that define a landscape, and of its values and noise at 65 places.

    The values stand for the formula: where it is edited they change, and an edit elsewhere in its file does no harm.
    """
    total = hashlib.sha256(start.numpy().tobytes())
    spread = torch.rand(64, problem.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = problem.lower[:, None] + (problem.upper - problem.lower)[:, None] * spread.to(problem.lower)
    places = torch.cat([start[:, None].to(box), box], 1)
    for values in (problem.mean(places), *problem.mean_and_std(places)):
        total.update(values.numpy().tobytes())

    def add(part: Landscape) -> None:
        total.update(type(part).__qualname__.encode())
        for name, value in sorted(vars(part).items()):
            if name.startswith("_"):
                continue
            if isinstance(value, Landscape):
                add(value)
            else:
                content = value.cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode()
                total.update(name.encode() + content)

    add(problem)
    return total.hexdigest()[:16]


def source_key(method: str, hyper: dict[str, Any]) -> list[str]:
    """Digests of the code and the weights on which a result depends."""
    if method in ROVERS:
        code = source_digest("navigation", "optimize", "policy.py", "networks.py", "evaluation/runs.py")
        runners = ["evaluation/rover_runner.py", *(["evaluation/high_dimensional.py"] if method == "slices" else [])]
        return [code, source_digest(*runners), weights_digest(hyper.get("policy", "default"))]
    file = METHODS[method].__module__.removeprefix("rover.").replace(".", "/") + ".py"
    return [source_digest("evaluation/runs.py", file)]


def perturbed_starts(start: Tensor, scale: Tensor | float, generator: torch.Generator) -> Tensor:
    """Each start plus a normal perturbation of standard deviation ``scale`` along each axis: ``(B, d)``."""
    noise = torch.randn(start.shape, generator=generator, dtype=start.dtype)
    return start + scale * noise


def uniform_starts(problem: Landscape, generator: torch.Generator) -> Tensor:
    """One uniform point of the box of each instance: ``(B, d)``."""
    u = torch.rand(problem.minimizer.shape, generator=generator, dtype=problem.lower.dtype)
    return problem.lower + u * (problem.upper - problem.lower)


def meta_test_starts(
    function: str, protocol: str, count: int, *, seed: int, purpose: str = "judged", perturbation: float = 0.01
) -> tuple[Landscape, Tensor]:
    """``count`` copies of a test function and their starts ``(count, 2)``.

    Args:
        function: a key of :data:`rover.landscapes.test_functions.TEST_FUNCTIONS`.
        protocol: ``perturbed`` (the stated start, perturbed, kept in the box) or ``uniform`` (anywhere in the box).
        count: how many.
        seed: of the starts.
        purpose: ``judged`` or ``tuning``, which never share a start.
        perturbation: standard deviation in box widths of the perturbed starts.
    """
    number = 10 * list(TEST_FUNCTIONS).index(function) + 2 * ("judged", "tuning").index(purpose)
    generator = torch.Generator().manual_seed(100 * seed + number + (protocol == "uniform"))
    problem = TEST_FUNCTIONS[function](batch_size=count)
    if protocol == "uniform":
        return problem, uniform_starts(problem, generator)
    start = perturbed_starts(problem.start, perturbation * (problem.upper - problem.lower), generator)
    return problem, start.clamp(problem.lower, problem.upper)


def repeat(problem: Landscape, index: int, count: int) -> Landscape:
    """``count`` copies of one instance."""
    return problem.select(torch.full((count,), index, dtype=torch.long))


def track(items: Iterable[Any], title: str | None, total: int) -> Iterable[Any]:
    """The items behind a progress bar, if a title is given and rich is installed."""
    if title is None:
        return items
    try:
        from rich.progress import track as rich_track
    except ImportError:
        return items
    return rich_track(items, description=title, total=total)


def _one_thread() -> None:
    torch.set_num_threads(1)
