"""One complete, commented YAML a run, and the typed schema that validates them.

``defaults < YAML < command line``: a dataclass gives every key a type, a default and a range, the YAML overrides the
defaults, ``key=value`` words on the command line override the YAML (:mod:`conf.loader`). Which dataclasses belong to
which ``task:`` stands in :mod:`conf.schema`, together with the import paths of what the task runs.
"""

from conf.errors import ConfigError, UserError
from conf.loader import Loaded, load_config
from conf.schema import EXPERIMENTS, TRAININGS, Experiment, Training, TrainingConfig

__all__ = [
    "EXPERIMENTS",
    "TRAININGS",
    "ConfigError",
    "Experiment",
    "Loaded",
    "Training",
    "TrainingConfig",
    "UserError",
    "load_config",
]
