"""S rovers on m slices each, stepped at once: look, decide, move. Pure tensor algebra in float64; no budgets, no stops.

With two variables there is one slice and a round is exactly :meth:`rover.policy.Policy.advance`. With more, every
slice (a pair of axes) has its own step size, resolution, frame and memory, and the move is the least-squares
combination (eqs 8-10): for each axis the mean over the slices in which it takes part in this round. Unless the rules are
the paper's, that move is a proposal, which a round of its own tries out (:mod:`rover.optimize.move_search`) beside
Newton's (:mod:`rover.optimize.curvature`). With one variable the rover sees the n points along the line as a grid that is
constant across it, and takes from the direction only its sign.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rover.navigation.grid import grid_offsets
from rover.navigation.moves import RoverState
from rover.optimize.advance import advance
from rover.optimize.anchor import anchored
from rover.optimize.axis_record import AxisRecord
from rover.optimize.combine import combine
from rover.optimize.curvature import ITERATES, Curvature
from rover.optimize.focus import focus, focus_noisy
from rover.optimize.move_search import SHORTEST, MoveSearch
from rover.optimize.pair_table import PairTable
from rover.optimize.probe import box_radius
from rover.optimize.recall import Recall
from rover.optimize.recent import Model, Recent
from rover.optimize.rules import EngineRules
from rover.optimize.slices import draw_pairs
from rover.optimize.space import Space
from rover.policy import Policy

SHRINK = 0.25
"""By how much a grid may become finer in one round so that it fits into the box without being moved."""
_TINY, _HUGE = 1e-150, 1e150


class View(NamedTuple):
    """Where the next grids stand, for A active rovers and m slices."""

    active: Tensor  # (A,) indices of rovers
    pairs: Tensor  # (m, 2)
    slots: Tensor  # (m,) rows in the table
    center: Tensor  # (m, A, 2)
    delta: Tensor  # (m, A)
    state: dict[str, Tensor]  # (m, A, ...) of everything else that the slices carry


class Step(NamedTuple):
    """What a round was, for A active rovers."""

    direction: Tensor  # (A, d) unit vector of the combined move
    alpha: Tensor  # (A,) in x: geometric mean over slices of the step sizes in force when the grids were seen
    delta: Tensor  # (A,) in x, likewise
    frame: Tensor  # (A, 2, 2) of the first slice, in x
    value: Tensor  # (A,) at the centre of the first slice
    spread: Tensor  # (A,) range of the finite values of all slices; minus infinity without one
    blind: Tensor  # (A,) bool: no slice had a finite value


class Engine:
    """The state of S rovers and one round of it.

    Args:
        policy: what drives them.
        space: coordinates and limits.
        theta: ``(S, d)`` float64, starts in the space's coordinates.
        strategy: which slices, see :mod:`rover.optimize.slices`.
        generator: source of the slices' randomness.
        rules: variations.
        noisy: whether f is.

    Attributes:
        isotropic: whether initial rates are lengths in x, the same along every axis, and not shares of the box.
    """

    def __init__(
        self,
        policy: Policy,
        space: Space,
        theta: Tensor,
        strategy: Any,
        generator: torch.Generator,
        rules: EngineRules,
        *,
        noisy: bool = False,
    ) -> None:
        self.policy, self.space, self.strategy, self.generator = policy, space, strategy, generator
        self.theta = theta.clone()
        self.num_starts, self.dim = theta.shape
        self.noisy = noisy
        self.rules = rules.resolved(faithful=not policy.config.act_first, noisy=noisy, dim=self.dim)
        n = policy.grid_size
        self.points_a_slice = n if self.dim == 1 else n * n
        searches, newton = self.dim > 2 and self.rules.combine != "mean", self.rules.combine == "newton"
        self.search = MoveSearch(self.num_starts, self.dim, len(ITERATES) * newton) if searches else None
        self.curvature = Curvature(self.num_starts, self.dim) if searches and newton else None
        self.recall = Recall(self.num_starts) if self.rules.recall and self.dim <= 2 else None
        self.recent = Recent(self.num_starts, n * n) if noisy and self.rules.focus and self.dim == 2 else None
        self.model: Model | None = None
        offsets = grid_offsets(n)
        self._offsets = offsets[::n].clone() if self.dim == 1 else offsets
        self._cells = self._offsets * torch.tensor([1.0, float(self.dim > 1)], dtype=torch.float64)
        self._middle = n // 2 if self.dim == 1 else (n // 2) * n + n // 2
        self.isotropic = False
        self._log_width = space.width.log()
        unit = self._log_width.mean()
        self._scale = float(unit.exp())  # of two variables: from the space's lengths to lengths in x
        self._stretch = (self._log_width - unit).exp()[:, None]
        self.table = PairTable(self.num_starts, self._fresh(torch.ones(2, 1, 1, dtype=torch.float64)))
        self.axes = AxisRecord(self.num_starts, self.dim)
        self._start_log = torch.zeros(2, self.num_starts, dtype=torch.float64)  # log alpha, log delta at the start
        self.view: View | None = None

    def place(self, start: int, theta: Tensor, alpha: float, delta: float) -> None:
        """Put rover `start` at ``theta (d,)`` with initial rates and nothing remembered."""
        if self.recall is not None:
            self.recall.forget(start)
        if self.recent is not None:
            self.recent.forget(start)
        self._place(start, theta, alpha, delta)

    def _place(self, start: int, theta: Tensor, alpha: float, delta: float) -> None:
        self.theta[start] = theta
        self._start_log[:, start] = torch.tensor([alpha, delta], dtype=torch.float64).log()
        self.axes.forget(start)
        if self.search is not None:
            self.search.forget(start)
        if self.curvature is not None:
            self.curvature.forget(start)
        if len(self.table):
            keys, slots = self.table.keys, self.table.slots
            self._initialise(torch.stack([keys // self.dim, keys % self.dim], -1), slots, torch.tensor([start]))

    # -- look ---------------------------------------------------------------------------------------------------------

    def look(self, active: Tensor) -> View:
        """Choose the slices of the next round and where their grids stand; rovers near a bound are moved inside.

        Args:
            active: ``(A,)``, indices of the rovers that take part.
        """
        if self._searching:
            nothing = torch.zeros(1, len(active), dtype=torch.float64)
            pairs = torch.zeros(1, 2, dtype=torch.int64)
            self.view = View(active, pairs, pairs[:, 0], nothing[..., None].expand(-1, -1, 2), nothing, {})
            return self.view
        pairs = draw_pairs(self.strategy, self.dim, self.generator)
        slots, fresh = self.table.find(pairs[:, 0] * self.dim + pairs[:, 1])
        if fresh is not None:
            self._initialise(pairs[fresh], slots[fresh], torch.arange(self.num_starts))
        state = self.table.read(slots, active)
        if self.search is not None:
            reach = self.search.reach[active]
            state["alpha"] = torch.minimum(state["alpha"], reach)
            state["delta"] = torch.minimum(state["delta"], reach * 2 / (self.policy.grid_size - 1))
        center = self._standing(active, pairs)
        # Below the spacing of float64 numbers the points of a grid would coincide.
        delta = torch.maximum(state["delta"], center.abs().amax(-1) * 2.0**-48).clamp(_TINY, _HUGE)
        if self.space.limited and self.rules.at_bounds != "squash":
            finer = SHRINK if self.rules.at_bounds == "shrink" else 1.0
            center, delta = self.space.fit_window(center, delta, state["frame"], pairs, self.policy.grid_size, finer)
            if self.space.fold and self.dim <= 2 and not (self.noisy or self.isotropic):
                n = self.policy.grid_size  # the first round has sampled the rest of the box
                delta = self.space.narrow(delta, state["frame"], n, box_radius(n))
            if self.dim <= 2:
                self.theta[active] = center[0, :, : self.dim]
        self.view = View(active, pairs, slots, center, delta, state)
        return self.view

    def _standing(self, active: Tensor, pairs: Tensor) -> Tensor:
        """Where the rovers stand in their slices: ``(m, A, 2)``."""
        theta = self.theta[active]
        return theta[None] if self.dim == 2 else theta[:, pairs].transpose(0, 1)

    def _initialise(self, pairs: Tensor, slots: Tensor, starts: Tensor) -> None:
        """Rates, frames and empty memories of pairs ``(m, 2)`` that rovers use for the first time."""
        log = self._start_log[:, starts, None]
        log = self.axes.inherited(starts, pairs, log) if self.rules.inherit else log.expand(-1, -1, len(pairs))
        state = self._fresh((log - self._unit(pairs)).exp().transpose(1, 2))
        if self.isotropic and self.dim > 1:
            first, second = self._log_width[pairs].unbind(-1)
            stretch = ((second - first) / 2).exp()
            frame = torch.diag_embed(torch.stack([stretch, 1 / stretch], -1))
            state = state._replace(frame=frame[:, None].expand(-1, len(starts), 2, 2))
        self.table.write(slots, starts, state)

    def _fresh(self, rates: Tensor) -> RoverState:
        """States of 2-D rovers that have seen nothing, from alpha and delta ``(2, m, A)``; the batch is m * A."""
        alpha, delta = rates.flatten(1)
        return self.policy.initial_state(torch.zeros(len(alpha), 2, dtype=torch.float64), alpha, delta)

    def _unit(self, pairs: Tensor) -> Tensor | float:
        """Logarithm of the unit of length of slices, the geometric mean of their axes' widths: ``(m,)``."""
        return self._log_width[pairs].mean(-1) if self.isotropic else 0.0

    def points(self, first: int = 0, last: int | None = None) -> Tensor:
        """Points of the grids `first` to `last` of the view, rover by rover, slice by slice: ``(N, d)``."""
        view = self._seen()
        if self._searching:
            return self._tries(view.active[first:last]).flatten(0, 1)
        center, delta, frame = (
            x.transpose(0, 1).flatten(0, 1)[first:last] for x in (view.center, view.delta, view.state["frame"])
        )
        if self.dim == 1:
            return (center[:, None, :1] + delta[:, None, None] * self._offsets[:, :1]).flatten(0, 1)
        grids = center[:, None] + self._offsets @ (delta[:, None, None] * frame).mT  # (R, P, 2)
        if self.dim == 2:
            return grids.flatten(0, 1)
        num = len(view.pairs)
        rows = torch.arange(first, first + len(center))
        result = self.theta[view.active[rows // num]][:, None].repeat(1, self.points_a_slice, 1)
        result.scatter_(2, view.pairs[rows % num][:, None].expand(-1, self.points_a_slice, 2), grids)
        return result.flatten(0, 1)

    @property
    def points_a_grid(self) -> int:
        """Points of one grid of the view, or of one rover's tries."""
        return len(self.search.lattice) if self.search is not None and self.search.waiting else self.points_a_slice

    @property
    def middle(self) -> int:
        """Index of the point of a grid at which the rover stands."""
        return 0 if self._searching else self._middle

    @property
    def num_grids(self) -> int:
        """Grids in the view."""
        view = self._seen()
        return len(view.pairs) * len(view.active)

    def _seen(self) -> View:
        if self.view is None:
            raise RuntimeError("look() comes before points() and round()")
        return self.view

    # -- decide and move ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def round(self, values: Tensor) -> Step:
        """Let the rovers decide and move from what they see.

        Args:
            values: ``(A, m, P)``, f at :meth:`points`.
        """
        view = self._seen()
        if self._searching:
            return self._go_to_best(values[:, 0], view.active)
        num_slices, num_active = len(view.pairs), len(view.active)
        low, high = _range(values)
        seen = (high >= low).T  # (m, A): a slice without one finite value says nothing

        # See and decide: all slices of all rovers are one batch of 2-D rovers, at a theta of zero, so that the new theta
        # is the move (eq 4).
        fields = {name: field.flatten(0, 1) for name, field in view.state.items()} | {"delta": view.delta.flatten()}
        still = RoverState(theta=values.new_zeros(num_slices * num_active, 2), **fields)
        after = advance(self.policy, values.transpose(0, 1).flatten(0, 1), still, line=self.dim == 1)
        move = after.theta.view(num_slices, num_active, 2)
        if self.rules.anchor == "best":
            move = anchored(move, values.transpose(0, 1), self._cells, view.delta, self._frame_of(view))
        if self.rules.focus and self.dim == 2:
            move, after = self._focused(move, after, values[:, 0], view)

        # Move: from the centres of the grids, which near a bound are not where the rover stands.
        move = view.center - self._standing(view.active, view.pairs) + move
        total = combine(move, seen, view.pairs, self.dim)
        if self.search is None:
            self.theta[view.active] = self.space.clamp(self.theta[view.active] + total)
        else:
            self.search.propose(view.active, total, self._newton_steps(values, view))

        after = after._replace(alpha=after.alpha.clamp(_TINY, _HUGE), delta=after.delta.clamp(_TINY, _HUGE))
        self.table.write(view.slots, view.active, after)
        self._note(values, low, high, after)
        step = self._describe(values, low, high, total)
        if self.recall is not None:
            self._call_back(values[:, 0], view, self.recall)
        return step

    def _frame_of(self, view: View) -> Tensor:
        """Frames ``(m, A, 2, 2)``; with one variable the identity."""
        frame = view.state["frame"]
        return torch.eye(2, dtype=torch.float64).expand_as(frame) if self.dim == 1 else frame

    def _call_back(self, values: Tensor, view: View, recall: Recall) -> None:
        """Put rovers that have lost their way back to their best points: ``values (A, P)``."""
        center, delta, frame = view.center[0], view.delta[0, :, None], self._frame_of(view)[0]
        low, where = torch.where(values.isfinite(), values, float("inf")).min(-1)
        found = center + delta * (frame @ self._offsets[where][..., None])[..., 0]
        impatient = recall.note(view.active, low, found, view.delta[0])
        if not bool(impatient.any()):
            return
        half = (self.policy.grid_size - 1) / 2
        cells = torch.linalg.solve_ex(frame, recall.theta[view.active] - center)[0] / delta
        lost = impatient & (cells.abs().amax(-1) > half + 0.5)
        unit = self._scale if self.isotropic else 1.0
        for row in lost.nonzero()[:, 0].tolist():
            start = int(view.active[row])
            recall.delta[start] /= 2
            recall.stale[start] = 0
            smaller = float(recall.delta[start]) * unit
            self._place(start, recall.theta[start, : self.dim], smaller * half / 2, smaller)

    @property
    def _searching(self) -> bool:
        return self.search is not None and self.search.waiting

    def _tries(self, active: Tensor) -> Tensor:
        """What a search samples, ``(A, P, d)``; tries that lead out of the box end at its wall."""
        assert self.search is not None
        return self.space.clamp(self.theta[active][:, None] + self.search.displacements(active))

    def _go_to_best(self, values: Tensor, active: Tensor) -> Step:
        """End of a search: ``values (A, P)``."""
        assert self.search is not None
        low, high = _range(values)
        best = torch.where(values.isfinite(), values, float("inf")).argmin(-1)  # the first: it stays unless it gains
        arrived = self._tries(active)[torch.arange(len(active)), best]
        moved = arrived - self.theta[active]
        proposal = self.search.basis[active, 0]
        self.theta[active] = arrived
        self.search.moved(active, moved)
        width = self.space.width
        alpha = torch.linalg.vector_norm(proposal * width, dim=-1).clamp(min=_TINY)
        return Step(
            direction=moved / torch.linalg.vector_norm(moved, dim=-1, keepdim=True).clamp(min=_TINY),
            alpha=alpha,
            delta=SHORTEST * alpha,
            frame=torch.eye(2, dtype=torch.float64).expand(len(active), 2, 2),
            value=values[:, 0],
            spread=high - low,
            blind=torch.zeros(len(active), dtype=torch.bool),  # the slices are there to notice
        )

    def _focused(self, move: Tensor, after: RoverState, values: Tensor, view: View) -> tuple[Tensor, RoverState]:
        """Moves and resolutions after :mod:`rover.optimize.focus`: ``move (1, A, 2)``, ``values (A, P)``."""
        half = (self.policy.grid_size - 1) / 2
        delta, frame = view.delta[0], view.state["frame"][0]
        if self.recent is None:
            seen = focus(values, self.policy.grid_size)
        else:
            window = half * delta[:, None, None] * frame
            points = view.center[0][:, None] + self._offsets @ (delta[:, None, None] * frame).mT
            self.recent.add(view.active, points, values)
            self.model = self.recent.model(view.active, view.center[0], window)
            seen = focus_noisy(values, self.policy.grid_size, self.model)
        there = half * delta[:, None] * (frame @ seen.move[..., None])[..., 0]
        finer = torch.minimum(torch.maximum(after.delta, seen.finest * delta), seen.coarsest * delta)
        alpha = torch.where(finer == after.delta, after.alpha, finer * half / 2)
        return torch.where(there.isnan(), move[0], there)[None], after._replace(delta=finer, alpha=alpha)

    def _newton_steps(self, values: Tensor, view: View) -> Tensor:
        """Steps of the model that the slices make together, ``(A, K, d)``: ``values (A, m, P)``."""
        if self.curvature is None:
            return values.new_zeros(len(values), 0, self.dim)
        n = self.policy.grid_size
        window = (n - 1) / 2 * view.delta[..., None, None] * view.state["frame"]
        square = values.transpose(0, 1).unflatten(-1, (n, n))
        gradient = self.curvature.note(view.active, view.pairs, view.slots, window, square)
        keys = self.table.keys
        pairs = torch.stack([keys // self.dim, keys % self.dim], -1)
        return self.curvature.steps(view.active, gradient, pairs, self.table.slots)

    def _describe(self, values: Tensor, low: Tensor, high: Tensor, total: Tensor) -> Step:
        view = self._seen()
        alpha, delta, frame = view.state["alpha"], view.delta, view.state["frame"][0]
        if self.dim <= 2:
            alpha, delta, frame = alpha[0] * self._scale, delta[0] * self._scale, frame * self._stretch
        else:
            log_width = self._log_width[view.pairs]  # (m, 2)
            unit = log_width.mean(-1, keepdim=True)
            alpha, delta = (alpha.log() + unit).mean(0).exp(), (delta.log() + unit).mean(0).exp()
            frame = frame * (log_width[0] - unit[0]).exp()[:, None]
        return Step(
            direction=total / torch.linalg.vector_norm(total, dim=-1, keepdim=True).clamp(min=_TINY),
            alpha=alpha,
            delta=delta,
            frame=frame,
            value=values[:, 0, self._middle],
            spread=high.amax(-1) - low.amin(-1),
            blind=~(high >= low).any(-1),
        )

    def _note(self, values: Tensor, low: Tensor, high: Tensor, after: RoverState) -> None:
        """Tell the axes' record, and a strategy that learns, what the round was like."""
        view = self._seen()
        shape = (len(view.pairs), len(view.active))
        alpha, delta = after.alpha.view(shape).T, after.delta.view(shape).T  # (A, m)
        spread = (high - low).clamp(min=0)
        size = torch.maximum(alpha, (self.policy.grid_size - 1) / 2 * delta)
        log_rates = torch.stack([alpha, delta]).log() + self._unit(view.pairs) if self.rules.inherit else None
        self.axes.note(view.active, view.pairs, size, spread, log_rates)
        if hasattr(self.strategy, "observe"):
            middle = values[..., self._middle]
            gain = torch.where(middle.isfinite(), middle - low, spread).clamp(min=0)
            gain = gain / gain.amax(-1, keepdim=True).clamp(min=1e-300)
            self.strategy.observe(view.pairs, torch.nan_to_num(gain, nan=0.0, posinf=0.0).mean(0))

    # -- save and resume ----------------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, Any]:
        """What remembers; None where the rules do without it."""
        names = ("axes", "table", "search", "curvature", "recent", "recall")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next round depends on, as tensors and scalars."""
        view = self.view
        return {
            "theta": self.theta.clone(),
            "start_log": self._start_log.clone(),
            "isotropic": self.isotropic,
            **{name: None if part is None else part.state_dict() for name, part in self._parts().items()},
            "generator": self.generator.get_state(),
            "view": None if view is None else {name: _copy(value) for name, value in view._asdict().items()},
            "strategy": self.strategy.state_dict() if hasattr(self.strategy, "state_dict") else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.theta, self._start_log = state["theta"].clone(), state["start_log"].clone()
        self.isotropic = state["isotropic"]
        for name, part in self._parts().items():
            if part is not None:
                part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        view = state["view"]
        self.view = None if view is None else View(**{name: _copy(value) for name, value in view.items()})
        if state["strategy"] is not None:
            self.strategy.load_state_dict(state["strategy"])


def _range(values: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest finite value ``(..., P) -> (...,)``; infinity and minus infinity where there is none."""
    low, high = values.aminmax(dim=-1)
    if bool((high - low).isfinite().all()):  # NaN and infinities would show
        return low, high
    finite = values.isfinite()
    infinity = float("inf")
    return torch.where(finite, values, infinity).amin(-1), torch.where(finite, values, -infinity).amax(-1)


def _copy(value: Any) -> Any:
    return {name: x.clone() for name, x in value.items()} if isinstance(value, dict) else value.clone()
