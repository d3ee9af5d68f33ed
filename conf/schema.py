"""Which task has which typed configuration, and what it runs.

A new training is one line in ``TRAININGS``, a new table or figure one line in ``EXPERIMENTS``. The dataclasses of the
parts sit beside the classes that they configure; they are named here by import path, so that reading one YAML imports
one task and not all of them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, make_dataclass
from typing import Any, Literal, NamedTuple

from omegaconf import OmegaConf


def import_object(path: str) -> Any:
    """``"package.module:name"`` -> the object."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def resolved_yaml(config: Any) -> str:
    """A config dataclass as YAML text, complete."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


@dataclass
class CheckpointConfig:
    """When and what to save under ``<run folder>/checkpoints``.

    Attributes:
        monitor: logged metric that decides which weights are the best; null keeps only the last ones.
        mode: whether a small (``min``) or a large (``max``) value of it is good.
        every_n_batches: batches between two writings of ``last.ckpt``; a kill loses at most that many.
    """

    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    every_n_batches: int = 200

    def __post_init__(self) -> None:
        """Check the range."""
        if self.every_n_batches < 1:
            raise ValueError(f"`every_n_batches` must be at least 1, got {self.every_n_batches}")


@dataclass
class ExportConfig:
    """What a training leaves for ``rover.load``.

    Attributes:
        path: file to write the trained weights to (safetensors); null writes none.
        name: the name under which the bundle presents itself.
    """

    path: str | None = None
    name: str = "rover"


@dataclass
class TrainingConfig:
    """Top-level keys that every training has; each task adds its own ``data`` and ``model``.

    Attributes:
        task: the name in ``TRAININGS``.
        seed: of everything random in the run (initial weights, data, exploration), >= 0.
        log_dir: folder of the runs; each new one takes the next ``version_<k>`` in it. null: ``runs/<task>``.
        resume: null starts afresh, ``last`` continues the newest run in ``log_dir``, else a path of a checkpoint.
        trainer: keyword arguments of ``lightning.Trainer``, all of them.
    """

    task: str
    seed: int = 0
    log_dir: str | None = None
    resume: str | None = None
    trainer: dict[str, Any] = field(
        default_factory=dict,
        metadata={"keys_of": "lightning.pytorch:Trainer", "except": ("callbacks", "model_registry")},
    )
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        """Check the range and fill in the default folder."""
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` must be in [0, 2**32), got {self.seed}")
        if self.log_dir is None:
            self.log_dir = f"runs/{self.task}"


class Training(NamedTuple):
    """Import paths of a training: two config dataclasses and the two classes that take them."""

    data: str
    model: str
    datamodule: str
    module: str

    def schema(self) -> type:
        """:class:`TrainingConfig` with the ``data`` and ``model`` sections of this task."""
        sections: list[Any] = []
        for name in ("data", "model"):
            section = import_object(getattr(self, name))
            sections.append((name, section, field(default_factory=section)))
        return make_dataclass("TaskConfig", sections, bases=(TrainingConfig,), namespace={"__module__": __name__})


class Experiment(NamedTuple):
    """Import paths of an experiment: its config dataclass and the function ``run(config) -> dict of figures``.

    With `trains` it is ``run(config, train)``: nets are trained for it, see ``evaluate.train_once``.
    """

    config: str
    run: str
    trains: bool = False

    def schema(self) -> type:
        """The dataclass."""
        return import_object(self.config)


TRAININGS: dict[str, Training] = {
    "angle": Training(
        data="datamodules.cloning:AngleDataConfig",
        model="lit_modules.angle:AngleModelConfig",
        datamodule="datamodules.cloning:CloningDataModule",
        module="lit_modules.angle:AngleModule",
    ),
    "ddpg": Training(
        data="datamodules.navigation:NavigationDataConfig",
        model="lit_modules.ddpg:DDPGModelConfig",
        datamodule="datamodules.navigation:NavigationDataModule",
        module="lit_modules.ddpg:DDPGModule",
    ),
}

EXPERIMENTS: dict[str, Experiment] = {
    "navigator": Experiment(
        config="rover.evaluation.experiments.navigator:NavigatorConfig",
        run="rover.evaluation.experiments.navigator:run",
    ),
    "table1": Experiment(
        config="rover.evaluation.experiments.table1:Table1Config",
        run="rover.evaluation.experiments.table1:run",
        trains=True,
    ),
    "direction": Experiment(
        config="rover.evaluation.experiments.direction:DirectionConfig",
        run="rover.evaluation.experiments.direction:run",
    ),
    "ablation": Experiment(
        config="rover.evaluation.experiments.ablation:AblationConfig",
        run="rover.evaluation.experiments.ablation:run",
        trains=True,
    ),
    "prototypes": Experiment(
        config="rover.evaluation.experiments.prototypes:PrototypesConfig",
        run="rover.evaluation.experiments.prototypes:run",
    ),
    "meta_test": Experiment(
        config="rover.evaluation.experiments.meta_test:MetaTestConfig",
        run="rover.evaluation.experiments.meta_test:run",
    ),
    "suite": Experiment(
        config="rover.evaluation.experiments.suite:SuiteConfig",
        run="rover.evaluation.experiments.suite:run",
    ),
    "checks": Experiment(
        config="rover.evaluation.experiments.checks:ChecksConfig",
        run="rover.evaluation.experiments.checks:run",
    ),
    "classics": Experiment(
        config="rover.evaluation.experiments.classics:ClassicsConfig",
        run="rover.evaluation.experiments.classics:run",
    ),
    "linear": Experiment(
        config="rover.evaluation.experiments.linear:LinearConfig",
        run="rover.evaluation.experiments.linear:run",
    ),
    "iris": Experiment(
        config="rover.evaluation.experiments.iris:IrisConfig",
        run="rover.evaluation.experiments.iris:run",
    ),
    "digits": Experiment(
        config="rover.evaluation.experiments.digits:DigitsConfig",
        run="rover.evaluation.experiments.digits:run",
    ),
}
