"""Two processes train one direction net: other data on each rank, one set of weights, one set of figures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datamodules.cloning import CloningDataModule, streamed_chunk
from lit_modules.angle import AngleModule
from tests.direction import two_processes

STEPS = 20
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:Your `IterableDataset` has", "ignore:The '.*_dataloader'"),
]


def test_ranks_see_other_data_and_agree_on_weights_and_figures(tmp_path: Path) -> None:
    command = [sys.executable, two_processes.__file__, str(tmp_path), str(STEPS)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sync_dist" not in done.stderr and "unused" not in done.stderr
    ranks = [torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]

    per_chunk = 40 * two_processes.DATA.num_steps // two_processes.DATA.batch_size
    for rank, seen in enumerate(ranks):
        chunk = streamed_chunk(two_processes.DATA, 3, rank, 0)
        assert torch.equal(seen["grids"][:per_chunk], chunk.grid[:: two_processes.DATA.batch_size][:per_chunk])
        assert len(seen["grids"]) == STEPS
    first, second = (seen["grids"].flatten(1) for seen in ranks)
    assert (first[:, None] != second).any(-1).all(), "no batch may come twice"

    torch.manual_seed(0)
    start = AngleModule(two_processes.MODEL).state_dict()
    for name, value in ranks[0]["state"].items():
        assert torch.equal(value, ranks[1]["state"][name]), name
    assert not torch.equal(start["net.fc1.weight"], ranks[0]["state"]["net.fc1.weight"])

    module, data = AngleModule(two_processes.MODEL), CloningDataModule(two_processes.DATA)
    module.load_state_dict(ranks[0]["state"])
    single = two_processes.trainer(tmp_path, 1, devices=1)
    single.validate(module, data, verbose=False)
    alone = {name: float(value) for name, value in single.callback_metrics.items()}
    assert ranks[0]["figures"] == ranks[1]["figures"]
    errors = [name for name in alone if name.startswith("angle_error")]
    assert len(errors) == 18
    for name in errors:
        assert alone[name] == pytest.approx(ranks[0]["figures"][name], rel=1e-5), name
