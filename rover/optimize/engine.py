"""S rovers on m slices each, stepped at once: look, decide, move. Pure tensor algebra in float64; no budgets, no stops.

With two variables there is one slice and a round is exactly :meth:`rover.policy.Policy.advance`. With more, every
slice (a pair of axes) has its own step size, resolution, frame and memory, and the move is the least-squares
combination (eqs 8-10): for each axis the mean over the slices in which it takes part in this round. With one variable the rover
sees the n points along the line as a grid that is constant across it, and takes from the direction only its sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rover.navigation.grid import grid_offsets, look
from rover.navigation.moves import RoverState, transition
from rover.optimize.pair_table import PairTable
from rover.optimize.slices import draw_pairs
from rover.optimize.space import Space
from rover.policy import Policy

_ROWS_AT_ONCE = 4096  # grids in one network call: bounds the memory of the activations


@dataclass
class EngineRules:
    """What may be varied about a round.

    Attributes:
        anchor: ``none``: a move starts where the rover stands (the paper). ``best``: it starts from the best point of
            the grid just seen.
        inherit: whether a pair that is used for the first time takes over the rates that its axes have reached in other
            slices; False is the paper, whose late axes still have the initial ones.
    """

    anchor: str = "none"
    inherit: bool = True


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
    spread: Tensor  # (A,) range of the finite values of all slices
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
    ) -> None:
        self.policy, self.space, self.strategy, self.generator, self.rules = policy, space, strategy, generator, rules
        self.theta = theta.clone()
        self.num_starts, self.dim = theta.shape
        n = policy.grid_size
        self.points_a_slice = n if self.dim == 1 else n * n
        offsets = grid_offsets(n)
        self._offsets = offsets[::n].clone() if self.dim == 1 else offsets
        self.middle = n // 2 if self.dim == 1 else (n // 2) * n + n // 2
        self.isotropic = False
        self._log_width = space.width.log()
        self.table = PairTable(self.num_starts, self._fresh(torch.ones(2, 1, 1, dtype=torch.float64)))
        self.start_log = torch.zeros(2, self.num_starts, dtype=torch.float64)  # log alpha, log delta at the start
        self.axis_log = torch.full((2, self.num_starts, self.dim), float("nan"), dtype=torch.float64)
        # What each axis showed when it was last looked along; convergence is judged by all axes.
        self.axis_size = torch.full((self.num_starts, self.dim), float("inf"), dtype=torch.float64)
        self.axis_spread = self.axis_size.clone()
        self.view: View | None = None

    def place(self, start: int, theta: Tensor, alpha: float, delta: float) -> None:
        """Put rover `start` at ``theta (d,)`` with initial rates and nothing remembered."""
        self.theta[start] = theta
        self.start_log[:, start] = torch.tensor([alpha, delta], dtype=torch.float64).log()
        self.axis_log[:, start] = float("nan")
        self.axis_size[start] = self.axis_spread[start] = float("inf")
        if len(self.table):
            keys, slots = self.table.keys, self.table.slots
            self._initialise(torch.stack([keys // self.dim, keys % self.dim], -1), slots, torch.tensor([start]))

    # -- look ---------------------------------------------------------------------------------------------------------

    def look(self, active: Tensor) -> View:
        """Choose the slices of the next round and where their grids stand; rovers near a bound are moved inside."""
        pairs = draw_pairs(self.strategy, self.dim, self.generator)
        slots, fresh = self.table.find(pairs[:, 0] * self.dim + pairs[:, 1])
        if fresh.any():
            self._initialise(pairs[fresh], slots[fresh], torch.arange(self.num_starts))
        state = self.table.read(slots, active)
        delta, frame = state["delta"], state["frame"]
        center = self.theta[active][:, pairs].transpose(0, 1)  # (m, A, 2)
        # Below the spacing of float64 numbers the points of a grid would coincide.
        delta = torch.maximum(delta, center.abs().amax(-1) * 2.0**-48).clamp(1e-150, 1e150)
        if self.space.limited:
            moved, shrunk = self.space.fit_window(
                center.transpose(0, 1), delta.T, frame.transpose(0, 1), pairs, self.policy.grid_size
            )
            center, delta = moved.transpose(0, 1), shrunk.T
            if self.dim <= 2:
                self.theta[active] = center[0, :, : self.dim]
        self.view = View(active, pairs, slots, center, delta, state)
        return self.view

    def _initialise(self, pairs: Tensor, slots: Tensor, starts: Tensor) -> None:
        """Rates, frames and empty memories of pairs ``(m, 2)`` that rovers use for the first time."""
        log = self.start_log[:, starts, None].expand(2, len(starts), len(pairs))
        if self.rules.inherit:
            known = self.axis_log[:, starts]
            reached = torch.nanmean(known, -1, keepdim=True)  # an axis never seen: as the others are by now
            axes = torch.where(known.isnan(), reached, known)[:, :, pairs]  # (2, S, m, 2)
            log = torch.where(reached.isnan(), log, axes.mean(-1))
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

    def _unit(self, pairs: Tensor) -> Tensor:
        """Logarithm of the unit of length of slices, the geometric mean of their axes' widths: ``(m,)``."""
        return self._log_width[pairs].mean(-1) if self.isotropic else torch.zeros(len(pairs), dtype=torch.float64)

    def points(self, first: int = 0, last: int | None = None) -> Tensor:
        """Points of the grids `first` to `last` of the view, rover by rover, slice by slice: ``(N, d)``."""
        view = self._seen()
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
        active, pairs, slots = view.active, view.pairs, view.slots
        m, num_active = len(pairs), len(active)
        finite = values.isfinite()
        seen = finite.any(-1).T  # (m, A): a slice without one finite value says nothing

        # See and decide: all slices of all rovers are one batch of 2-D rovers.
        fields = {name: field.flatten(0, 1) for name, field in view.state.items()}
        fields["delta"] = view.delta.flatten()
        # A theta of zero: the new theta is the move.
        state = RoverState(theta=torch.zeros(m * num_active, 2, dtype=torch.float64), **fields)
        after = self._advance(values.transpose(0, 1).flatten(0, 1), state)

        # Move (eq 4), from the best point of the grid where the rules say so.
        move = after.theta.view(m, num_active, 2)
        if self.rules.anchor == "best":
            move = move + self._best_offset(values.transpose(0, 1), view)
        standing = self.theta[active][:, pairs].transpose(0, 1)
        move = torch.where(seen[..., None], view.center - standing + move, 0.0)
        if self.dim == 1:
            move = move[..., :1]
        total = self._combine(move, seen)
        self.theta[active] = self.space.clamp(self.theta[active] + total)

        after = after._replace(alpha=after.alpha.clamp(1e-150, 1e150), delta=after.delta.clamp(1e-150, 1e150))
        self.table.write(slots, active, after)
        step = self._describe(values, finite, total)
        self._observe(values, finite, after.alpha.view(m, -1), after.delta.view(m, -1))
        return step

    def _advance(self, values: Tensor, state: RoverState) -> RoverState:
        """One decision and transition of R two-dimensional rovers, in chunks of bounded memory: ``values (R, P)``."""
        n = self.policy.grid_size
        if self.dim == 1:
            values = values[..., None].expand(-1, n, n).flatten(1)
        parts = []
        for first in range(0, len(values), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            part = state if len(values) <= _ROWS_AT_ONCE else RoverState(*(field[rows] for field in state))
            sight = look(values[rows], n)
            decision = self.policy.decide(sight, part)
            if self.dim == 1:
                sign = torch.where(decision.direction[:, :1] < 0, -1.0, 1.0)
                decision = decision._replace(direction=torch.cat([sign, 0 * sign], -1), frame=part.frame)
            parts.append(transition(part, decision, sight, act_first=self.policy.config.act_first))
        return parts[0] if len(parts) == 1 else RoverState(*(torch.cat(field) for field in zip(*parts, strict=True)))

    def _best_offset(self, values: Tensor, view: View) -> Tensor:
        """From the centre of each grid to its best point: ``values (m, A, P)`` -> ``(m, A, 2)``."""
        where = torch.where(values.isfinite(), values, float("inf")).argmin(-1)
        offset = self._offsets[where] * view.delta[..., None]
        return (view.state["frame"] @ offset[..., None])[..., 0]

    def _combine(self, move: Tensor, seen: Tensor) -> Tensor:
        """The least-squares solution of (8): for each axis the mean over the slices that saw something along it.

        Args:
            move: ``(m, A, 2)``, zero where unseen.
            seen: ``(m, A)``.

        Returns:
            ``(A, d)``.
        """
        if self.dim <= 2:
            return move[0]
        axes = self._seen().pairs.flatten()
        total = torch.zeros(self.dim, move.shape[1], dtype=torch.float64)
        count = torch.zeros_like(total)
        total.index_add_(0, axes, move.transpose(1, 2).flatten(0, 1))
        count.index_add_(0, axes, seen.double().repeat_interleave(2, 0))
        return (total / count.clamp(min=1)).T

    def _describe(self, values: Tensor, finite: Tensor, total: Tensor) -> Step:
        view = self._seen()
        low = torch.where(finite, values, float("inf")).amin((-1, -2))
        high = torch.where(finite, values, -float("inf")).amax((-1, -2))
        length = total.norm(dim=-1, keepdim=True)
        log_width = self._log_width[view.pairs]  # (m, 2)
        unit = log_width.mean(-1, keepdim=True)
        return Step(
            direction=total / torch.where(length > 0, length, 1.0),
            alpha=(view.state["alpha"].log() + unit).mean(0).exp(),
            delta=(view.delta.log() + unit).mean(0).exp(),
            frame=view.state["frame"][0] * (log_width[0] - unit[0]).exp()[:, None],
            value=values[:, 0, self.middle],
            spread=high - low,
            blind=~finite.any(-1).any(-1),
        )

    def _observe(self, values: Tensor, finite: Tensor, alpha: Tensor, delta: Tensor) -> None:
        """Per axis: how large the rover's next looks and moves are, and how much f varied; what the slices gained."""
        view = self._seen()
        m = len(view.pairs)
        low = torch.where(finite, values, float("inf")).amin(-1)
        high = torch.where(finite, values, -float("inf")).amax(-1)
        spread = torch.where(high >= low, high - low, 0.0)  # (A, m)
        size = torch.maximum(alpha, (self.policy.grid_size - 1) / 2 * delta).T  # (A, m)
        if m == 1:
            self.axis_size[view.active] = size
            self.axis_spread[view.active] = spread
            return
        axes = view.pairs.flatten()
        for target, source in ((self.axis_size, size), (self.axis_spread, spread)):
            current = target[view.active]
            current[:, axes] = 0.0
            current.scatter_reduce_(1, axes.expand(len(current), -1), source.repeat_interleave(2, 1), "amax")
            target[view.active] = current
        self._observe_rates(axes, alpha, delta)
        if hasattr(self.strategy, "observe"):
            middle = values[..., self.middle]
            gain = torch.where(middle.isfinite(), middle - low, spread).clamp(min=0)
            largest = gain.amax(-1, keepdim=True).clamp(min=1e-300)
            self.strategy.observe(view.pairs, torch.nan_to_num(gain / largest, nan=0.0, posinf=0.0).mean(0))

    def _observe_rates(self, axes: Tensor, alpha: Tensor, delta: Tensor) -> None:
        """Geometric means over this round's slices of each axis, for pairs that are yet to come."""
        if not self.rules.inherit:
            return
        view = self._seen()
        count = torch.bincount(axes, minlength=self.dim)
        for row, rate in enumerate((alpha, delta)):
            total = torch.zeros(len(view.active), self.dim, dtype=torch.float64)
            total.index_add_(1, axes, (rate.log().T + self._unit(view.pairs)).repeat_interleave(2, 1))
            current = self.axis_log[row, view.active]
            self.axis_log[row, view.active] = torch.where(count > 0, total / count.clamp(min=1), current)

    # -- save and resume ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next round depends on, as tensors and scalars."""
        state: dict[str, Any] = {
            name: getattr(self, name).clone() for name in ("theta", "start_log", "axis_log", "axis_size", "axis_spread")
        }
        state["isotropic"] = self.isotropic
        state["table"] = self.table.state_dict()
        state["generator"] = self.generator.get_state()
        state["view"] = None if self.view is None else tuple(self.view)
        state["strategy"] = self.strategy.state_dict() if hasattr(self.strategy, "state_dict") else None
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        for name in ("theta", "start_log", "axis_log", "axis_size", "axis_spread"):
            setattr(self, name, state[name].clone())
        self.isotropic = state["isotropic"]
        self.table.load_state_dict(state["table"])
        self.generator.set_state(state["generator"])
        self.view = None if state["view"] is None else View(*state["view"])
        if state["strategy"] is not None:
            self.strategy.load_state_dict(state["strategy"])
