"""Where rovers are trained: batches of prototypical surfaces, fresh ones for ever (paper 3.2.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from datamodules.stream import HelpedLoader, derive_seed, share_cores
from rover.landscapes import MODALITIES, Prototypes, sample_prototypes

# First entry of every derived seed; 0 to 3 belong to the cloning data.
_TRAIN, _HELD_OUT = 4, 5
PURPOSES = ("validate", "test")
"""Sets of held-out surfaces, in the order of their numbers."""


@dataclass
class NavigationDataConfig:
    """Surfaces of the navigator.

    Attributes:
        batch_size: surfaces, and so rovers, an iteration and a process.
        modalities: the kinds that are trained on; all four are validated on.
        noise: of the training: ``full``, ``mixed`` (half of the surfaces noise-free) or ``none``.
        num_workers: generating processes; 0 generates in the training process (about 11 ms a batch of 64).
        validation_functions: held-out surfaces, the same for every seed of a training, noise on.
        test_functions: others, for the final table.
    """

    batch_size: int = 64
    modalities: list[str] = field(default_factory=lambda: list(MODALITIES))
    noise: Literal["full", "mixed", "none"] = "mixed"
    num_workers: int = 0
    validation_functions: int = 400
    test_functions: int = 2000

    def __post_init__(self) -> None:
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown or not self.modalities:
            raise ValueError(f"`modalities` must be a non-empty subset of {list(MODALITIES)}, got {self.modalities}")
        for name in ("batch_size", "validation_functions", "test_functions"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.num_workers < 0:
            raise ValueError(f"`num_workers` must be at least 0, got {self.num_workers}")


def training_batch(config: NavigationDataConfig, seed: int, rank: int, index: int) -> Prototypes:
    """Batch `index` of a rank, a pure function of its arguments."""
    generator = torch.Generator().manual_seed(derive_seed(_TRAIN, seed, rank, index))
    return sample_prototypes(config.batch_size, generator, config.modalities, noise=config.noise)


def held_out(count: int, purpose: int = 0) -> Prototypes:
    """Surfaces of all four modalities, noise on, never trained on; `purpose` 0 for validation, 1 for the test."""
    return sample_prototypes(count, torch.Generator().manual_seed(derive_seed(_HELD_OUT, purpose)))


class LandscapeStream(IterableDataset):
    """Endless: ``make(start()), make(start() + 1), ...``; worker w of W makes every W-th.

    A DataLoader asks its workers in turn, so that the batches come in the same order for any number of them.
    """

    def __init__(self, make: Callable[[int], Prototypes], start: int) -> None:
        self.make = make
        self.start = start

    def __iter__(self) -> Iterator[Prototypes]:
        worker = get_worker_info()
        index, step = (self.start, 1) if worker is None else (self.start + worker.id, worker.num_workers)
        while True:
            yield self.make(index)
            index += step


class NavigationDataModule(pl.LightningDataModule):
    """Training batches of fresh prototypes, and one batch of held-out ones.

    Args:
        config: see :class:`NavigationDataConfig`.
        seed: of the training surfaces (the held-out ones do not depend on it).
    """

    def __init__(self, config: NavigationDataConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        self.batches_seen = 0

    def setup(self, stage: str) -> None:
        """Share the cores with the generating processes."""
        if stage == "fit":
            share_cores(self.trainer, self.config.num_workers)

    def train_dataloader(self) -> DataLoader:
        """This rank's endless batches, from where it left off."""
        make = partial(training_batch, self.config, self.seed, self.trainer.global_rank if self.trainer else 0)
        stream = LandscapeStream(make, self.batches_seen)
        # Its own generator: making workers must not draw from the global one.
        return HelpedLoader(
            stream,
            batch_size=None,
            num_workers=self.config.num_workers,
            generator=torch.Generator().manual_seed(0),
        )

    def val_dataloader(self) -> DataLoader:
        """One batch of held-out surfaces; every rank sees all of it."""
        return self._held_out(self.config.validation_functions, "validate")

    def test_dataloader(self) -> DataLoader:
        """One batch of other held-out surfaces."""
        return self._held_out(self.config.test_functions, "test")

    def _held_out(self, count: int, purpose: str) -> DataLoader:
        return DataLoader(_Single(held_out(count, PURPOSES.index(purpose))), batch_size=None)

    def on_after_batch_transfer(self, batch: Prototypes, dataloader_idx: int) -> Prototypes:
        """Count what the learner consumes (not what was prefetched)."""
        del dataloader_idx
        if self.trainer is not None and self.trainer.training:
            self.batches_seen += 1
        return batch

    def state_dict(self) -> dict[str, int]:
        """Position in the stream."""
        return {"batches_seen": self.batches_seen}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there."""
        self.batches_seen = int(state_dict["batches_seen"])


class _Single(IterableDataset):
    """One batch; iterable, so that Lightning gives all of it to every rank."""

    def __init__(self, batch: Prototypes) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Prototypes]:
        yield self.batch
