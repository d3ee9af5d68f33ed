"""Cloning tuples on disk: written once in shards, checksummed, resumable, memory-mapped."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rover.learning.cloning import CloningTuples

_FORMAT = "rover-descent-cloning-1"
_MANIFEST = "manifest.json"
_SHARD_FUNCTIONS = 2000
_EXTRA_COLUMNS = 5  # teacher action (2), modality, delta, newton


class TupleCache:
    """A folder of shards: float32 rows ``[grid (n * n), teacher_action (2), modality, delta, newton]``.

    ``manifest.json`` is rewritten (atomically) after each shard and holds what the tuples are and a CRC-32 a shard, so
    that an interrupted writing goes on at the first missing shard.

    Args:
        folder: where.
        num_functions: functions in the whole cache.
        num_steps: states a function.
        grid_size: n.
        make: ``(shard number, number of functions) -> CloningTuples``, a pure function.
        content: JSON-able description of the tuples; a cache of other tuples is refused, not overwritten.
    """

    def __init__(
        self,
        folder: Path,
        num_functions: int,
        num_steps: int,
        grid_size: int,
        make: Callable[[int, int], CloningTuples],
        content: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.grid_size = grid_size
        self.num_steps = num_steps
        self.make = make
        self.content = {"format": _FORMAT, "num_functions": num_functions, **content}
        self.width = grid_size**2 + _EXTRA_COLUMNS
        full, rest = divmod(num_functions, _SHARD_FUNCTIONS)
        self.shards = [_SHARD_FUNCTIONS] * full + [rest] * (rest > 0)
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """States in the whole cache."""
        return sum(self.shards) * self.num_steps

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes map the files themselves."""
        return {**self.__dict__, "_maps": {}}

    def _path(self, index: int) -> Path:
        return self.folder / f"tuples_{index:04d}.f32"

    def _manifest(self) -> dict[str, int]:
        """Checksums of the shards that are complete.

        Raises:
            ValueError: if the folder holds something else.
        """
        path = self.folder / _MANIFEST
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_text())
            content, checksums = found["content"], {str(k): int(v) for k, v in found["crc32"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged; delete {self.folder} to write the cache again") from error
        wanted = json.loads(json.dumps(self.content))
        if content != wanted:
            keys = sorted(k for k in wanted.keys() | content.keys() if wanted.get(k) != content.get(k))
            raise ValueError(
                f"{self.folder} holds a cache with another {', '.join(keys)}; choose another `cache_dir` or delete it"
            )
        return checksums

    def write(self) -> None:
        """Write the missing shards. What is complete stays as it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        checksums = self._manifest()
        for index, count in enumerate(self.shards):
            if str(index) in checksums:
                continue
            raw = _pack(self.make(index, count)).tobytes()
            _replace(self._path(index), raw)
            checksums[str(index)] = zlib.crc32(raw)
            text = json.dumps({"content": self.content, "crc32": checksums}, indent=1)
            _replace(self.folder / _MANIFEST, text.encode())

    def check(self) -> None:
        """Read every shard once.

        Raises:
            ValueError: if one is missing, truncated or altered.
        """
        checksums = self._manifest()
        for index, count in enumerate(self.shards):
            path = self._path(index)
            expected = count * self.num_steps * self.width * 4
            if str(index) not in checksums or not path.exists():
                raise ValueError(f"{path} is missing from the cache; delete {self.folder} to write it again")
            size = path.stat().st_size
            if size != expected:
                raise ValueError(
                    f"{path} is truncated: {size} bytes of {expected}; delete {self.folder} to write it again"
                )
            with path.open("rb") as file:
                checksum = 0
                while block := file.read(1 << 22):
                    checksum = zlib.crc32(block, checksum)
            if checksum != checksums[str(index)]:
                raise ValueError(f"{path} is damaged: its checksum differs; delete {self.folder} to write it again")

    def order(self, seed: int) -> np.ndarray:
        """A permutation of all states."""
        return _permutation(seed, len(self))

    def rows(self, index: np.ndarray) -> CloningTuples:
        """The states at `index`, without negatives (``negative_action`` is ``(N, 0, 2)``)."""
        shard, row = np.divmod(index, _SHARD_FUNCTIONS * self.num_steps)
        table = np.empty((len(index), self.width), np.float32)
        for number in np.unique(shard):
            mine = shard == number
            table[mine] = self._map(int(number))[row[mine]]
        return _unpack(torch.from_numpy(table), self.grid_size)

    def _map(self, index: int) -> np.ndarray:
        if index not in self._maps:
            shape = (self.shards[index] * self.num_steps, self.width)
            self._maps[index] = np.memmap(self._path(index), np.float32, "r", shape=shape)
        return self._maps[index]


def _pack(tuples: CloningTuples) -> np.ndarray:
    facts = torch.stack([tuples.modality.float(), tuples.delta, tuples.newton.float()], -1)
    return torch.cat([tuples.grid.flatten(1), tuples.teacher_action, facts], -1).numpy()


def _unpack(table: Tensor, grid_size: int) -> CloningTuples:
    grid, action, modality, delta, newton = table.split([grid_size**2, 2, 1, 1, 1], -1)
    return CloningTuples(
        grid=grid.unflatten(-1, (grid_size, grid_size)).contiguous(),
        teacher_action=action.contiguous(),
        negative_action=action.new_empty(len(table), 0, 2),
        modality=modality[:, 0].long(),
        delta=delta[:, 0].contiguous(),
        newton=newton[:, 0] > 0,
    )


def _replace(path: Path, raw: bytes) -> None:
    """Write a file so that a kill leaves the old one or the new one, never half of it."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@lru_cache(maxsize=2)
def _permutation(seed: int, count: int) -> np.ndarray:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
