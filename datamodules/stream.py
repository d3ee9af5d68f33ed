"""An endless, resumable sequence of training batches: a pure function of (seed, rank, position).

Worker processes make *chunks* (big enough to be efficient and well mixed), in order; the training process cuts them
into batches. A chunk depends only on its number, so the batches are the same for any number of workers, and to continue
after ``position`` batches is to start there.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker, util
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler


def derive_seed(*parts: int) -> int:
    """One 63-bit seed out of several non-negative integers; different tuples give independent seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def share_cores(trainer: Any, num_workers: int) -> None:
    """Leave a core to each generating process: two that fight for one halve the speed of both, or worse.

    Args:
        trainer: the Lightning trainer, whose processes on this machine share its cores; ``None``: one process.
        num_workers: generating processes of each. PyTorch keeps one thread at least, and never gets more than it had.
    """
    processes = trainer.num_devices if trainer is not None else 1
    free = (os.cpu_count() or 1) // processes - num_workers
    torch.set_num_threads(max(1, min(torch.get_num_threads(), free)))


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
        loader = HelpedLoader(
            Chunks(self.make),
            batch_size=None,
            sampler=_From(chunk),
            num_workers=self.num_workers,
            prefetch_factor=2 if self.num_workers else None,
        )
        for rows in loader:
            for k in range(offset, self.batches_per_chunk):
                part = slice(k * self.batch_size, (k + 1) * self.batch_size)
                yield type(rows)(*(column[part] for column in rows))
            offset = 0


class HelpedLoader(DataLoader):
    """A DataLoader whose processes are spawned and outlive a Ctrl-C or SIGTERM that reaches the whole group.

    Spawned: once autograd has run on a machine with a GPU, it refuses to work in a forked process. Deaf: the training
    process saves before it leaves, and may need another batch for that; then it ends its helpers itself. They are so from
    their first moment on, because the mask of blocked signals is inherited.
    """

    def __init__(self, dataset: Any, num_workers: int = 0, **options: Any) -> None:
        if num_workers:
            options = {**options, "multiprocessing_context": "spawn", "worker_init_fn": set_up_helper}
        super().__init__(dataset, num_workers=num_workers, **options)

    def __iter__(self) -> Any:
        if self.num_workers == 0 or not hasattr(signal, "pthread_sigmask"):
            return super().__iter__()
        resource_tracker.ensure_running()  # whose start would end the blocking
        others = set(multiprocessing.active_children())
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASK_TO_LEAVE)
        try:
            with _no_gpu_for_helpers():
                batches = super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _helpers.update(set(multiprocessing.active_children()) - others)
        return _received(batches)


def _received(batches: Iterator[Any]) -> Iterator[Any]:
    """The same; a death in the middle of a message is told as PyTorch tells every other."""
    try:
        yield from batches
    except (ConnectionError, EOFError) as error:
        raise RuntimeError("a data-making worker process died while it handed over a batch") from error


_ASK_TO_LEAVE = {signal.SIGINT, signal.SIGTERM}
_helpers: weakref.WeakSet[Any] = weakref.WeakSet()


@contextmanager
def _no_gpu_for_helpers() -> Iterator[None]:
    """They make data on the CPU; autograd threads for a GPU that they never use abort them when they leave."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@atexit.register
def _end_helpers() -> None:
    """At exit Python would ask them to leave, and wait."""
    for process in list(_helpers):
        if process.is_alive():
            process.kill()


def set_up_helper(worker_id: int) -> None:
    """One thread, no answer to signals that ask to leave, and at the end no tidying up after queues are flushed.

    A spawned process, unlike a forked one, destroys PyTorch's global objects as it leaves, now and then while a thread of
    autograd's still runs: C++ aborts it, and the training process would take that for a helper's death.
    """
    del worker_id
    util.Finalize(None, os._exit, args=(0,), exitpriority=-1000)
    torch.set_num_threads(1)
    for signum in _ASK_TO_LEAVE:
        signal.signal(signum, signal.SIG_IGN)
