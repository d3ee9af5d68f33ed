"""What the direction net is trained on: cloning tuples, streamed or cached (paper 3.2.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from datamodules.stream import BatchStream, derive_seed, share_cores
from rover.landscapes import MODALITIES
from rover.learning.cache import TupleCache
from rover.learning.cloning import CloningTuples, generate_tuples, negative_actions

VALIDATION_PROTOCOLS = ("fixed", "field")
"""Dataloaders of the validation, in this order."""

PURPOSES = ("validate", "test")
"""Sets of held-out functions, in the order of their numbers."""

# First entry of every derived seed: what is drawn for one purpose never serves another.
_TRAIN, _VALIDATION, _CACHE, _ORDER = range(4)


@dataclass
class AngleDataConfig:
    """Data of the direction net.

    Attributes:
        mode: ``stream`` generates fresh functions for ever; ``cached`` writes `cache_functions` once and re-reads them.
        grid_size: n, at least 2.
        protocol: ``fixed`` (delta = 0.6, noise-free), ``field`` (log-uniform delta, noise), ``mixed`` (both).
        modalities: the kinds of surface that are trained on; all four are validated on.
        batch_size: states a batch and a process.
        num_steps: states a function.
        num_negatives: opposite directions a state.
        delta_range: resolutions of the *field* protocol.
        noise: of the *field* protocol: ``full``, ``mixed`` or ``none``.
        saddle_free: whether Newton teaches with the absolute eigenvalues of the Hessian (D10); False is the paper.
        chunk_functions: functions that are generated together and mixed.
        num_workers: generating processes beside each training process.
        validation_functions: held-out functions a protocol, the same for every seed of a training.
        test_functions: as many again for the final table, others than those of the validation.
        cache_dir: folder of the *cached* mode.
        cache_functions: functions in it (the paper: 5e4 functions of 10 steps, 10^6 labelled tuples).
    """

    mode: Literal["stream", "cached"] = "stream"
    grid_size: int = 15
    protocol: Literal["fixed", "field", "mixed"] = "mixed"
    modalities: list[str] = field(default_factory=lambda: list(MODALITIES))
    batch_size: int = 512
    num_steps: int = 10
    num_negatives: int = 8
    delta_range: tuple[float, float] = (0.02, 1.5)
    noise: Literal["full", "mixed", "none"] = "full"
    saddle_free: bool = True
    chunk_functions: int = 2048
    num_workers: int = 1
    validation_functions: int = 1000
    test_functions: int = 4000
    cache_dir: str = "data/cloning"
    cache_functions: int = 50_000

    def __post_init__(self) -> None:
        if self.grid_size < 2:
            raise ValueError(f"`grid_size` must be at least 2, got {self.grid_size}: one point shows no slope")
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown or not self.modalities:
            raise ValueError(f"`modalities` must be a non-empty subset of {list(MODALITIES)}, got {self.modalities}")
        for name in (
            "batch_size",
            "num_steps",
            "num_negatives",
            "chunk_functions",
            "validation_functions",
            "test_functions",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.num_workers < 0:
            raise ValueError(f"`num_workers` must be at least 0, got {self.num_workers}")
        low, high = self.delta_range
        if not 0 < low <= high:
            raise ValueError(f"`delta_range` must be 0 < low <= high, got {list(self.delta_range)}")
        for name in ("chunk_functions", "cache_functions"):
            if getattr(self, name) * self.num_steps < self.batch_size:
                raise ValueError(
                    f"`{name}` x `num_steps` is {getattr(self, name) * self.num_steps}, less than `batch_size` "
                    f"{self.batch_size}: raise it"
                )

    def generate(self, num_functions: int, seed: int, **changes: Any) -> CloningTuples:
        """Tuples of this configuration, as a pure function of the seed."""
        options: dict[str, Any] = {
            "grid_size": self.grid_size,
            "protocol": self.protocol,
            "modalities": self.modalities,
            "num_steps": self.num_steps,
            "num_negatives": self.num_negatives,
            "delta_range": tuple(self.delta_range),
            "noise": self.noise,
            "saddle_free": self.saddle_free,
        }
        return generate_tuples(num_functions, torch.Generator().manual_seed(seed), **{**options, **changes})


def streamed_chunk(config: AngleDataConfig, seed: int, rank: int, index: int) -> CloningTuples:
    """Chunk `index` of a rank: fresh functions, rows in random order."""
    drawn = config.generate(config.chunk_functions, derive_seed(_TRAIN, seed, rank, index))
    generator = torch.Generator().manual_seed(derive_seed(_ORDER, seed, rank, index))
    order = torch.randperm(len(drawn.modality), generator=generator)
    return CloningTuples(*(column[order] for column in drawn))


def held_out(config: AngleDataConfig, protocol: str, num_functions: int, purpose: int = 0) -> CloningTuples:
    """Held-out tuples on all four modalities: the same for every training, never trained on.

    Args:
        config: grid size, number of steps and resolutions.
        protocol: ``fixed`` or ``field``.
        num_functions: held-out functions.
        purpose: another number, other functions: 0 for validation, 1 for tests.
    """
    seed = derive_seed(_VALIDATION, VALIDATION_PROTOCOLS.index(protocol), purpose)
    return config.generate(num_functions, seed, protocol=protocol, modalities=MODALITIES, num_negatives=1, noise="full")


class HeldOut(IterableDataset):
    """One rank's share of held-out tuples, in batches; every tuple belongs to exactly one rank."""

    def __init__(self, tuples: CloningTuples, batch_size: int, rank: int, world_size: int) -> None:
        self.share = CloningTuples(*(column[rank::world_size] for column in tuples))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.share.modality) // self.batch_size)

    def __iter__(self):
        for columns in zip(*(column.split(self.batch_size) for column in self.share), strict=True):
            yield CloningTuples(*columns)


