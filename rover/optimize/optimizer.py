"""The ask/tell optimiser: budgets, bookkeeping, restarts and resuming around the rounds of :mod:`rover.optimize.engine`.

The next round is always planned before anyone asks for it. What is saved between ``ask`` and ``tell`` is therefore the
same as what is saved before ``ask``, and a run can be resumed from either.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rover.optimize.engine import Engine
from rover.optimize.incumbents import BestSeen, FairPool
from rover.optimize.probe import Probe, choose, low_discrepancy, plan_probe, spread_directions
from rover.optimize.result import RoverResult, trajectory_of
from rover.optimize.settings import Settings, parse_start, parse_values
from rover.optimize.space import Space
from rover.optimize.stopping import Status
from rover.policy import Policy

Array = NDArray[Any]
_FORMAT = "rover-descent-optimizer-1"
_DEFAULT_RADIUS = 0.14  # half-window of the first grids in box widths where nothing is given and nothing is probed


class ProtocolError(ValueError, RuntimeError):
    """`ask` and `tell` were called in an order, or with points, that make no sense; nothing told before is lost."""


class Optimizer:
    """A rover that asks for points and is told their values.

    ::

        opt = rover.Optimizer(x0, seed=0)
        while not opt.stop():
            X = opt.ask()  # (m, d) float64
            opt.tell(X, [f(x) for x in X])
        opt.result

    Args:
        x0: ``(d,)``, or ``(S, d)`` for S independent rovers.
        **options: see :class:`rover.optimize.settings.Settings`.

    Raises:
        ValueError: if a start or an option is not what it should be; the message says what was expected.
    """

    def __init__(self, x0: Any, **options: Any) -> None:
        self.settings = settings = Settings.parse(options)
        start = parse_start(x0)
        self._x0 = start
        self.num_starts, self.dim = start.shape
        self._space = Space(start, settings.bounds)
        self._rules = settings.stopping.with_defaults(self.dim)
        self.policy: Policy = settings.load_policy()
        seed = settings.seed_number()
        slices = settings.slices_for(self._space.dim)
        theta = self._space.inward(start)
        self._engine = Engine(
            self.policy, self._space, theta, slices, torch.Generator().manual_seed(seed), settings.engine
        )
        self._luck = torch.Generator().manual_seed(seed ^ 0x5EED)  # of restarts
        self._box_shift = torch.rand(self._space.dim, generator=self._luck, dtype=torch.float64)
        self._incumbents: list[BestSeen | FairPool] = [
            FairPool() if settings.noisy else BestSeen() for _ in range(self.num_starts)
        ]
        self._statuses = [Status.RUNNING] * self.num_starts
        self._where = [""] * self.num_starts  # the place that goes with NOT_FINITE
        self._restarts = [0] * self.num_starts
        self._x_scale = [1.0] * self.num_starts
        self._f_scale = [math.nan] * self.num_starts
        self._rows: list[dict[str, Any]] = []
        self._ended = Status.RUNNING
        self.nit = self.nfev = 0
        self._began = time.monotonic()
        self._asked = False
        self._cache: Array | None = None
        self._probe: Probe | None = None
        self._kind = self._begin(theta)
        self._plan()

    # -- the first round ----------------------------------------------------------------------------------------------

    def _begin(self, theta: Tensor) -> str:
        """Place the rovers, or plan the probing round that will; returns the kind of the first round."""
        n, settings = self.policy.grid_size, self.settings
        step, resolution = settings.initial_step, settings.initial_resolution
        if step is not None or resolution is not None:
            delta = resolution if resolution is not None else 4 * step / (n - 1)  # type: ignore[operator]
            alpha = step if step is not None else delta * (n - 1) / 4
            self._engine.isotropic = self._space.bounded
            self._place(theta, alpha, delta)
            return "walk"
        # The faithful policy starts where it is put; in a box it need not be told on what scale.
        wanted = self.policy.config.act_first or not self._space.bounded
        if settings.probe if settings.probe is not None else wanted:
            probe = self._affordable_probe(theta)
            if probe is not None:
                self._probe = probe
                return "probe"
        self._place(theta, 0.1, 2 * _DEFAULT_RADIUS / (n - 1))
        return "walk"

    def _place(self, theta: Tensor, alpha: float, delta: float) -> None:
        for start in range(self.num_starts):
            self._engine.place(start, theta[start], alpha, delta)
            self._x_scale[start] = 1.0 if self._space.bounded else (self.policy.grid_size - 1) / 2 * delta

    def _affordable_probe(self, theta: Tensor) -> Probe | None:
        """A probing round that leaves at least half of the evaluations for walking, or None."""
        wanted = self._engine.points_a_slice
        budget = math.inf if self._rules.maxfev is None else self._rules.maxfev / (2 * self.num_starts)
        for num_points in (wanted, wanted // 2, wanted // 4, 1):
            probe = plan_probe(self._space, theta, max(num_points, 1))
            if probe.points.shape[1] <= budget:
                return probe
        return None

    # -- plan, ask, tell ----------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Decide what the next round evaluates, and whether there is one."""
        self._cache, self._asked = None, False
        self._questions: list[tuple[int, Array]] = []
        active = [s for s, status in enumerate(self._statuses) if status is Status.RUNNING]
        if not active:
            return
        if self._kind == "walk":
            if self.settings.noisy:
                self._questions = [(s, x) for s in active for x in self._incumbents[s].questions()]
            self._engine.look(torch.tensor(active))
        if self.nit == 0 and self._rules.maxfev is not None and self.num_points > self._rules.maxfev > 0:
            self._kind = "start"  # no grid fits: the start is still better than nothing
        self._check_budget()

    @property
    def num_points(self) -> int:
        """Points of the next round."""
        if self._kind == "probe" and self._probe is not None:
            return self._probe.points.shape[0] * self._probe.points.shape[1]
        if self._kind == "start":
            return min(self.num_starts, self._rules.maxfev or 0)
        return self._engine.num_grids * self._engine.points_a_slice + len(self._questions)

    def _check_budget(self) -> None:
        best = min(incumbent.fun for incumbent in self._incumbents)
        status = self._rules.budget(self.nit, self.nfev, self._seconds(), self.num_points, best)
        if status is not Status.RUNNING:
            self._ended = status

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def stop(self) -> bool:
        """Whether the run has ended: all rovers have, or a budget is spent."""
        if self._ended is Status.RUNNING and Status.RUNNING in self._statuses and self._rules.maxtime is not None:
            self._check_budget()
        return self._ended is not Status.RUNNING or Status.RUNNING not in self._statuses

    def halt(self, status: Status = Status.CALLBACK) -> None:
        """End the run from outside."""
        self._ended = status

    def batches(self) -> Iterator[Array]:
        """The points of the next round, ``(m, d)``, in pieces that keep to ``memory_limit``."""
        if self._kind == "probe" and self._probe is not None:
            yield self._space.outward(self._probe.points.flatten(0, 1))
        elif self._kind == "start":
            yield self._space.outward(self._space.inward(self._x0[: self.num_points]))
        else:
            for first, last in self._pieces():
                yield self._space.outward(self._engine.points(first, last))
            if self._questions:
                yield np.stack([x for _, x in self._questions])

    def _pieces(self) -> list[tuple[int, int]]:
        grids, size = self._engine.num_grids, 8 * self.dim * self._engine.points_a_slice
        step = max(self.settings.memory_limit // size, 1)
        return [(first, min(first + step, grids)) for first in range(0, grids, step)]

    def ask(self) -> Array:
        """Every point of this round, ``(m, d)`` float64; the same again until :meth:`tell`.

        Raises:
            ProtocolError: if the run has ended.
        """
        if self.stop():
            raise ProtocolError(f"there is nothing to ask: the run has ended ({self._status().message})")
        self._asked = True
        return self._points().copy()

    def _points(self) -> Array:
        if self._cache is None:
            self._cache = np.concatenate(list(self.batches()))
        return self._cache

    def tell(self, points: Any, values: Any) -> None:
        """Hand in the values of the points that :meth:`ask` returned, in the same order.

        Args:
            points: ``(m, d)``, as asked.
            values: ``(m,)``; NaN and infinities count as worse than everything finite.

        Raises:
            ProtocolError: if nothing was asked, or these are not the points (nothing changes: tell again).
            ValueError: if there are not m numbers.
        """
        if not self._asked:
            raise ProtocolError("`tell` without `ask`: each round of points is told once")
        asked = self._points()
        told = parse_values(points, "points")
        if told.shape != asked.shape:
            raise ProtocolError(f"`points` must be the {asked.shape} array that `ask` returned, got shape {told.shape}")
        if not np.array_equal(told, asked):
            row = int(np.argmax((told != asked).any(-1)))
            raise ProtocolError(f"`points` must be those that `ask` returned, in that order; row {row} differs")
        self.receive(self.check_values(values, len(asked)), lambda index: asked[index])

    @staticmethod
    def check_values(values: Any, count: int) -> Array:
        """The values as ``(count,)`` float64.

        Raises:
            ValueError: if their number or form is wrong.
        """
        result = parse_values(values, "values")
        if result.shape != (count,):
            raise ValueError(f"`values` must have shape ({count},), one number for each point, got {result.shape}")
        return result

    def receive(self, values: Array, row: Callable[[int], Array]) -> None:
        """Digest a round: note what was best, let the rovers move, plan the next round.

        Args:
            values: ``(m,)`` float64.
            row: the point of a value's index, ``int -> (d,)``.
        """
        self.nit += 1
        self.nfev += len(values)
        if self._kind == "start":
            self._receive_start(values, row)
        elif self._kind == "probe":
            self._receive_probe(values, row)
        else:
            self._receive_walk(values, row)
        self._plan()

    def _receive_start(self, values: Array, row: Callable[[int], Array]) -> None:
        self._ended = Status.MAXFEV
        for start, value in enumerate(values):
            if math.isfinite(value):
                self._incumbents[start].nominate(row(start), value, chosen=False)
            else:
                self._lose(start, row(start))

    def _receive_probe(self, values: Array, row: Callable[[int], Array]) -> None:
        probe = self._probe
        assert probe is not None
        count = probe.points.shape[1]
        table = torch.from_numpy(values.reshape(self.num_starts, count))
        choice = choose(probe, table)
        move = choice.theta - probe.points[:, 0]
        n = self.policy.grid_size
        for start in range(self.num_starts):
            if not np.isfinite(values[start * count : (start + 1) * count]).any():
                self._lose(start, row(start * count))
                continue
            radius = float(choice.radius[start])
            self._engine.place(start, choice.theta[start], radius / 2, 2 * radius / (n - 1))
            self._x_scale[start] = 1.0 if self._space.bounded else radius
            self._nominate(start, values[start * count : (start + 1) * count], start * count, row)
        unit = self._space.width.log().mean().exp()
        length = move.norm(dim=-1, keepdim=True)
        self._record(
            active=list(range(self.num_starts)),
            theta=probe.points[:, 0],
            fun=table[:, 0],
            alpha=choice.radius / 2 * unit,
            delta=2 * choice.radius / (n - 1) * unit,
            direction=move / torch.where(length > 0, length, 1.0),
            frame=torch.eye(2, dtype=torch.float64).expand(self.num_starts, 2, 2),
        )
        self._kind, self._probe = "walk", None

    def _receive_walk(self, values: Array, row: Callable[[int], Array]) -> None:
        view = self._engine.view
        assert view is not None
        active = view.active.tolist()
        size = len(view.pairs) * self._engine.points_a_slice
        grids = torch.from_numpy(values[: len(active) * size]).view(len(active), len(view.pairs), -1)
        self._answer(values[len(active) * size :])
        for position, start in enumerate(active):
            part = values[position * size : (position + 1) * size]
            if self.settings.noisy:
                middle = position * size + self._engine.middle
                self._incumbents[start].nominate(row(middle), float(values[middle]), chosen=False)
            self._nominate(start, part, position * size, row)
        theta = self._engine.theta[view.active].clone()
        step = self._engine.round(grids)
        self._record(active, theta, step.value, step.alpha, step.delta, step.direction, step.frame)
        for position, start in enumerate(active):
            if bool(step.blind[position]):
                self._lose(start, self._space.outward(theta[position : position + 1])[0])
            else:
                self._check_convergence(start, float(step.spread[position]))

    def _nominate(self, start: int, part: Array, offset: int, row: Callable[[int], Array]) -> None:
        """The best of a rover's own points is a candidate for the result."""
        where = int(np.where(np.isfinite(part), part, np.inf).argmin())
        if math.isfinite(part[where]):
            self._incumbents[start].nominate(row(offset + where), float(part[where]), chosen=True)

    def _answer(self, values: Array) -> None:
        for start in sorted({s for s, _ in self._questions}):
            mine = [i for i, (s, _) in enumerate(self._questions) if s == start]
            self._incumbents[start].answer(values[mine])

    def _lose(self, start: int, x: Array) -> None:
        self._statuses[start] = Status.NOT_FINITE
        shown = np.array2string(x[:6], precision=6, separator=", ")
        self._where[start] = f"around x = {shown}" + (" (first six variables)" if len(x) > 6 else "")

    def _record(
        self,
        active: list[int],
        theta: Tensor,
        fun: Tensor,
        alpha: Tensor,
        delta: Tensor,
        direction: Tensor,
        frame: Tensor,
    ) -> None:
        outward = self._space.vectors_outward(direction)
        length = np.linalg.norm(outward, axis=-1, keepdims=True)
        self._rows.append(
            {
                "active": active,
                "theta": torch.from_numpy(self._space.outward(theta)),
                "fun": fun.clone(),
                "alpha": alpha.clone(),
                "delta": delta.clone(),
                "direction": torch.from_numpy(outward / np.where(length > 0, length, 1.0)),
                "frame": frame.clone(),
                "nfev": self.nfev,
                "restart": [self._restarts[s] for s in active],
            }
        )

    # -- convergence and restarts -------------------------------------------------------------------------------------

    def _check_convergence(self, start: int, spread: float) -> None:
        if math.isnan(self._f_scale[start]) and math.isfinite(spread):
            self._f_scale[start] = spread
        size = float(self._engine.axis_size[start].max())
        variation = 0.0 if self.settings.noisy else float(self._engine.axis_spread[start].max())
        magnitude = abs(self._incumbents[start].fun)
        x_scale, f_scale = self._x_scale[start], self._f_scale[start]
        if not self._rules.converged(size, variation, x_scale, f_scale, magnitude, noisy=self.settings.noisy):
            return
        if self._restarts[start] >= self.settings.restarts:
            self._statuses[start] = Status.CONVERGED
            return
        self._restarts[start] += 1
        theta, radius = self._elsewhere(start)
        self._engine.place(start, theta, radius / 2, 2 * radius / (self.policy.grid_size - 1))

    def _elsewhere(self, start: int) -> tuple[Tensor, float]:
        """Where a converged rover begins anew, and with which half-window (space coordinates)."""
        dim = self._space.dim
        if self._space.bounded:
            index = self._restarts[start] * self.num_starts + start
            return low_discrepancy(1, dim, self._box_shift, index)[0], 0.25
        luck = torch.rand(2, generator=self._luck, dtype=torch.float64)
        radius = self._x_scale[start] * 10 ** (2 * float(luck[0]) - 0.5)
        direction = spread_directions(64, dim)[int(luck[1] * 64)]
        best = self._incumbents[start].x
        center = self._space.inward((self._x0[start] if best is None else best)[None])[0]
        return self._space.reflect(center + radius * direction), radius

    # -- results ------------------------------------------------------------------------------------------------------

    def _status(self) -> Status:
        if self._ended is not Status.RUNNING:
            return self._ended
        if Status.RUNNING in self._statuses:
            return Status.RUNNING
        return self._statuses[self._winner()]

    def _winner(self) -> int:
        return min(range(self.num_starts), key=lambda s: self._incumbents[s].fun)

    @property
    def best(self) -> RoverResult:
        """x, fun, nit and nfev so far, without the trajectories (cheap)."""
        winner = self._winner()
        x, fun = self._incumbents[winner].x, self._incumbents[winner].fun
        found = x is not None
        return RoverResult(
            x=(x if x is not None else self._x0[winner]).copy(),
            fun=fun if found else math.nan,
            nit=self.nit,
            nfev=self.nfev,
        )

    @property
    def result(self) -> RoverResult:
        """All that is known so far; at any time."""
        starts = [self._result_of(s) for s in range(self.num_starts)]
        winner, status = self._winner(), self._status()
        result = RoverResult(starts[winner])
        result.update(
            message=self._sentence(status, winner),
            status=int(status),
            success=status.success and math.isfinite(result.fun),
            nit=self.nit,
            nfev=self.nfev,
            starts=starts,
        )
        return result

    def _sentence(self, status: Status, start: int) -> str:
        return f"{status.message[:-1]} {self._where[start]}." if status is Status.NOT_FINITE else status.message

    def _result_of(self, start: int) -> RoverResult:
        incumbent, status = self._incumbents[start], self._statuses[start]
        if status is Status.RUNNING:
            status = self._ended
        x = incumbent.x
        return RoverResult(
            x=(self._x0[start] if x is None else x).copy(),
            fun=math.nan if x is None else incumbent.fun,
            success=status.success and x is not None,
            status=int(status),
            message=self._sentence(status, start),
            trajectory=trajectory_of(self._rows, start, self.dim),
            **incumbent.certainty,
        )

    # -- save and resume ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on: tensors, numbers and strings, whatever was called last."""
        probe = self._probe
        return {
            "format": _FORMAT,
            "shape": [self.num_starts, self.dim, self.policy.grid_size],
            "engine": self._engine.state_dict(),
            "incumbents": [incumbent.state_dict() for incumbent in self._incumbents],
            "statuses": [int(s) for s in self._statuses],
            "where": list(self._where),
            "restarts": list(self._restarts),
            "x_scale": list(self._x_scale),
            "f_scale": list(self._f_scale),
            "rows": [dict(row) for row in self._rows],
            "ended": int(self._ended),
            "nit": self.nit,
            "nfev": self.nfev,
            "seconds": self._seconds(),
            "luck": self._luck.get_state(),
            "box_shift": self._box_shift.clone(),
            "kind": self._kind,
            "probe": None if probe is None else tuple(probe),
            "questions": [(s, x.tolist()) for s, x in self._questions],
            "asked": self._asked,
            "x0": self._x0.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the optimiser must have been made with the same options.

        Raises:
            ValueError: if this is no such state, or one of another problem or grid size.
        """
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise ValueError("`state` must come from `Optimizer.state_dict()`")
        shape = [self.num_starts, self.dim, self.policy.grid_size]
        if state["shape"] != shape:
            raise ValueError(
                f"`state` is of another run: (starts, variables, grid_size) = {state['shape']}, not {shape}"
            )
        self._engine.load_state_dict(state["engine"])
        for incumbent, saved in zip(self._incumbents, state["incumbents"], strict=True):
            incumbent.load_state_dict(saved)
        self._statuses = [Status(s) for s in state["statuses"]]
        self._where, self._restarts = list(state["where"]), list(state["restarts"])
        self._x_scale, self._f_scale = list(state["x_scale"]), list(state["f_scale"])
        self._rows = [dict(row) for row in state["rows"]]
        self._ended, self.nit, self.nfev = Status(state["ended"]), state["nit"], state["nfev"]
        self._began = time.monotonic() - state["seconds"]
        self._luck.set_state(state["luck"])
        self._box_shift = state["box_shift"].clone()
        self._kind = state["kind"]
        self._probe = None if state["probe"] is None else Probe(*state["probe"])
        self._questions = [(s, np.array(x)) for s, x in state["questions"]]
        self._asked, self._cache = state["asked"], None
        self._x0 = np.array(state["x0"], dtype=np.float64)

    def __getstate__(self) -> dict[str, Any]:
        return {"x0": self._x0, "settings": self.settings, "policy": self.policy, "state": self.state_dict()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        options = dict(saved["settings"].options)
        options["policy"] = saved["policy"]
        self.__init__(saved["x0"], **options)  # type: ignore[misc]
        self.load_state_dict(saved["state"])
