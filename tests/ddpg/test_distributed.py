"""Two processes train one navigator: other episodes on each rank, one set of weights, nothing left unused."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.ddpg import two_processes

STEPS = 8


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(equal(a, b) for a, b in zip(first, second, strict=True))
    return first == second


@pytest.mark.slow
def test_ranks_see_other_episodes_and_agree_on_every_weight(tmp_path: Path) -> None:
    command = [sys.executable, two_processes.__file__, str(tmp_path), str(STEPS)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unused" not in done.stderr and "sync_dist" not in done.stderr
    first, second = (torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in range(2))
    for part in ("state", "optimizers", "counters"):
        assert equal(first[part], second[part]), part
    assert first["counters"] == [STEPS, 14, STEPS * 8 * 5]
    assert not equal(first["replay"]["grid"], second["replay"]["grid"])

    start = two_processes.module_of().state_dict()
    for net in ("actor", "critics.0", "critics.1", "target_actor", "target_critics.1"):
        name = f"{net}.out.weight"
        assert not torch.equal(start[name], first["state"][name]), f"{net} has not learnt"

    kept = torch.load(tmp_path / "two.ckpt", weights_only=True)["ddpg"]["ranks"]
    assert [equal(mine["replay"], seen["replay"]) for mine, seen in zip(kept, (first, second), strict=True)] == [
        True
    ] * 2


def test_gradients_are_averaged_over_the_ranks_before_they_are_clipped() -> None:
    module = two_processes.module_of(replace(two_processes.MODEL, gradient_clip=1e9))
    sent: list[tuple[torch.Tensor, str]] = []

    def reduce(value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        sent.append((value.clone(), reduce_op))
        return torch.full_like(value, 0.5)

    module._trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=reduce))  # type: ignore[assignment]
    before = [parameter.clone() for parameter in module.actor.parameters()]
    loss = sum(parameter.square().sum() for parameter in module.actor.parameters()) / 2
    module._descend(loss, module.actor, torch.optim.SGD(module.actor.parameters(), lr=1.0))
    ((flat, operation),) = sent
    assert operation == "mean"
    torch.testing.assert_close(flat, torch.cat([parameter.flatten() for parameter in before]).detach())
    for old, new in zip(before, module.actor.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.5)
