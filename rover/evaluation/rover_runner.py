"""The rover as one more optimiser: its runs in the same books as the baselines'.

Two ways in. :func:`run_navigator` steps all instances of an unbounded landscape together and is the method itself.
:func:`run_minimize` calls :func:`rover.minimize` on one instance after another, with everything a user gets (bounds,
restarts, the frame), and counts evaluations by wrapping the objective, not by believing ``nfev``.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rover.evaluation.runs import Ledger, Run, Setting, check_start, run_each, stream_seed, true_gaps
from rover.landscapes.base import Landscape
from rover.navigation.grid import grid_points
from rover.policy import Policy, load

Range = tuple[float, float]


def draw_lengths(count: int, step: Range, window: Range, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Initial step sizes and half-widths of the grid, log-uniform in their ranges: two ``(count,)``.

    The paper draws them "inside the distribution used at meta-training time" (section 4.2).
    """
    u = torch.rand(2, count, generator=generator, dtype=torch.float64)
    low = torch.tensor([step[0], window[0]], dtype=torch.float64)[:, None].log()
    high = torch.tensor([step[1], window[1]], dtype=torch.float64)[:, None].log()
    alpha, half_width = (low + u * (high - low)).exp()
    return alpha, half_width


@torch.no_grad()
def run_navigator(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    policy: str | Path | Policy = "default",
    step: Range = (0.01, 10.0),
    window: Range = (0.05, 15.0),
    frame: str | None = None,
    max_evaluations: int | None = None,
    noisy: bool = False,
) -> Run:
    """All instances at once, without bounds, stops or restarts.

    Args:
        problem: B two-dimensional instances.
        start: ``(B, 2)``.
        rounds: grids sampled.
        seed: of the initial step sizes and windows, and of the evaluation noise.
        policy: a name, a path or a policy.
        step: range of the initial step size (log-uniform).
        window: range of the initial half-width ``delta (n - 1) / 2`` of the grid (log-uniform).
        frame: another frame rule than the policy's own, ``none`` for the paper's.
        max_evaluations: limits the rounds to those whose grids it pays for.
        noisy: evaluate with noise; the rover then returns where it stands, not its luckiest point.
    """
    check_start(problem, start)
    rover = with_frame(load(policy), frame)
    points_a_round = rover.grid_size**2
    if max_evaluations is not None:
        rounds = min(rounds, (max_evaluations - 1) // points_a_round)
    alpha, half_width = draw_lengths(len(start), step, window, torch.Generator().manual_seed(stream_seed(seed, 0)))
    delta = 2 * half_width / (rover.grid_size - 1)
    noise = torch.Generator().manual_seed(stream_seed(seed, 1)) if noisy else None
    state = rover.initial_state(start.double(), alpha, delta)
    current, returned, seconds, began = [state.theta], [state.theta], [0.0], time.perf_counter()
    lowest = problem(state.theta[:, None], noise)[:, 0]
    for _ in range(rounds):
        points = grid_points(state.theta, state.delta, rover.grid_size, state.frame)
        values = problem(points, noise)
        state, _ = rover.advance(state, values)
        value, index = values.nan_to_num(nan=torch.inf).min(-1)
        found = points.gather(1, index[:, None, None].expand(-1, 1, 2))[:, 0]
        better = value < lowest
        lowest = torch.where(better, value, lowest)
        kept = torch.where(better[:, None], found, returned[-1])
        current.append(state.theta)
        returned.append(state.theta if noisy else kept)
        seconds.append(time.perf_counter() - began)
    shape = (problem.batch_size, rounds + 1)
    rows = np.broadcast_to(np.arange(rounds + 1), shape)
    return Run(
        method="rover",
        current=true_gaps(problem, torch.stack(current, 1), bounded=False),
        best=true_gaps(problem, torch.stack(returned, 1), bounded=False),
        evaluations=points_a_round * rows + 1,
        derivatives=np.zeros(shape, dtype=np.int64),
        seconds=np.broadcast_to(np.array(seconds), shape).copy(),
        hyper={"policy": str(policy), "step": list(step), "window": list(window), "frame": frame},
    )


def run_minimize(
    problem: Landscape,
    start: Tensor,
    *,
    rounds: int,
    seed: int = 0,
    policy: str | Policy = "default",
    frame: str | None = None,
    step: Range | None = None,
    window: Range | None = None,
    restarts: int = 0,
    max_evaluations: int | None = None,
    noisy: bool = False,
    bounded: bool = False,
    **options: Any,
) -> Run:
    """:func:`rover.minimize` on every instance, convergence stops off.

    Two-dimensional instances run together, as the starts of one call, which gives the same runs in a fraction of the
    time; under noise, with restarts or with drawn initial lengths they run one after another.

    Args:
        problem: B instances of any dimension.
        start: ``(B, d)``.
        rounds: ``maxiter``.
        seed: instance b runs with its own stream of ``(seed, b)``.
        policy: a name, a path or a policy.
        frame: another frame rule than the policy's own, ``none`` for the paper's.
        step: range of the initial step size in box widths (log-uniform); ``None`` is ``minimize``'s own choice.
        window: range of the initial half-width of the grid in box widths; ``None`` is ``minimize``'s own choice.
        restarts: with any, the convergence stops are on, so that a converged rover starts again elsewhere.
        max_evaluations: ``maxfev``.
        noisy: evaluate with noise and tell ``minimize`` so.
        bounded: hand it the box.
        **options: further options of ``rover.minimize``.
    """
    import rover

    name = policy if isinstance(policy, str) else "given"
    hyper = {"policy": name, "frame": frame, "step": step, "window": window, "restarts": restarts, **options}
    stops: dict[str, Any] = {} if restarts else {"xatol": 0.0, "fatol": 0.0}
    loaded = with_frame(load(policy), frame)
    if problem.batch_size > 1 and problem.dim == 2 and not (noisy or restarts):
        budget = (
            None if max_evaluations is None else problem.batch_size * (max_evaluations - 1)
        )  # the start is paid for
        common = {**stops, **options, "maxiter": rounds, "maxfev": budget, "seed": seed}
        alike = step is None and window is None
        together = _run_together(problem, start, loaded, bounded, common) if alike else None
        if together is not None:
            return replace(together, hyper=hyper)

    def body(ledger: Ledger, setting: Setting) -> None:
        width = float(setting.width.min())
        lengths: dict[str, Any] = {}
        if step is not None:
            lengths["initial_step"] = width * _log_uniform(setting.rng, step)
        if window is not None:
            half_width = width * _log_uniform(setting.rng, window)
            lengths["initial_resolution"] = 2 * half_width / (loaded.grid_size - 1)

        def after_round(intermediate_result: Any) -> None:
            ledger.close_round(intermediate_result.x, intermediate_result.x)

        result = rover.minimize(
            ledger,
            setting.start,
            bounds=setting.bounds,
            batched=True,
            maxiter=rounds,
            maxfev=None if max_evaluations is None else max_evaluations - 1,  # the ledger has evaluated the start
            callback=after_round,
            policy=loaded,
            seed=int(setting.rng.integers(2**31)),
            noisy=noisy,
            restarts=restarts,
            **lengths,
            **stops,
            **options,
        )
        path = [*result.trajectory.theta[1:], result.x]  # where it stood after each round
        ledger.rows[1:] = [(at, *row[1:]) for at, row in zip(path, ledger.rows[1:], strict=True)]

    return run_each(
        "rover",
        body,
        problem,
        start,
        rounds=rounds,
        seed=seed,
        max_evaluations=max_evaluations,
        noisy=noisy,
        bounded=bounded,
        hyper=hyper,
    )


class _LayoutChanged(Exception):
    """A start has left the common batch, so that points can no longer be told apart by their place in it."""


def _run_together(
    problem: Landscape,
    start: Tensor,
    policy: Policy,
    bounded: bool,
    options: dict[str, Any],
) -> Run | None:
    """All instances as the starts of one call; ``None`` if one of them ended before the others.

    Their boxes may differ: the call is about the unit box, which is what a rover with bounds walks in anyway.
    """
    import rover

    check_start(problem, start)
    origin = problem.lower if bounded else torch.zeros_like(start)
    width = problem.upper - problem.lower if bounded else torch.ones_like(start)
    size, grid = problem.batch_size, policy.grid_size**2
    began = time.perf_counter()
    lowest = problem(start[:, None])[:, 0].nan_to_num(nan=torch.inf)
    returned, spent, seconds = [start], [1], [0.0]

    def batch(points: Any) -> Any:
        each, rest = divmod(len(points), size)
        if rest or (len(spent) > 1 and each != grid):
            raise _LayoutChanged
        places = origin[:, None] + torch.as_tensor(points).view(size, each, 2) * width[:, None]
        with torch.no_grad():
            values = problem(places)
        value, index = values.nan_to_num(nan=torch.inf).min(-1)
        better = value < lowest
        lowest[better] = value[better]
        found = places.gather(1, index[:, None, None].expand(-1, 1, 2))[:, 0]
        returned.append(torch.where(better[:, None], found, returned[-1]))
        spent.append(spent[-1] + each)
        seconds.append(time.perf_counter() - began)
        return values.flatten().numpy()

    box = [(0.0, 1.0)] * 2 if bounded else None
    x0 = ((start - origin) / width).numpy()
    try:
        result = rover.minimize(batch, x0, bounds=box, batched=True, policy=policy, **options)
    except _LayoutChanged:
        return None
    paths = [np.vstack([one.trajectory.theta, one.x]) for one in result.starts]
    if any(len(path) != len(returned) for path in paths):
        return None
    path = origin[:, None] + torch.as_tensor(np.stack(paths)) * width[:, None]
    shape = (size, len(returned))
    return Run(
        method="rover",
        current=true_gaps(problem, path, bounded=bounded),
        best=true_gaps(problem, torch.stack(returned, 1), bounded=bounded),
        evaluations=np.broadcast_to(np.array(spent), shape).copy(),
        derivatives=np.zeros(shape, dtype=np.int64),
        seconds=np.broadcast_to(np.array(seconds), shape).copy(),
    )


def _log_uniform(rng: np.random.Generator, low_high: Range) -> float:
    return float(np.exp(rng.uniform(*np.log(low_high))))


def with_frame(policy: Policy, frame: str | None) -> Policy:
    """The same weights under another frame rule; the policy itself where none is asked for."""
    if frame is None or frame == policy.config.frame:
        return policy
    other = Policy(replace(policy.config, frame=frame), policy.provenance)
    other.load_state_dict(policy.state_dict())
    return other


def weights_digest(policy: str | Path | Policy) -> str:
    """Sixteen hexadecimal digits of a policy's weights and configuration, for cache keys and provenance."""
    loaded = load(policy)
    total = hashlib.sha256(repr(loaded.config).encode())
    for name, value in sorted(loaded.state_dict().items()):
        total.update(name.encode() + value.cpu().numpy().tobytes())
    return total.hexdigest()[:16]
