"""Which pairs of axes a rover looks at in a round (section 3.3): small objects that yield pairs.

A strategy is anything callable as ``strategy(dim, generator) -> (m, 2)`` pairs of different axes, or an iterator that
yields such pairs round after round. One that learns also has ``observe(pairs, gains)``; one with a memory has
``state_dict`` and ``load_state_dict``. This is a whole one::

    def neighbours(dim, generator):
        return [(i, i + 1) for i in range(dim - 1)]
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=8)
def _all_pairs(dim: int) -> Tensor:
    return torch.combinations(torch.arange(dim), 2)


class AllPairs:
    """All d (d - 1) / 2 pairs in every round (eq 9)."""

    def __call__(self, dim: int, generator: torch.Generator) -> Tensor:
        """``(m, 2)``."""
        del generator
        return _all_pairs(dim)


class RandomAxes:
    """All pairs among k axes drawn uniformly (eq 10).

    Args:
        k: number of axes, 2 <= k <= d.
    """

    def __init__(self, k: int) -> None:
        if k < 2:
            raise ValueError(f"`k` must be at least 2, got {k}: a slice needs two axes")
        self.k = k

    def __call__(self, dim: int, generator: torch.Generator) -> Tensor:
        """``(k (k - 1) / 2, 2)``."""
        if self.k > dim:
            raise ValueError(f"`k` must be at most the number of axes ({dim}), got {self.k}")
        axes = torch.randperm(dim, generator=generator)[: self.k].sort().values
        return torch.combinations(axes, 2)


class Partners:
    """l partners for every axis.

    Each round is l matchings: every axis is in exactly l slices (where d is odd, one axis is in two slices of a
    matching), so that no axis is visited late. The matchings come from a pool, because a pair that never returns has no
    use for its memory.

    Args:
        l: partners of an axis, 1 <= l < d.
        pool: number of different matchings. From d - 1 on (d, where d is odd) they are a round-robin tournament in
            which every pair has its turn. None: a tournament up to 64 axes, of which all couplings are then known
            (:mod:`rover.optimize.curvature`), else 16.
    """

    def __init__(self, l: int = 1, pool: int | None = None) -> None:  # noqa: E741 (the paper's letter)
        if l < 1:
            raise ValueError(f"`l` must be at least 1, got {l}")
        if pool is not None and pool < l:
            raise ValueError(f"`pool` must be at least `l` ({l}), got {pool}")
        self.l, self.pool = l, pool
        self._matchings: list[Tensor] = []
        self._next = 0

    def __call__(self, dim: int, generator: torch.Generator) -> Tensor:
        """``(m, 2)`` with m = l * ceil(d / 2)."""
        if self.l >= dim:
            raise ValueError(f"`l` must be less than the number of axes ({dim}), got {self.l}")
        size = dim - 1 + dim % 2  # matchings of a whole tournament
        if not self._matchings:
            pool = self.pool or max(size if size <= 64 else 16, self.l)
            whole = pool >= size
            self._matchings = _tournament(dim, generator) if whole else [_matching(dim, generator) for _ in range(pool)]
        chosen = [self._matchings[(self._next + i) % len(self._matchings)] for i in range(self.l)]
        self._next = (self._next + self.l) % len(self._matchings)
        return _unique(torch.cat(chosen))

    def state_dict(self) -> dict[str, Any]:
        """The pool and the place in it."""
        return {"matchings": [m.clone() for m in self._matchings], "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self._matchings, self._next = [m.clone() for m in state["matchings"]], state["next"]


class BlockPartners:
    """l partners for every axis from its own block (block-diagonal: one block a layer).

    An axis that is alone in its block is paired with one of the axes outside it, so that it moves at all.

    Args:
        l: partners of an axis; at most the size of a block less one is used in small blocks.
        blocks: sizes of consecutive blocks, or lists of axes; together they are a partition of all axes.
        pool: as for :class:`Partners`, for each block.
    """

    def __init__(self, l: int, blocks: Sequence[int] | Sequence[Sequence[int]], pool: int | None = 16) -> None:  # noqa: E741
        if l < 1:
            raise ValueError(f"`l` must be at least 1, got {l}")
        self.blocks = _block_axes(blocks)
        largest = max(len(block) for block in self.blocks)
        if l >= max(largest, 2):
            raise ValueError(f"`l` must be less than the size of the largest block ({largest}), got {l}")
        self.dim = sum(len(block) for block in self.blocks)
        self._inner = [Partners(min(l, len(b) - 1), pool and max(pool, l)) if len(b) > 1 else None for b in self.blocks]

    def __call__(self, dim: int, generator: torch.Generator) -> Tensor:
        """``(m, 2)``."""
        if dim != self.dim:
            raise ValueError(f"`blocks` must cover every axis once: they hold {self.dim} axes, the problem has {dim}")
        pairs = []
        for block, inner in zip(self.blocks, self._inner, strict=True):
            if inner is not None:
                pairs.append(block[inner(len(block), generator)])
            elif dim > 1:
                other = int(torch.randint(dim - 1, (1,), generator=generator))
                axis = int(block[0])
                pairs.append(torch.tensor([[axis, other + (other >= axis)]]))
        return _unique(torch.cat(pairs))

    def state_dict(self) -> dict[str, Any]:
        """The blocks' own states."""
        return {"inner": [inner.state_dict() if inner else {} for inner in self._inner]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        for inner, saved in zip(self._inner, state["inner"], strict=True):
            if inner:
                inner.load_state_dict(saved)


class AdaptiveAxes:
    """All pairs among k axes, sooner again those along which the last moves paid (the paper's future work).

    Each axis has a score, a running mean of its share of the decrease seen in its slices. An axis is the more urgent the
    higher its score and the longer ago its last turn: ``(score + floor) * age``. The k most urgent ones are taken, so that
    none is forgotten, and none is looked at again and again while nothing has changed.

    Args:
        k: number of axes, 2 <= k <= d.
        memory: weight of the old score, in [0, 1).
        floor: score of an axis that never paid, relative to the mean, greater than 0.
    """

    def __init__(self, k: int, memory: float = 0.7, floor: float = 0.3) -> None:
        if k < 2:
            raise ValueError(f"`k` must be at least 2, got {k}: a slice needs two axes")
        if not 0 <= memory < 1 or floor <= 0:
            raise ValueError(f"`memory` must be in [0, 1) and `floor` positive, got {memory} and {floor}")
        self.k, self.memory, self.floor = k, memory, floor
        self.score = torch.empty(0, dtype=torch.float64)
        self.age = torch.empty(0, dtype=torch.float64)

    def __call__(self, dim: int, generator: torch.Generator) -> Tensor:
        """``(k (k - 1) / 2, 2)``."""
        if self.k > dim:
            raise ValueError(f"`k` must be at most the number of axes ({dim}), got {self.k}")
        if len(self.score) != dim:
            self.score, self.age = torch.ones(2, dim, dtype=torch.float64)
        urgency = (self.score / self.score.mean().clamp(min=1e-300) + self.floor) * self.age
        ties = 1 + 0.01 * torch.rand(dim, generator=generator, dtype=torch.float64)
        axes = (urgency * ties).topk(self.k).indices.sort().values
        self.age += 1
        self.age[axes] = 1
        return torch.combinations(axes, 2)

    def observe(self, pairs: Tensor, gains: Tensor) -> None:
        """Learn from ``gains (m,)``, the decrease that each slice of the round showed.

        A slice's gain is explained as the sum of its two axes' (least squares over all pairs of the k axes).
        """
        dim = len(self.score)
        total = torch.zeros(dim, dtype=torch.float64).index_add_(0, pairs.flatten(), gains.repeat_interleave(2))
        axes = pairs.unique()
        paid = total[axes]
        if len(axes) > 2:
            paid = (paid - gains.sum() / (len(axes) - 1)).clamp(min=0) / (len(axes) - 2)
        share = paid / paid.mean().clamp(min=1e-300)
        self.score[axes] = self.memory * self.score[axes] + (1 - self.memory) * share

    def state_dict(self) -> dict[str, Any]:
        """Scores and ages."""
        return {"score": self.score.clone(), "age": self.age.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.score, self.age = state["score"].clone(), state["age"].clone()


def default_slices(dim: int) -> Callable[[int, torch.Generator], Tensor]:
    """All pairs up to six axes, else one partner for every axis: half the price of two, and as good."""
    return AllPairs() if dim <= 6 else Partners(1)


def check_fit(strategy: Any, dim: int) -> None:
    """Raise a ``ValueError`` if one of our strategies cannot serve a problem of `dim` variables."""
    if type(strategy) in _OURS and not isinstance(strategy, AllPairs):
        copy.deepcopy(strategy)(dim, torch.Generator())


def draw_pairs(strategy: Any, dim: int, generator: torch.Generator) -> Tensor:
    """The pairs of one round, checked and made canonical (i < j, each once): ``(m, 2)`` int64.

    Raises:
        ValueError: if the strategy yields something that is not pairs of different axes of the problem.
    """
    if dim == 1:
        return torch.zeros(1, 2, dtype=torch.int64)
    raw = next(strategy) if isinstance(strategy, Iterator) else strategy(dim, generator)
    if type(strategy) in _OURS:
        return raw
    try:
        pairs = torch.as_tensor(raw if isinstance(raw, Tensor) else [[operator.index(i) for i in pair] for pair in raw])
    except (TypeError, ValueError) as error:
        raise ValueError(f"`slices` must yield pairs of axes such as [(0, 1), (2, 3)], got {raw!r}") from error
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.is_floating_point():
        raise ValueError(f"`slices` must yield at least one pair of axes, (m, 2) integers, got {raw!r}")
    if pairs.min() < 0 or pairs.max() >= dim or bool((pairs[:, 0] == pairs[:, 1]).any()):
        raise ValueError(f"`slices` must yield pairs of different axes from 0 to {dim - 1}, got {pairs.tolist()[:8]}")
    return _unique(pairs.long())


def _unique(pairs: Tensor) -> Tensor:
    return torch.unique(pairs.sort(-1).values, dim=0)


def _matching(dim: int, generator: torch.Generator) -> Tensor:
    """Every axis once; with odd d the one left over is paired with another."""
    order = torch.randperm(dim, generator=generator)
    return torch.cat([order, order[:1]])[: 2 * ((dim + 1) // 2)].view(-1, 2)


def _tournament(dim: int, generator: torch.Generator) -> list[Tensor]:
    """The circle method: d - 1 matchings (d of odd d) in which every pair meets once."""
    order = torch.randperm(dim, generator=generator)
    even = dim + dim % 2
    result = []
    for turn in range(even - 1):
        ring = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + (torch.arange(even - 1) + turn) % (even - 1)])
        first, second = ring[: even // 2], ring[even // 2 :].flip(0)
        if dim % 2:  # whoever meets the dummy (the last axis) meets another instead
            first, second = (
                torch.where(first >= dim, (second + 1) % dim, first),
                torch.where(second >= dim, (first + 1) % dim, second),
            )
        result.append(order[torch.stack([first, second], -1)])
    return result


def _block_axes(blocks: Sequence[Any]) -> list[Tensor]:
    if not len(blocks):
        raise ValueError("`blocks` must hold at least one block")
    if all(isinstance(block, int) for block in blocks):
        if min(blocks) < 1:
            raise ValueError(f"`blocks` must be positive sizes, got {list(blocks)}")
        ends = torch.tensor(blocks).cumsum(0).tolist()
        return [torch.arange(end - size, end) for size, end in zip(blocks, ends, strict=True)]
    result = [torch.as_tensor(list(block), dtype=torch.int64) for block in blocks]
    if any(len(block) == 0 for block in result):
        raise ValueError("`blocks` must not hold an empty block")
    axes = torch.cat(result)
    dim = int(axes.max()) + 1
    count = torch.bincount(axes.clamp(min=0), minlength=dim)
    if axes.min() < 0 or (count > 1).any():
        twice = int((count > 1).nonzero()[0]) if (count > 1).any() else int(axes.min())
        raise ValueError(f"`blocks` must not overlap, axis {twice} is in two of them (or negative)")
    if (count == 0).any():
        raise ValueError(f"`blocks` must cover every axis, axis {int((count == 0).nonzero()[0])} is in none")
    return result


_OURS = (AllPairs, RandomAxes, Partners, BlockPartners, AdaptiveAxes)
