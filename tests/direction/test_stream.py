"""The processes that make batches."""

from __future__ import annotations

import atexit
import multiprocessing
import os
from typing import NamedTuple

import pytest
import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

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


def plain_chunk(index: int) -> Rows:
    return Rows(torch.full((2,), index))


def test_a_death_in_the_middle_of_a_message_is_told_as_one(monkeypatch) -> None:
    def broken(_: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    stream = iter(BatchStream(plain_chunk, batches_per_chunk=1, batch_size=2, start=lambda: 0, num_workers=1))
    assert next(stream).number.tolist() == [0, 0]
    monkeypatch.setattr(_BaseDataLoaderIter, "__next__", broken)
    with pytest.raises(RuntimeError, match="worker process died"):
        next(stream)
