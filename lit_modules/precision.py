"""Which of the Trainer's precisions a task can be trained in."""

from __future__ import annotations

import lightning.pytorch as pl


def check_precision(trainer: pl.Trainer, possible: tuple[str, ...]) -> None:
    """Refuse, in one sentence, what would fail later or learn nothing.

    Raises:
        ValueError: if `trainer.precision` is none of `possible`.
    """
    if trainer.precision not in possible:
        raise ValueError(
            f"`trainer.precision` must be one of {', '.join(possible)} for this task, got {trainer.precision}: "
            "where networks compute in 16 bits, weights, data and metrics must stay in 32"
        )
