"""Table 1: which trainings it asks for, what it makes of their figures, and that finished nets are not trained again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import evaluate
import train
from conf import TRAININGS, load_config
from rover.evaluation.experiments.table1 import PAPER, PROTOCOLS, Table1Config, fingerprint, run
from rover.landscapes import MODALITIES, prototypes
from rover.policy import load_angle_net


def fake_figures(offset: float) -> dict[str, float]:
    return {
        f"{tag}/{protocol}/{kind}{suffix}": offset + 10 * row + column
        for tag in ("angle_error", "quadratic_fit")
        for row, protocol in enumerate(PROTOCOLS)
        for column, kind in enumerate(MODALITIES)
        for suffix in ("", "_median")
    }


def test_five_trainings_make_a_matrix_in_two_protocols(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def fake_train(yaml: str, overrides: Sequence[str], folder: Path) -> dict[str, float]:
        asked.append(load_config(yaml, overrides, TRAININGS).config)
        assert folder == tmp_path / "nets" / fingerprint()
        return fake_figures(100.0 * len(asked))

    folders = {"output_dir": str(tmp_path), "nets_dir": str(tmp_path / "nets")}
    means = run(Table1Config(seed=7, **folders, overrides=["data.batch_size=64"]), fake_train)
    assert [list(config.data.modalities) for config in asked] == [*([kind] for kind in MODALITIES), list(MODALITIES)]
    assert {(config.seed, config.data.batch_size) for config in asked} == {(7, 64)}
    assert means["field"]["saddle"] == [310.0, 311.0, 312.0, 313.0]
    assert means["fixed"]["quadratic fit"] == [100.0, 101.0, 102.0, 103.0]

    summary = json.loads((tmp_path / "summary.json").read_text())
    fixed, field = summary["tables"]
    assert fixed["rows"][4] == ["all", "500.0 (500.0)", "501.0 (501.0)", "502.0 (502.0)", "503.0 (503.0)"]
    assert fixed["rows"][-1] == ["paper: all", *PAPER["all"]] and len(field["rows"]) == 6
    assert "| all | 510.0 (510.0) |" in capsys.readouterr().out
    assert "| all | 510.0 (510.0) |" in (tmp_path / "summary.md").read_text()


def test_a_finished_net_is_not_trained_again_and_an_unfinished_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Table1Config(output_dir=str(tmp_path), nets_dir=str(tmp_path / "nets"), nets=["quadratic"], smoke=True)
    assert config.output_dir == str(tmp_path / "smoke")
    words = [
        "data.grid_size=5",
        "model.network.grid_size=5",
        "trainer.enable_progress_bar=false",
        "checkpoint.every_n_batches=10",
        "trainer.enable_model_summary=false",
    ]
    config.overrides = words
    whole = run(config, evaluate.train_once)
    (home,) = (tmp_path / "nets" / fingerprint()).iterdir()
    assert load_angle_net(home / "net.safetensors").config.grid_size == 5

    resumed = []
    real = train.train

    def watched(config):
        resumed.append(config.resume)
        return real(config)

    monkeypatch.setattr(train, "train", watched)
    assert run(config, evaluate.train_once) == whole and resumed == []
    (home / "figures.json").unlink()
    assert run(config, evaluate.train_once) == whole and resumed == ["last"]
    config.overrides = [*words, "model.learning_rate=0.001"]
    assert run(config, evaluate.train_once) != whole and resumed == ["last", None]


def test_the_fingerprint_depends_on_what_is_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    before, state = fingerprint(), torch.random.get_rng_state()
    assert fingerprint() == before and torch.equal(state, torch.random.get_rng_state())
    monkeypatch.setattr(prototypes, "_CONDITION", 5.0)
    assert fingerprint() != before


@pytest.mark.parametrize("wrong", [{"nets": ["hill"]}, {"nets": []}, {"seed": -1}])
def test_settings_out_of_range_are_named(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        Table1Config(**wrong)
