"""Losing at most a few batches: ``last.ckpt`` every N batches, after each validation, before a signal ends the run.

Lightning's own ``ModelCheckpoint(save_last=True)`` writes ``last.ckpt`` only when it also writes another checkpoint,
and counts optimiser steps (two a batch with two optimisers, none when a raw one is stepped). Here batches are counted.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames: a kill or a full disk never leaves half a checkpoint under its name.

    Lightning's default writes into the system's temporary folder, and moving from there to another disk is a copy.
    Reading always uses ``weights_only=True``, so that a checkpoint cannot execute anything.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            OSError: if it cannot be written; the file that was there before stays as it was.
        """
        del storage_options
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint without executing anything in it."""
        del weights_only
        return super().load_checkpoint(path, map_location=map_location, weights_only=True)


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt`` current, and on Ctrl-C or SIGTERM saves and leaves at the end of the batch.

    Args:
        path: of ``last.ckpt``.
        every_n_batches: batches between two writings, >= 1.
        on_signal: makes the exception that ends the run, from the signal's number and the checkpoint's path.

    Attributes:
        training_started: whether the first batch has begun; earlier errors are the input's, later ones the program's.
    """

    def __init__(
        self,
        path: str | Path,
        every_n_batches: int,
        on_signal: Callable[[int, str | None], BaseException] | None = None,
    ) -> None:
        super().__init__()
        if every_n_batches < 1:
            raise ValueError(f"`every_n_batches` must be at least 1, got {every_n_batches}")
        self.path = Path(path)
        self.every_n_batches = every_n_batches
        self.on_signal = on_signal
        self.training_started = False
        self.batches = 0
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals: Lightning's own handler talks to other processes from inside the handler."""
        self.training_started = True
        if self.on_signal is not None and threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                self._previous[signum] = signal.signal(signum, self._note)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, unless a validation follows: resuming from here would skip it."""
        self.batches += 1
        stop = self._somebody_was_told_to_stop(trainer)
        if stop is None and self.batches % self.every_n_batches:
            return
        if _validation_follows(trainer):
            self._received = stop
            return
        self._save(trainer, stop)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after each validation inside the training."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._save(trainer, self._somebody_was_told_to_stop(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the final state and give the signals back."""
        self._save(trainer, None)
        self._restore_handlers()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore_handlers()

    def state_dict(self) -> dict[str, Any]:
        """The batch counter, so that the rhythm goes on after a resume."""
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.batches = int(state_dict["batches"])

    def _note(self, signum: int, frame: FrameType | None) -> None:
        """Remember the signal; a second Ctrl-C does not wait for the end of the batch."""
        if self._received is not None and signum == signal.SIGINT and self.on_signal is not None:
            raise self.on_signal(signum, None)
        self._received = signum

    def _somebody_was_told_to_stop(self, trainer: pl.Trainer) -> int | None:
        """The signal that any rank has received: a scheduler may tell only one, and saving needs all."""
        if trainer.world_size == 1:
            return self._received
        if not trainer.strategy.reduce_boolean_decision(self._received is not None, all=False):
            return None
        return self._received if self._received is not None else int(signal.SIGTERM)

    def _save(self, trainer: pl.Trainer, stop: int | None) -> None:
        trainer.save_checkpoint(self.path)
        if stop is not None and self.on_signal is not None:
            raise self.on_signal(stop, str(self.path))

    def _restore_handlers(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}


def _validation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning is about to validate; it offers no public way to ask."""
    fit = trainer.fit_loop
    return fit._data_fetcher is not None and fit.epoch_loop._should_check_val_fx(fit._data_fetcher)
