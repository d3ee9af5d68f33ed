"""When to look at the navigator: functions it is not trained on, and Figures 8 to 10, after a validation.

Every draw comes from generators of its own, so that a training with this callback and one without are the same bit by
bit. The six test functions are looked at and never chosen by: the best checkpoint follows the module's own score.
"""

from __future__ import annotations

import lightning.pytorch as pl

from rover.evaluation.figures_navigation import navigation_figures
from rover.evaluation.held_out import Yardstick
from rover.policy import Policy

FOUND = 1e-2
"""A gap that counts as having found the minimum."""


class MetaTest(pl.Callback):
    """Scalars for each test function and figures, in TensorBoard, against the module's own counter of iterations.

    ``meta_test/found/<function>`` is the share of perturbed starts that come within 1e-2 of the minimum,
    ``meta_test/log_gap/<function>`` their median log10 gap; ``meta_test/found`` is the mean over the functions.

    Args:
        rounds: of each run.
        starts: perturbed starts a function.
        figures_every: validations between two sets of figures, at least 1; 0 draws none.
    """

    def __init__(self, rounds: int = 60, starts: int = 10, figures_every: int = 5) -> None:
        if rounds < 1 or starts < 1 or figures_every < 0:
            raise ValueError("`rounds` and `starts` must be at least 1, `figures_every` must not be negative")
        self.rounds = rounds
        self.yardstick = Yardstick.test_functions(starts)
        self.figures_every = figures_every
        self.validations = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self.validations += 1
        if not trainer.is_global_zero or trainer.logger is None:
            return
        policy, step = pl_module.policy(), pl_module.iterations
        trainer.logger.log_metrics(meta_test_scores(policy, self.yardstick, self.rounds), step=step)
        writer = getattr(trainer.logger, "experiment", None)
        if self.figures_every and self.validations % self.figures_every == 0 and hasattr(writer, "add_figure"):
            for name, figure in navigation_figures(policy).items():
                writer.add_figure(name, figure, step)

    def state_dict(self) -> dict[str, int]:
        """The rhythm of the figures."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore :meth:`state_dict`."""
        self.validations = int(state_dict["validations"])


def meta_test_scores(policy: Policy, yardstick: Yardstick, rounds: int = 60) -> dict[str, float]:
    """The scalars of :class:`MetaTest`."""
    best = yardstick.by_name(yardstick.best(policy, rounds))
    found = {name: (gaps <= FOUND).double().mean().item() for name, gaps in best.items()}
    scores = {f"meta_test/found/{name}": share for name, share in found.items()}
    scores |= {
        f"meta_test/log_gap/{name}": gaps.clamp(min=1e-16).log10().median().item() for name, gaps in best.items()
    }
    return scores | {"meta_test/found": sum(found.values()) / len(found)}
