"""The cache of cloning tuples: what goes in comes out, interruptions cost one shard, damage is found."""

from __future__ import annotations

import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.cloning import AngleDataConfig, CloningDataModule, cached_batch
from datamodules.stream import derive_seed
from rover.learning import cache as cache_module
from rover.learning.cache import TupleCache
from rover.learning.cloning import CloningTuples, generate_tuples

STEPS, GRID = 3, 4


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_SHARD_FUNCTIONS", 8)


def make(index: int, count: int) -> CloningTuples:
    generator = torch.Generator().manual_seed(index)
    return generate_tuples(count, generator, grid_size=GRID, num_steps=STEPS)


def open_cache(folder: Path, maker=make, functions: int = 20) -> TupleCache:
    return TupleCache(folder, functions, STEPS, GRID, maker, {"seed": 0})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_rows_come_back_in_any_order(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.write()
    cache.check()
    assert len(cache) == 60 and cache.shards == [8, 8, 4]
    whole = [torch.cat(columns) for columns in zip(*(make(i, n) for i, n in enumerate(cache.shards)), strict=True)]
    index = cache.order(seed=5)
    assert sorted(index) == list(range(60)) and (index != np.arange(60)).any()
    found = pickle.loads(pickle.dumps(cache)).rows(index)  # as a worker process gets it
    for name, column, stored in zip(CloningTuples._fields, whole, found, strict=True):
        if name == "negative_action":
            assert stored.shape == (60, 0, 2)
        else:
            assert torch.equal(stored, column[index]) and stored.dtype == column.dtype, name


def test_an_interrupted_writing_goes_on_at_the_missing_shard(tmp_path: Path) -> None:
    made = []

    def dies(index: int, count: int) -> CloningTuples:
        if index == 1 and not made.count(1):
            made.append(1)
            raise KeyboardInterrupt
        made.append(index)
        return make(index, count)

    with pytest.raises(KeyboardInterrupt):
        open_cache(tmp_path / "parts", dies).write()
    (tmp_path / "parts/tuples_0001.f32.part").write_bytes(b"half of a shard")
    with pytest.raises(ValueError, match="missing"):
        open_cache(tmp_path / "parts").check()
    open_cache(tmp_path / "parts", dies).write()
    assert made == [0, 1, 1, 2]
    open_cache(tmp_path / "whole").write()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    open_cache(tmp_path / "parts", dies).write()
    assert made == [0, 1, 1, 2], "what is complete is not made again"


def test_another_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_cache(tmp_path).write()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="another num_functions"):
        open_cache(tmp_path, functions=21).write()
    manifest = json.loads(before["manifest.json"])
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "crc32": {"0": 1, "1": 2, "2": 3}}))
    with pytest.raises(ValueError, match="checksum differs"):
        open_cache(tmp_path).check()


def test_ranks_share_each_pass_and_every_pass_has_its_own_order(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.write()
    config = AngleDataConfig(grid_size=GRID, num_steps=STEPS, batch_size=10, num_negatives=2, cache_functions=20)
    batch = partial(cached_batch, cache, config, 0)
    passes = [torch.cat([batch(r, 2, 3 * p + k).grid for k in range(3) for r in range(2)]).flatten(1) for p in range(2)]
    everything = cache.rows(np.arange(60)).grid.flatten(1)
    for seen in passes:
        assert torch.equal(seen.unique(dim=0), everything.unique(dim=0)), "each state once a pass"
    assert not torch.equal(*passes)
    again, other = batch(0, 2, 0), batch(0, 2, 3)
    assert all(torch.equal(a, b) for a, b in zip(batch(0, 2, 0), again, strict=True))
    assert not torch.equal(again.negative_action, other.negative_action)
    assert derive_seed(1, 2) != derive_seed(2, 1)


def test_the_data_module_writes_once_and_reads_what_it_wrote(tmp_path: Path) -> None:
    config = AngleDataConfig(
        mode="cached", grid_size=GRID, batch_size=16, cache_functions=20, cache_dir=str(tmp_path), num_workers=0
    )
    data = CloningDataModule(config, seed=1)
    data.prepare_data()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    data.prepare_data()
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    data.cache = data._open_cache()
    data.cache.check()
    first = next(iter(data.train_dataloader()))
    assert first.grid.shape == (16, GRID, GRID) and first.negative_action.shape == (16, config.num_negatives, 2)
