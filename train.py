"""Train a part of the rover: ``python train.py --config angle.yaml [key=value ...]``.

The way in: this file builds a LightningDataModule (what is sampled), a LightningModule (who learns) and a Trainer from
a validated config, and fits. Which classes belong to a task stands in ``conf/schema.py``.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden
from rich.console import Console
from rich.table import Table

from conf import TRAININGS, Loaded, UserError
from conf.command_line import is_rank_zero, run_command
from conf.errors import INPUT_ERRORS, Interrupted, is_storage_error, one_line, user_errors
from conf.run_folder import (
    LAST_CHECKPOINT,
    find_checkpoint,
    make_writable,
    next_version,
    provenance,
    read_checkpoint,
    write_provenance,
)
from conf.schema import TrainingConfig, import_object, resolved_yaml
from lit_modules.callbacks.checkpointing import AtomicCheckpointIO, LastCheckpoint

# Said by Lightning of what is meant to be so here: data made in the main process, held-out data that every rank shares
# out itself, a resumed run in its own folder; and of its own use of torch.
_EXPECTED = (
    r"The '\w+_dataloader' does not have many workers",
    r"Your `IterableDataset` has `__len__` defined",
    r"Checkpoint directory .* exists and is not empty",
    r"You're resuming from a checkpoint that ended before the epoch ended",  # the stream knows where it was
    r"Consider setting `persistent_workers=True`",
    r"Found \d+ module\(s\) in eval mode at the start of training",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def train(config: TrainingConfig) -> dict[str, float]:
    """Run one training from a validated config.

    Args:
        config: what :func:`conf.load_config` returns for ``TRAININGS``.

    Returns:
        The last value of every scalar that the module logged, of the best weights where it has a test.

    Raises:
        UserError: if the input (a folder, a checkpoint, a cache, a Trainer flag) is wrong.
        Interrupted: after a signal, with the checkpoint that was saved.
    """
    assert config.log_dir is not None
    task = TRAININGS[config.task]
    rehearsal = bool(config.trainer.get("fast_dev_run"))
    pl.seed_everything(config.seed, workers=True, verbose=False)
    if not config.trainer.get("profiler"):  # whose report is a log line
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips would bury our own lines

    resume = find_checkpoint(config.resume, config.log_dir) if config.resume else None
    folder = _run_folder(config, resume)
    last = LastCheckpoint(folder / LAST_CHECKPOINT, config.checkpoint.every_n_batches, on_signal=Interrupted)
    best = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor=config.checkpoint.monitor,
        mode=config.checkpoint.mode,
        save_top_k=1 if config.checkpoint.monitor else 0,
        enable_version_counter=False,
    )
    with user_errors(f"task {config.task}"):
        datamodule = import_object(task.datamodule)(config.data, seed=config.seed)  # type: ignore[attr-defined]
        module = _module(import_object(task.module), config.model, config.seed)  # type: ignore[attr-defined]
    # The best one first: what it remembers goes into last.ckpt.
    trainer = _trainer(config, folder, [best, last])
    if trainer.is_global_zero and not rehearsal:
        write_provenance(folder, resolved_yaml(config), config.seed)

    try:
        _fit(trainer, module, datamodule, resume, last)
        return _finish(config, trainer, module, datamodule, best)
    except Interrupted as stop:  # before the first batch or after the last
        if stop.saved is None and last.path.is_file():
            raise Interrupted(stop.signum, str(last.path)) from stop
        raise


def _finish(
    config: TrainingConfig, trainer: pl.Trainer, module: Any, datamodule: Any, best: ModelCheckpoint
) -> dict[str, float]:
    """After the last batch: test and export the best weights."""
    rehearsal = bool(config.trainer.get("fast_dev_run"))
    if best.best_model_path:
        module.load_state_dict(read_checkpoint(Path(best.best_model_path))["state_dict"])
    metrics = _scalars(trainer)
    if is_overridden("test_step", module):
        with _expected_warnings():
            trainer.test(module, datamodule, verbose=False)
        metrics |= _scalars(trainer)
    export = getattr(module, "export", None)
    if config.export.path and trainer.is_global_zero and not rehearsal and export is not None:
        notes = {**provenance(config.seed), "config": resolved_yaml(config), "metrics": metrics}
        with user_errors(f"export to {config.export.path}"):
            export(Path(config.export.path), name=config.export.name, provenance=notes)
    return metrics


def _module(cls: Any, config: Any, seed: int) -> pl.LightningModule:
    """The module of a task; one that needs more than its config (files, the seed) offers ``from_config``."""
    return cls.from_config(config, seed=seed) if hasattr(cls, "from_config") else cls(config)


def _run_folder(config: TrainingConfig, resume: Path | None) -> Path:
    """The folder of this run: a resumed one goes on in its own, if it lies in ``log_dir``."""
    assert config.log_dir is not None
    old = resume.parent.parent if resume else None
    within = old is not None and old.resolve().parent == Path(config.log_dir).resolve()
    folder = old if old is not None and within else next_version(config.log_dir)
    if is_rank_zero():  # the other ranks write nothing, and Lightning tells them where rank zero does
        make_writable(folder)
    return folder


def _trainer(config: TrainingConfig, folder: Path, checkpoints: list[Callback]) -> pl.Trainer:
    """``lightning.Trainer(**trainer)``, with a TensorBoard logger, a progress bar and our checkpoints where allowed."""
    flags: dict[str, Any] = {"default_root_dir": str(folder), **config.trainer}
    callbacks = list(checkpoints) if flags.get("enable_checkpointing", True) and not flags.get("fast_dev_run") else []
    if flags.get("enable_progress_bar", True):
        callbacks.append(RichProgressBar(leave=False))
    if flags.setdefault("logger", True) is True:
        flags["logger"] = TensorBoardLogger(folder, name="", version="")
    plugins = flags.pop("plugins", None) or []
    flags["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
    try:
        return pl.Trainer(**flags, callbacks=callbacks)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        raise UserError(f"`trainer`: {one_line(error)}") from error


def _fit(trainer: pl.Trainer, module: Any, datamodule: Any, resume: Path | None, last: LastCheckpoint) -> None:
    """Fit; errors of the input (before the first batch) and of the disk become one clear line."""
    try:
        with _expected_warnings():
            trainer.fit(module, datamodule, ckpt_path=resume, weights_only=True)
    except SIGTERMException as error:
        raise Interrupted(15) from error
    except MisconfigurationException as error:
        raise UserError(one_line(error)) from error
    except RuntimeError as error:
        if resume is not None and not last.training_started and "state_dict" in str(error):
            raise UserError(f"checkpoint {resume} does not fit this config: {one_line(error)[:200]}") from error
        raise
    except INPUT_ERRORS as error:
        if not last.training_started or is_storage_error(error):
            raise UserError(one_line(error)) from error
        raise


@contextmanager
def _expected_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message)
        yield


def _scalars(trainer: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _show(metrics: dict[str, float], title: str) -> None:
    table = Table("metric", "value", title=title)
    for name in sorted(metrics):
        table.add_row(name, f"{metrics[name]:.4g}")
    Console().print(table)


def _run(loaded: Loaded) -> None:
    metrics = train(loaded.config)
    if is_rank_zero():
        _show(metrics, f"{loaded.task}, seed {loaded.config.seed}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command("train.py", "Train a part of the rover.", TRAININGS, _run, argv)


if __name__ == "__main__":
    sys.exit(main())
