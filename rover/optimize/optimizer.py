"""The ask/tell optimiser: budgets, restarts and resuming around the rounds of :mod:`rover.optimize.engine`.

The next round is always planned before anyone asks for it. What is saved between ``ask`` and ``tell`` is therefore the
same as what is saved before ``ask``, and a run can be resumed from either.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rover.optimize.engine import Engine
from rover.optimize.fleet import Fleet, Row
from rover.optimize.probe import SCATTER, Probe, choose, plan_probe, plan_scatter, spread_directions
from rover.optimize.restarts import Restarts
from rover.optimize.result import RoverResult
from rover.optimize.settings import Settings, parse_start, parse_values
from rover.optimize.space import Space
from rover.optimize.stopping import Status
from rover.policy import Policy

Array = NDArray[Any]
_FORMAT = "rover-descent-optimizer-3"
_DEFAULT_STEP, _DEFAULT_RADIUS = 0.1, 0.14  # box widths, where nothing is given and nothing is probed


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

    Attributes:
        nit, nfev: rounds and points so far.

    Raises:
        ValueError: if a start or an option is not what it should be; the message says what was expected.
    """

    def __init__(self, x0: Any, **options: Any) -> None:
        self.settings = settings = Settings.parse(options)
        start = parse_start(x0)
        self.num_starts, self.dim = start.shape
        self.policy: Policy = settings.load_policy()
        faithful = not self.policy.config.act_first
        rules = settings.engine.resolved(faithful=faithful, noisy=settings.noisy, dim=self.dim)
        self._space = Space(start, settings.bounds, fold=rules.at_bounds == "fold")
        self._rules = settings.stopping.with_defaults(self.dim)
        seed = settings.seed_number()
        theta, slices = self._space.inward(start), settings.slices_for(self._space.dim)
        generator = torch.Generator().manual_seed(seed)
        self._engine = Engine(self.policy, self._space, theta, slices, generator, settings.engine, noisy=settings.noisy)
        self._fleet = Fleet(start, self._space, noisy=settings.noisy)
        self._luck = torch.Generator().manual_seed(seed ^ 0x5EED)  # of restarts
        shift = torch.rand(self._space.dim, generator=self._luck, dtype=torch.float64)
        self._restarts = Restarts(self.num_starts, shift)
        self._ended = Status.RUNNING
        self.nit = self.nfev = 0
        self._began = time.monotonic()
        self._probe: Probe | None = None
        self._kind = self._begin(theta)
        self._plan()

    # -- the first round ----------------------------------------------------------------------------------------------

    def _begin(self, theta: Tensor) -> str:
        """Place the rovers, or plan the probing round that will; returns the kind of the first round."""
        n, settings = self.policy.grid_size, self.settings
        step, resolution = settings.initial_step, settings.initial_resolution
        if step is not None or resolution is not None:
            delta = resolution if resolution is not None else 4 * (step or 0.0) / (n - 1)
            self._engine.isotropic = self._space.bounded
            self._place(theta, step if step is not None else delta * (n - 1) / 4, delta)
            return "walk"
        # The faithful policy starts where it is put; in a box it need not be told on what scale.
        wanted = self.policy.config.act_first or not self._space.bounded
        if settings.probe if settings.probe is not None else wanted:
            self._probe = self._affordable_probe(theta)
            if self._probe is not None:
                return "probe"
        self._place(theta, _DEFAULT_STEP, 2 * _DEFAULT_RADIUS / (n - 1))
        return "walk"

    def _place(self, theta: Tensor, alpha: float, delta: float) -> None:
        for start in range(self.num_starts):
            self._engine.place(start, theta[start], alpha, delta)
            self._fleet.x_scale[start] = 1.0 if self._space.bounded else (self.policy.grid_size - 1) / 2 * delta

    def _affordable_probe(self, theta: Tensor) -> Probe | None:
        """A probing round that leaves at least half of the evaluations for walking, or None."""
        space, n = self._space, self.policy.grid_size
        scattered = space.bounded and space.dim <= 2 and self.settings.probe != "ladder"
        wanted = max(self._engine.points_a_slice, SCATTER) if scattered else self._engine.points_a_slice
        budget = math.inf if self._rules.maxfev is None else self._rules.maxfev / (2 * self.num_starts)
        for num_points in (wanted, wanted // 2, wanted // 4, 1):
            count = max(num_points, 1)
            probe = plan_scatter(space, theta, count, n) if scattered else plan_probe(space, theta, count)
            if probe.points.shape[1] <= budget:
                return probe
        return None

    # -- plan, ask, tell ----------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Decide what the next round evaluates, and whether there is one."""
        self._cache: Array | None = None
        self._asked = False
        self._questions: list[tuple[int, Array]] = []
        running = self._fleet.running
        if not running:
            return
        if self._kind == "walk":
            self._questions = self._fleet.questions()
            self._engine.look(torch.tensor(running))
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
        return self._engine.num_grids * self._engine.points_a_grid + len(self._questions)

    def _check_budget(self) -> None:
        status = self._rules.budget(self.nit, self.nfev, self._seconds(), self.num_points, self._fleet.lowest)
        if status is not Status.RUNNING:
            self._ended = status

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def stop(self) -> bool:
        """Whether the run has ended: all rovers have, or a budget is spent."""
        if self._ended is Status.RUNNING and self._rules.maxtime is not None and self._fleet.running:
            self._check_budget()
        return self._over

    @property
    def _over(self) -> bool:
        return self._ended is not Status.RUNNING or not self._fleet.running

    def halt(self, status: Status = Status.CALLBACK) -> None:
        """End the run from outside."""
        self._ended = status

    def batches(self) -> Iterator[Array]:
        """The points of the next round, ``(m, d)``, in pieces that keep to ``memory_limit``."""
        if self._kind == "probe" and self._probe is not None:
            yield self._space.outward(self._probe.points.flatten(0, 1))
        elif self._kind == "start":
            yield self._fleet.start[: self.num_points].copy()
        else:
            grids, size = self._engine.num_grids, 8 * self.dim * self._engine.points_a_grid
            step = max(self.settings.memory_limit // size, 1)
            pieces = (self._engine.points(first, min(first + step, grids)) for first in range(0, grids, step))
            extra = np.array([x for _, x in self._questions]).reshape(-1, self.dim)
            for index, piece in enumerate(pieces):
                points = self._space.outward(piece)
                last = (index + 1) * step >= grids
                yield np.concatenate([points, extra]) if last and len(extra) else points

    def ask(self) -> Array:
        """Every point of this round, ``(m, d)`` float64; the same again until :meth:`tell`.

        Raises:
            ProtocolError: if the run has ended.
        """
        if self._over:  # the clock is not asked again: who was told to go on may go on
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

    def receive(self, values: Array, row: Row) -> None:
        """Digest a round: note what was best, let the rovers move, plan the next round.

        Args:
            values: ``(m,)`` float64.
            row: the point of a value's index, ``int -> (d,)``.
        """
        self.nit += 1
        self.nfev += len(values)
        {"start": self._receive_start, "probe": self._receive_probe, "walk": self._receive_walk}[self._kind](
            values, row
        )
        self._plan()

    def _receive_start(self, values: Array, row: Row) -> None:
        self._ended = Status.MAXFEV
        for start, value in enumerate(values):
            if math.isfinite(value):
                self._fleet.incumbents[start].nominate(row(start), value, chosen=False)
            else:
                self._fleet.lose(start, row(start))

    def _receive_probe(self, values: Array, row: Row) -> None:
        probe, n = self._probe, self.policy.grid_size
        assert probe is not None
        count = probe.points.shape[1]
        table = torch.from_numpy(values.reshape(self.num_starts, count))
        choice = choose(probe, table)
        if self._space.bounded and self.settings.restarts:
            self._restarts.remember(probe.points, table)
        for start in range(self.num_starts):
            mine = values[start * count : (start + 1) * count]
            if not np.isfinite(mine).any():
                self._fleet.lose(start, row(start * count))
                continue
            radius = float(choice.radius[start])
            self._engine.place(start, choice.theta[start], float(choice.step[start]), 2 * radius / (n - 1))
            self._restarts.visit(start, choice.theta[start])
            self._fleet.x_scale[start] = 1.0 if self._space.bounded else radius
            self._fleet.nominate(start, mine, start * count, row)
        move = choice.theta - probe.points[:, 0]
        length = move.norm(dim=-1, keepdim=True)
        unit = self._space.width.log().mean().exp()
        self._fleet.record(
            list(range(self.num_starts)),
            self.nfev,
            theta=probe.points[:, 0],
            fun=table[:, 0],
            alpha=choice.step * unit,
            delta=2 * choice.radius / (n - 1) * unit,
            direction=move / torch.where(length > 0, length, 1.0),
            frame=torch.eye(2, dtype=torch.float64).expand(self.num_starts, 2, 2),
        )
        self._kind, self._probe = "walk", None

    def _receive_walk(self, values: Array, row: Row) -> None:
        view, fleet = self._engine.view, self._fleet
        assert view is not None
        active = view.active.tolist()
        size = len(view.pairs) * self._engine.points_a_grid
        total = len(active) * size
        fleet.answer(self._questions, values[total:])
        for position, start in enumerate(active):
            first = position * size
            if self._engine.recent is None:
                fleet.nominate(start, values[first : first + size], first, row)
        theta = self._engine.theta[view.active].clone()
        middles = self._engine.middle
        step = self._engine.round(torch.from_numpy(values[:total]).view(len(active), len(view.pairs), -1))
        model = self._engine.model
        fleet.record(
            active,
            self.nfev,
            theta=theta,
            fun=step.value,
            alpha=step.alpha,
            delta=step.delta,
            direction=step.direction,
            frame=step.frame,
        )
        for position, start in enumerate(active):
            if fleet.noisy:  # where a rover stands was chosen before its value was known
                middle = position * size + middles
                value, weight = float(values[middle]), 1.0
                if model is not None:
                    value, weight = float(model.value[position]), max(float(model.weight[position]) / 6, 1.0)
                fleet.incumbents[start].nominate(row(middle), value, chosen=False, weight=weight)
            if bool(step.blind[position]):
                fleet.lose(start, self._space.outward(theta[position : position + 1])[0])
            else:
                mine = values[position * size : (position + 1) * size]
                self._restarts.note(start, float(np.where(np.isfinite(mine), mine, np.inf).min()))
                self._check_convergence(start, float(step.spread[position]))

    # -- convergence and restarts -------------------------------------------------------------------------------------

    def _check_convergence(self, start: int, spread: float) -> None:
        fleet, engine = self._fleet, self._engine
        if math.isnan(fleet.f_scale[start]) and math.isfinite(spread):
            fleet.f_scale[start] = spread
        left = fleet.restarts[start] < self.settings.restarts
        arrived = fleet.converged(
            start, self._rules, float(engine.axes.size[start].max()), float(engine.axes.spread[start].max())
        )
        if not arrived and not (left and self._is_hopeless(start, spread)):
            return
        if not left:
            fleet.status[start] = Status.CONVERGED
            return
        fleet.restarts[start] += 1
        theta, radius = self._elsewhere(start)
        engine.place(start, theta, radius / 2, 2 * radius / (self.policy.grid_size - 1))

    def _is_hopeless(self, start: int, spread: float) -> bool:
        fleet = self._fleet
        if fleet.noisy or not self._space.bounded or not fleet.restarts[start]:
            return False
        return self._restarts.hopeless(start, fleet.incumbents[start].fun, spread)

    def _elsewhere(self, start: int) -> tuple[Tensor, float]:
        """Where a converged rover begins anew, and with which half-window (space coordinates)."""
        fleet, dim = self._fleet, self._space.dim
        if self._space.bounded:
            self._restarts.visit(start, self._engine.theta[start])
            return self._restarts.elsewhere(start)
        luck = torch.rand(2, generator=self._luck, dtype=torch.float64)
        radius = fleet.x_scale[start] * 10 ** (2 * float(luck[0]) - 0.5)
        direction = spread_directions(64, dim)[int(luck[1] * 64)]
        best = fleet.incumbents[start].x
        center = self._space.inward((fleet.start[start] if best is None else best)[None])[0]
        return self._space.reflect(center + radius * direction), radius

    # -- results ------------------------------------------------------------------------------------------------------

    def _status(self) -> Status:
        if self._ended is not Status.RUNNING or self._fleet.running:
            return self._ended
        return self._fleet.status[self._fleet.winner]

    @property
    def best(self) -> RoverResult:
        """`x`, `fun`, `nit` and `nfev` so far, without the trajectories (cheap)."""
        result = self._fleet.best()
        result.update(nit=self.nit, nfev=self.nfev)
        return result

    @property
    def result(self) -> RoverResult:
        """All that is known so far; at any time."""
        starts = [self._fleet.result_of(s, self._ended) for s in range(self.num_starts)]
        winner, status = self._fleet.winner, self._status()
        result = RoverResult(starts[winner])
        result.update(
            message=self._fleet.sentence(status, winner),
            status=int(status),
            success=status.success and math.isfinite(result.fun),
            nit=self.nit,
            nfev=self.nfev,
            starts=starts,
        )
        return result

    # -- save and resume ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on: tensors, numbers and strings, whatever was called last."""
        probe = self._probe
        return {
            "format": _FORMAT,
            "shape": [self.num_starts, self.dim, self.policy.grid_size],
            "engine": self._engine.state_dict(),
            "fleet": self._fleet.state_dict(),
            "ended": int(self._ended),
            "nit": self.nit,
            "nfev": self.nfev,
            "seconds": self._seconds(),
            "luck": self._luck.get_state(),
            "restarts": self._restarts.state_dict(),
            "kind": self._kind,
            "probe": None if probe is None else tuple(probe),
            "questions": [(s, x.tolist()) for s, x in self._questions],
            "asked": self._asked,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the optimiser must have been made with the same options.

        Raises:
            ValueError: if this is no such state, or one of another problem or grid size.
        """
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise ValueError("`state` must come from `Optimizer.state_dict()`")
        shape = [self.num_starts, self.dim, self.policy.grid_size]
        if list(state["shape"]) != shape:
            raise ValueError(
                f"`state` is of another run: (starts, variables, grid_size) = {list(state['shape'])}, not {shape}"
            )
        self._engine.load_state_dict(state["engine"])
        self._fleet.load_state_dict(state["fleet"])
        self._ended, self.nit, self.nfev = Status(state["ended"]), state["nit"], state["nfev"]
        self._began = time.monotonic() - state["seconds"]
        self._luck.set_state(state["luck"])
        self._restarts.load_state_dict(state["restarts"])
        self._kind = state["kind"]
        self._probe = None if state["probe"] is None else Probe(*state["probe"])
        self._questions = [(s, np.array(x)) for s, x in state["questions"]]
        self._asked, self._cache = state["asked"], None

    def __getstate__(self) -> dict[str, Any]:
        options = {**self.settings.options, "policy": self.policy}
        return {"start": self._fleet.start, "options": options, "state": self.state_dict()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(saved["start"], **saved["options"])  # type: ignore[misc]
        self.load_state_dict(saved["state"])
