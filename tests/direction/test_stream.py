"""The processes that make batches."""

from __future__ import annotations

import atexit
import multiprocessing
import os
from typing import NamedTuple

import torch

from datamodules.stream import BatchStream


class Rows(NamedTuple):
    """A chunk."""

    number: torch.Tensor


def chunk_of_one_who_aborts_while_tidying_up(index: int) -> Rows:
    atexit.register(os.abort)
    return Rows(torch.full((4,), index))


def test_a_helper_leaves_without_tidying_up() -> None:
    make = chunk_of_one_who_aborts_while_tidying_up
    stream = iter(BatchStream(make, batches_per_chunk=2, batch_size=2, start=lambda: 1, num_workers=1))
    assert [next(stream).number.tolist() for _ in range(3)] == [[0, 0], [1, 1], [1, 1]]
    (helper,) = multiprocessing.active_children()
    stream.close()  # type: ignore[attr-defined]
    helper.join(20)
    assert helper.exitcode == 0
