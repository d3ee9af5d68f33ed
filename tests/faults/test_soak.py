"""``minimize`` again and again: half an hour in the full campaign, with flat memory."""

from __future__ import annotations

import gc
import time

import numpy as np
import psutil
import pytest

import rover
from tests.faults.campaign import note, times
from tests.optimize.conftest import make_policy

ROOM = 8 * 2**20
"""Bytes that the second half may add: allocators keep a little, a leak of a kilobyte a run would be seen."""


@pytest.mark.slow
def test_memory_stays_flat() -> None:
    policy, process, length = make_policy(), psutil.Process(), times(10, 1800)
    begin, sizes, runs = time.monotonic(), [], 0
    rng = np.random.default_rng(0)
    while time.monotonic() - begin < length:
        x0 = rng.uniform(-3, 3, 2 if runs % 3 else 5)
        rover.minimize(lambda x: np.square(x - 1).sum(-1), x0, batched=True, policy=policy, maxiter=15, seed=runs)
        runs += 1
        if runs % 5 == 0:
            gc.collect()
            sizes.append(process.memory_info().rss)
    late = sizes[len(sizes) // 2 :]
    assert len(late) > 2, "too slow to say anything"
    assert max(late) - late[0] < ROOM, f"{(max(late) - late[0]) / 2**20:.1f} MiB more after {runs} runs"
    note(f"runs of minimize in {length} s, memory flat", runs)
