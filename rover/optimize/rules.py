"""What may be varied about a round of the engine, and what is taken where nothing is said."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass
class EngineRules:
    """What may be varied about a round. None: the paper's way with the faithful policy, else what proved best.

    Attributes:
        anchor: where a move out of a grid may end. ``none``: wherever the policy says (the paper). ``best``: in the cell
            of the best point just seen, if the policy would miss that cell although the point is not on the rim of the
            grid, or would not leave the grid anyway. None: ``best`` up to two variables, unless f is noisy.
        at_bounds: a grid that sticks out of the box is ``fold``: continued behind the walls, which are mirrors (see
            :mod:`rover.optimize.space`); ``shrink``: made up to four times finer, then moved inside if it still sticks
            out; ``move``: moved inside at once; ``squash``: squashed onto the box point by point.
            None: ``fold``, or ``move`` with the faithful policy.
        combine: what becomes of the mean of the slices' moves, for d > 2. ``mean``: it is the move (eq 9, the paper).
            ``search``: it is a proposal that is tried in several lengths in the next round. ``newton``: so are the steps
            of the quadratic model that all slices make together (:mod:`rover.optimize.curvature`).
            None: ``newton``, or ``mean`` with the faithful policy.
        inherit: whether a pair that is used for the first time takes over the rates that its axes have reached in other
            slices; False is the paper, whose late axes still have the initial ones.
        recall: whether a rover that has lost its way goes back to its best point, see :mod:`rover.optimize.recall`.
            None: up to two variables, unless f is noisy.
        focus: whether models of the grids decide on the resolution where they are exact, and under noise keep the grid
            large enough to show something, see :mod:`rover.optimize.focus`. None: with two variables.
    """

    anchor: str | None = None
    at_bounds: str | None = None
    combine: str | None = None
    inherit: bool | None = None
    recall: bool | None = None
    focus: bool | None = None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, type(known[0])) and value in known):
                raise ValueError(f"`{name}` must be one of {known} or None, got {value!r}")

    def resolved(self, *, faithful: bool, noisy: bool, dim: int) -> EngineRules:
        """The same with every None replaced."""
        usual = EngineRules(
            anchor="none" if faithful or noisy or dim > 2 else "best",
            at_bounds="move" if faithful else "fold",
            combine="mean" if faithful else "newton",
            inherit=not faithful,
            recall=not (faithful or noisy or dim > 2),
            focus=not faithful and dim == 2,
        )
        return replace(usual, **{name: value for name, value in asdict(self).items() if value is not None})


CHOICES: dict[str, tuple[Any, ...]] = {
    "anchor": ("none", "best"),
    "at_bounds": ("fold", "shrink", "move", "squash"),
    "combine": ("mean", "search", "newton"),
    "inherit": (True, False),
    "recall": (True, False),
    "focus": (True, False),
}
