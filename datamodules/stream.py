"""An endless, resumable sequence of training batches: a pure function of (seed, rank, position).

Worker processes make *chunks* (big enough to be efficient and well mixed), in order; the training process cuts them
into batches. A chunk depends only on its number, so the batches are the same for any number of workers, and to continue
after ``position`` batches is to start there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler


def derive_seed(*parts: int) -> int:
    """One 63-bit seed out of several non-negative integers; different tuples give independent seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Chunks(Dataset):
    """``chunks[c] = make(c)``, endless.

    Args:
        make: a picklable function from a chunk number to a NamedTuple of tensors with one leading dimension.
    """

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


class _From(Sampler[int]):
    """``first, first + 1, ...`` without end."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        index = self.first
        while True:
            yield index
            index += 1


class BatchStream:
    """Endless batches cut out of chunks; each ``iter()`` goes on after ``start()`` batches.

    Args:
        make: see :class:`Chunks`.
        batches_per_chunk: a chunk has this many times `batch_size` rows.
        batch_size: rows a batch.
        start: how many batches have been consumed already, asked when iteration begins.
        num_workers: processes that make chunks; 0 makes them in the training process.
    """

    def __init__(
        self,
        make: Callable[[int], NamedTuple],
        *,
        batches_per_chunk: int,
        batch_size: int,
        start: Callable[[], int],
        num_workers: int,
    ) -> None:
        self.make = make
        self.batches_per_chunk = batches_per_chunk
        self.batch_size = batch_size
        self.start = start
        self.num_workers = num_workers

    def __iter__(self) -> Iterator[Any]:
        chunk, offset = divmod(self.start(), self.batches_per_chunk)
        loader = DataLoader(
            Chunks(self.make),
            batch_size=None,
            sampler=_From(chunk),
            num_workers=self.num_workers,
            prefetch_factor=2 if self.num_workers else None,
            worker_init_fn=_one_thread,
        )
        for rows in loader:
            for k in range(offset, self.batches_per_chunk):
                part = slice(k * self.batch_size, (k + 1) * self.batch_size)
                yield type(rows)(*(column[part] for column in rows))
            offset = 0


def _one_thread(worker_id: int) -> None:
    del worker_id
    torch.set_num_threads(1)
