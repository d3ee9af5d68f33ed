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

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the keys, and which of them are new and had their rows added: ``(m,)`` int64 and ``(m,)`` bool.

        Args:
            keys: ``(m,)`` int64, all different.
        """
        if len(keys) == 1 and len(self) == 1 and self.keys[0] == keys[0]:  # two dimensions: the one pair there is
            return self.slots, torch.zeros(1, dtype=torch.bool)
        where = torch.searchsorted(self.keys, keys).clamp(max=max(len(self) - 1, 0))
        known = self.keys[where] == keys if len(self) else torch.zeros(len(keys), dtype=torch.bool)
        slots = torch.where(known, self.slots[where], 0) if len(self) else torch.zeros_like(keys)
        count = int((~known).sum())
        if count:
            fresh = torch.arange(len(self), len(self) + count)
            slots[~known] = fresh
            capacity = len(self._store["alpha"])
            if len(self) + count > capacity:
                self._allocate(max(2 * capacity, len(self) + count))
            merged, order = torch.cat([self.keys, keys[~known]]).sort()
            self.keys, self.slots = merged, torch.cat([self.slots, fresh])[order]
        return slots, ~known

    def read(self, slots: Tensor, starts: Tensor) -> dict[str, Tensor]:
        """Every field of A of the rovers, ``(m, A, ...)``."""
        if len(starts) == self.num_starts:
            return {name: self._store[name][slots] for name in FIELDS}
        return {name: self._store[name][slots[:, None], starts] for name in FIELDS}

    def write(self, slots: Tensor, starts: Tensor, state: RoverState) -> None:
        """Store a state whose fields are ``(m * A, ...)``, or ``(m, A, ...)``."""
        shape = (len(slots), len(starts))
        for name in FIELDS:
            value = getattr(state, name)
            store = self._store[name]
            value = value.reshape(*shape, *store.shape[2:])
            if len(starts) == self.num_starts:
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
