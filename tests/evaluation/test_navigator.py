"""The navigator's experiment, its rivals on a schedule, and its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rover.evaluation.experiments import navigator
from rover.evaluation.figures import save
from rover.evaluation.figures_navigation import MISSET, misset_courses, navigation_figures
from rover.evaluation.held_out import held_out_scores, initial_rovers
from rover.evaluation.navigate import navigate
from rover.evaluation.schedules import RATES, Decay, Schedule, constant_schedules, exponential_decays, schedule_scores
from rover.landscapes.prototypes import sample_prototypes
from rover.networks import NetworkConfig
from rover.policy import Policy, PolicyConfig


@pytest.fixture(scope="module")
def policy() -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NetworkConfig(grid_size=5, channels=(4, 8), hidden_size=16)
        return Policy(PolicyConfig(network, network, memory_size=8))


@pytest.mark.parametrize(("alpha_rate", "delta_rate"), [(0.0, 0.0), (-0.5, 1.0), (-0.25, -0.1)])
def test_a_schedule_is_exponential(policy: Policy, alpha_rate: float, delta_rate: float) -> None:
    surfaces = sample_prototypes(8, torch.Generator().manual_seed(0))
    start = initial_rovers(surfaces, 5, 0)
    course = navigate(Schedule(policy, alpha_rate, delta_rate), surfaces, *start, 6)
    t = torch.arange(7.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(course.alpha, start[1] * (1 + alpha_rate) ** t)
    torch.testing.assert_close(course.delta, start[2] * (1 + delta_rate) ** t)


def test_a_schedule_turns_as_the_policy_does(policy: Policy) -> None:
    """With the actor's own first action, the first round is the policy's."""
    surfaces = sample_prototypes(4, torch.Generator().manual_seed(0))
    start = initial_rovers(surfaces, 5, 0)
    theirs = navigate(policy, surfaces, *start, 1)
    for k in range(4):
        rates = (theirs.alpha[1, k] / start[1][k] - 1, theirs.delta[1, k] / start[2][k] - 1)
        mine = navigate(Schedule(policy, *map(float, rates)), surfaces, *start, 1)
        torch.testing.assert_close(mine.theta[1, k], theirs.theta[1, k])


def test_grids_of_schedules() -> None:
    assert RATES[0] == -0.5 and RATES[-1] == 1.0 and 0.0 in RATES
    assert len(constant_schedules()) == 49 and Decay(0.0, 0.0) in constant_schedules()
    decays = exponential_decays([1.0, 2.0], [3.0], [-0.1, 0.0])
    assert len(decays) == 8 and Decay(-0.1, 0.0, 2.0, 3.0) in decays
    with pytest.raises(ValueError, match=r"\[-0.5, 1\]"):
        Schedule(None, 1.5, 0.0)  # type: ignore[arg-type]


def test_scores_take_the_given_start(policy: Policy) -> None:
    surfaces = sample_prototypes(8, torch.Generator().manual_seed(0))
    start = initial_rovers(surfaces, 5, 3)
    plain, given = (
        held_out_scores(policy, surfaces, horizon=4, seed=3, **options) for options in ({}, {"start": start})
    )
    assert torch.equal(plain.total, given.total) and torch.equal(plain.log_gap, given.log_gap)
    tiny = schedule_scores(policy, Decay(-0.5, 0.0, 1e-9, 1.0), surfaces, horizon=4)
    torch.testing.assert_close(tiny.total, torch.full((8,), -4.0).double(), rtol=0, atol=1e-4)


def test_figures(policy: Policy, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    figures = navigation_figures(policy, instances=1, horizon=2)
    assert torch.equal(before, torch.get_rng_state())
    assert list(figures) == ["schedules", "recovery", "paths"]
    for name, figure in figures.items():
        assert save(figure, tmp_path / f"{name}.png").stat().st_size > 10_000
    surfaces = sample_prototypes(4, torch.Generator().manual_seed(0))
    courses = misset_courses(policy, surfaces, 2, 0)
    usual = courses["usual start"]
    for name, (a, d) in MISSET.items():
        torch.testing.assert_close(courses[name].alpha[0], a * usual.alpha[0])
        torch.testing.assert_close(courses[name].delta[0], d * usual.delta[0])


def test_the_experiment_writes_a_report_and_keeps_its_rivals(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.safetensors"
    policy.save(weights)
    config = navigator.NavigatorConfig(
        output_dir=str(tmp_path / "out"),
        cache_dir=str(tmp_path / "cache"),
        policies=[str(weights), "nobody"],
        smoke=True,
    )
    found = navigator.run(config)
    assert {"constant", "decay", str(weights)} == set(found)
    folder = tmp_path / "out" / "smoke"
    summary = json.loads((folder / "summary.json").read_text())
    assert "nobody" in " ".join(summary["paragraphs"])
    for plot in summary["plots"]:
        assert (folder / plot["file"]).is_file()
    assert {"figure8.png", "figure9.png", "figure10.png"} <= {plot["file"] for plot in summary["plots"]}

    monkeypatch.setattr(navigator, "schedule_scores", None)  # a second run asks the cache
    monkeypatch.setattr(navigator, "navigation_figures", lambda *args, **options: {})
    assert navigator.run(config) == found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"instances": 0}, "`instances`"),
        ({"decay_rates": [-0.7]}, "`decay_rates`"),
        ({"decay_alphas": [0.0]}, "`decay_alphas`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_wrong_settings(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        navigator.NavigatorConfig(**options)


def test_no_policy_at_all() -> None:
    with pytest.raises(ValueError, match="`policies`"):
        navigator.run(navigator.NavigatorConfig(policies=["nobody"]))
