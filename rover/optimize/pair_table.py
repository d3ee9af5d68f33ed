"""What a rover remembers of each pair of axes it has used: a table that grows with the pairs in use, not with d^2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rover.navigation.moves import RoverState

FIELDS = tuple(name for name in RoverState._fields if name != "theta")
"""Everything that a rover carries except where it stands, which all its slices share."""


class PairTable:
    """Rows of a :class:`RoverState` without theta for S rovers, keyed by pair.

    Looking up m pairs in a table of K costs O(m log K); adding rows is amortised linear.

    Args:
        num_starts: S.
        example: a state of any batch size, from which the shapes and types of the fields are taken.
    """

    def __init__(self, num_starts: int, example: RoverState) -> None:
        self.num_starts = num_starts
        self._example = {name: getattr(example, name)[:1] for name in FIELDS}
        self.keys = torch.empty(0, dtype=torch.int64)  # (K,) ascending
        self.slots = torch.empty(0, dtype=torch.int64)  # (K,) row of each key
        self._store: dict[str, Tensor] = {}
        self._allocate(1)

    def __len__(self) -> int:
        return len(self.keys)

    def _allocate(self, capacity: int) -> None:
        for name, row in self._example.items():
            grown = row.new_zeros(capacity, self.num_starts, *row.shape[1:])
            if name in self._store:
                grown[: len(self)] = self._store[name][: len(self)]
            self._store[name] = grown

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the keys, ``(m,)`` int64, and ``(m,)`` bool, which of them are new (None: none are).

        Args:
            keys: ``(m,)`` int64, all different; new ones get a row.
        """
        if self._is_whole(keys):
            return self.slots, None
        where = torch.searchsorted(self.keys, keys).clamp(max=max(len(self) - 1, 0))
        known = self.keys[where] == keys if len(self) else torch.zeros(len(keys), dtype=torch.bool)
        slots = torch.where(known, self.slots[where], 0) if len(self) else torch.zeros_like(keys)
        count = int((~known).sum())
        if count == 0:
            return slots, None
        fresh = torch.arange(len(self), len(self) + count)
        slots[~known] = fresh
        capacity = len(self._store["alpha"])
        if len(self) + count > capacity:
            self._allocate(count if not len(self) else max(2 * capacity, len(self) + count))
        merged, order = torch.cat([self.keys, keys[~known]]).sort()
        self.keys, self.slots = merged, torch.cat([self.slots, fresh])[order]
        return slots, ~known

    def _is_whole(self, keys: Tensor) -> bool:
        """Whether these are all keys there are, in order: always so with one pair, or with all pairs every time."""
        return len(keys) == len(self) and torch.equal(keys, self.keys)

    def _is_plain(self, slots: Tensor, starts: Tensor) -> bool:
        """Whether slots and starts are everything in the order of the store, which then needs no gathering."""
        if len(starts) != self.num_starts or len(slots) != len(self._store["alpha"]):
            return False
        return len(slots) == 1 or torch.equal(slots, torch.arange(len(slots)))

    def read(self, slots: Tensor, starts: Tensor) -> dict[str, Tensor]:
        """Every field of A of the rovers, ``(m, A, ...)``; not to be written to."""
        if self._is_plain(slots, starts):
            return dict(self._store)
        if len(starts) == self.num_starts:
            return {name: self._store[name][slots] for name in FIELDS}
        return {name: self._store[name][slots[:, None], starts] for name in FIELDS}

    def write(self, slots: Tensor, starts: Tensor, state: RoverState) -> None:
        """Store a state whose fields are ``(m * A, ...)`` or ``(m, A, ...)``."""
        shape = (len(slots), len(starts))
        plain = self._is_plain(slots, starts)
        for name in FIELDS:
            store = self._store[name]
            value = getattr(state, name).reshape(*shape, *store.shape[2:]).contiguous()
            if plain:
                self._store[name] = value  # what was read before stays as it was
            elif len(starts) == self.num_starts:
                store[slots] = value
            else:
                store[slots[:, None], starts] = value

    def state_dict(self) -> dict[str, Any]:
        """Tensors only."""
        rows = {name: self._store[name][: len(self)].clone() for name in FIELDS}
        return {"keys": self.keys.clone(), "slots": self.slots.clone(), **rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.keys, self.slots = state["keys"].clone(), state["slots"].clone()
        self._store = {name: state[name].clone() for name in FIELDS}
        if not len(self):
            self._store = {}
            self._allocate(1)