class CloningDataModule(pl.LightningDataModule):
    """Batches of :class:`CloningTuples`; validation loaders for the *fixed* and the *field* protocol.

    Args:
        config: see :class:`AngleDataConfig`.
        seed: of the training data (the held-out functions do not depend on it).
    """

    def __init__(self, config: AngleDataConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        self.batches_seen = 0
        self.cache: TupleCache | None = None
        self._held_out: dict[str, list[CloningTuples]] = {}

    def prepare_data(self) -> None:
        """Write the cache, or finish one that was interrupted."""
        if self.config.mode == "cached":
            self._open_cache().write()

    def setup(self, stage: str) -> None:
        """Generate the held-out tuples; open the cache."""
        purpose = "test" if stage == "test" else "validate"
        if purpose not in self._held_out:
            count = self.config.test_functions if stage == "test" else self.config.validation_functions
            number = PURPOSES.index(purpose)
            self._held_out[purpose] = [held_out(self.config, name, count, number) for name in VALIDATION_PROTOCOLS]
        if stage == "fit" and self.config.mode == "cached":
            self.cache = self._open_cache()
            self.cache.check()
        if stage == "fit":
            share_cores(self.trainer, self.config.num_workers)

    def _open_cache(self) -> TupleCache:
        c = self.config
        content = {
            "grid_size": c.grid_size,
            "protocol": c.protocol,
            "modalities": list(c.modalities),
            "num_steps": c.num_steps,
            "delta_range": list(c.delta_range),
            "noise": c.noise,
            "saddle_free": c.saddle_free,
            "seed": self.seed,
        }
        make = partial(_cache_shard, c, self.seed)
        return TupleCache(Path(c.cache_dir), c.cache_functions, c.num_steps, c.grid_size, make, content)

    def train_dataloader(self) -> BatchStream:
        """This rank's endless batches, from where it left off."""
        c = self.config
        rank, world_size = self._rank()
        if c.mode == "stream":
            make = partial(streamed_chunk, c, self.seed, rank)
            batches = c.chunk_functions * c.num_steps // c.batch_size
        else:
            assert self.cache is not None
            batches = 1
            make = partial(cached_batch, self.cache, c, self.seed, rank, world_size)
        return BatchStream(
            make,
            batches_per_chunk=batches,
            batch_size=c.batch_size,
            start=lambda: self.batches_seen,
            num_workers=c.num_workers,
        )

    def val_dataloader(self) -> list[DataLoader]:
        """Held-out tuples, one loader a protocol."""
        return self._loaders("validate")

    def test_dataloader(self) -> list[DataLoader]:
        """Other held-out tuples, one loader a protocol."""
        return self._loaders("test")

    def _loaders(self, purpose: str) -> list[DataLoader]:
        rank, world_size = self._rank()
        size = 4 * self.config.batch_size
        return [DataLoader(HeldOut(part, size, rank, world_size), batch_size=None) for part in self._held_out[purpose]]

    def _rank(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def on_after_batch_transfer(self, batch: CloningTuples, dataloader_idx: int) -> CloningTuples:
        """Count what the learner consumes (not what was prefetched)."""
        if self.trainer is not None and self.trainer.training:
            self.batches_seen += 1
        return batch

    def state_dict(self) -> dict[str, int]:
        """Position in the stream."""
        return {"batches_seen": self.batches_seen}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there."""
        self.batches_seen = int(state_dict["batches_seen"])


def _cache_shard(config: AngleDataConfig, seed: int, index: int, num_functions: int) -> CloningTuples:
    return config.generate(num_functions, derive_seed(_CACHE, seed, index), num_negatives=1)


def cached_batch(
    cache: TupleCache, config: AngleDataConfig, seed: int, rank: int, world_size: int, index: int
) -> CloningTuples:
    """Batch `index` of a rank: the cache in a new random order each pass, with fresh negatives."""
    size = config.batch_size
    per_pass = max(1, len(cache) // (size * world_size))
    passed, k = divmod(index, per_pass)
    order = cache.order(derive_seed(_ORDER, seed, passed))
    first = (k * world_size + rank) * size
    rows = cache.rows(order[first : first + size])
    generator = torch.Generator().manual_seed(derive_seed(_TRAIN, seed, rank, index))
    return rows._replace(negative_action=negative_actions(rows.teacher_action, config.num_negatives, generator))
