"""When to give up: a critic that promises what no episode can pay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl


class StopOnDivergence(pl.Callback):
    """Ends a training whose critic has left everything that a return can be.

    No return is larger than the largest sum of absolute rewards among the episodes of the replay. A mean value beyond
    `factor` times that for `patience` looks in a row, or one that is not a number, will not come back by itself.

    Args:
        factor: at least 1.
        patience: looks in a row, at least 1.
        every_n_iterations: iterations between two looks.
        say: what is done with the sentence; prints it by default.
    """

    def __init__(
        self, factor: float = 3.0, patience: int = 10, every_n_iterations: int = 10, say: Callable[[str], Any] = print
    ) -> None:
        if factor < 1 or patience < 1 or every_n_iterations < 1:
            raise ValueError("`factor`, `patience` and `every_n_iterations` must be at least 1")
        self.factor, self.patience, self.every_n_iterations, self.say = factor, patience, every_n_iterations, say
        self.strikes = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the value that the critic has just given; all ranks stop when one of them diverges."""
        if pl_module.iterations % self.every_n_iterations or "q" not in outputs:
            return
        value = float(outputs["q"])
        bound = self.factor * float(pl_module.replay.data.reward[: len(pl_module.replay)].abs().sum(1).max())
        finite = math.isfinite(value)
        self.strikes = self.strikes + 1 if not finite or abs(value) > bound else 0
        diverged = not finite or self.strikes >= self.patience
        if trainer.strategy.reduce_boolean_decision(diverged, all=False):
            trainer.should_stop = True
            if trainer.is_global_zero:
                self.say(
                    f"The critic diverges: after {pl_module.iterations} iterations its mean value is {value:.3g}, and no "
                    f"return was beyond {bound / self.factor:.3g}. Stopped; the best checkpoint is kept. "
                    "Lower model.critic_lr, model.gamma or model.tau."
                )

    def state_dict(self) -> dict[str, int]:
        """How often in a row."""
        return {"strikes": self.strikes}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore :meth:`state_dict`."""
        self.strikes = int(state_dict["strikes"])
