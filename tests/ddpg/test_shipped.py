"""The shipped policies still do what their files say they did when they were trained."""

from __future__ import annotations

import pytest

import rover
from datamodules.navigation import PURPOSES, held_out
from rover.evaluation.held_out import held_out_scores, summarise


@pytest.mark.slow
@pytest.mark.parametrize("name", rover.available())
def test_recorded_figures_are_reproduced(name: str) -> None:
    policy = rover.load(name)
    recorded = policy.provenance["metrics"]
    surfaces = held_out(2000, PURPOSES.index("test"))
    found = summarise(held_out_scores(policy, surfaces, seed=1))
    assert found["return"] == pytest.approx(recorded["test/return"], abs=0.2)
    for kind in ("quadratic", "valley", "saddle", "plateau"):
        assert found[f"log_gap/{kind}"] == pytest.approx(recorded[f"test/log_gap/{kind}"], abs=0.5)
