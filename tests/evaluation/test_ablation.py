"""The ablation: which trainings it asks for, what it makes of their figures, and that a stop loses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from conf import EXPERIMENTS, TRAININGS, load_config
from rover.evaluation.experiments.ablation import AblationConfig, Variant, run
from rover.landscapes import MODALITIES


def figures(value: float) -> dict[str, float]:
    ratios = {f"test/{name}/{kind}": value for kind in MODALITIES for name in ("log_gap", "log_gap_p90")}
    return {"test/return": value, "test/solved": -value} | ratios


class Trainer:
    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.fail_at = fail_at

    def __call__(self, yaml: str, overrides: Sequence[str], folder: Path) -> dict[str, float]:
        if self.fail_at == len(self.calls):
            raise RuntimeError("cut")
        self.calls.append((yaml, tuple(overrides)))
        return figures(-20.0 - len(self.calls))


def config(tmp_path: Path, **options) -> AblationConfig:
    variants = {"base": Variant(), "one critic": Variant(["model.twin=false"]), "paper": Variant([], "ddpg_paper.yaml")}
    return AblationConfig(
        output_dir=str(tmp_path), common=["trainer.limit_train_batches=9"], variants=variants, **options
    )


def test_one_training_a_variant_and_seed(tmp_path: Path) -> None:
    train = Trainer()
    found = run(config(tmp_path, seeds=[0, 1, 2]), train)
    assert len(train.calls) == 9 and {name: len(rows) for name, rows in found.items()}["paper"] == 3
    assert train.calls[1] == ("ddpg.yaml", ("seed=0", "trainer.limit_train_batches=9", "model.twin=false"))
    assert train.calls[5] == ("ddpg_paper.yaml", ("seed=1", "trainer.limit_train_batches=9"))
    (table,) = json.loads((tmp_path / "summary.json").read_text())["tables"]
    assert [row[0] for row in table["rows"]] == ["base", "one critic", "paper"]
    assert [row[2] for row in table["rows"]] == [-24, -25, -26], "the medians of seeds"
    assert table["rows"][1][1] == "`model.twin=false`" and table["rows"][2][1] == "`ddpg_paper.yaml`"


def test_what_was_trained_before_a_stop_is_in_the_table(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cut"):
        run(config(tmp_path), Trainer(fail_at=2))
    (table,) = json.loads((tmp_path / "summary.json").read_text())["tables"]
    assert [row[0] for row in table["rows"]] == ["base", "one critic"]


def test_only_some(tmp_path: Path) -> None:
    train = Trainer()
    assert list(run(config(tmp_path, only=["paper"]), train)) == ["paper"]
    assert len(train.calls) == 1


@pytest.mark.parametrize(
    ("options", "said"), [({"seeds": []}, "`seeds`"), ({"only": ["nobody"]}, "`only`"), ({"seeds": [-1]}, "`seeds`")]
)
def test_wrong_settings(options: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        config(tmp_path, **options)


def test_every_variant_of_the_shipped_yaml_is_a_valid_training() -> None:
    shipped = load_config("ablation.yaml", [], EXPERIMENTS).config
    loaded = {}
    for name, variant in shipped.variants.items():
        words = [*shipped.common, *variant.overrides]
        loaded[name] = load_config(variant.training or shipped.training, words, TRAININGS).resolved
    assert len(set(loaded.values())) == len(loaded), "every variant changes something"
    assert {"reward (5)", "reward (6)", "paper"} <= set(loaded)
