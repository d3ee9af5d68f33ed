"""The experiments beyond two dimensions, small, with a random policy; and the books they are kept in."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch

from rover.evaluation.high_dimensional import ProblemSet, make_strategy, run_slices
from rover.evaluation.protocol import Entrant, fingerprint, run_entrant
from rover.landscapes.problems import LinearClassification, QuadraticProblem, RosenbrockProblem, iris
from rover.optimize import AdaptiveAxes, AllPairs, BlockPartners, Partners, RandomAxes


@pytest.fixture(scope="module")
def weights(policy, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    policy.save(path)
    return str(path)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["linear", "iris", "digits", "classics"])
def test_a_small_version_of_every_experiment_runs(name, weights, tmp_path):
    module = importlib.import_module(f"rover.evaluation.experiments.{name}")
    config = getattr(module, f"{name.capitalize()}Config")
    entrants = {
        "gradient_descent": Entrant("gradient_descent", grid={"lr": [0.01, 0.1]}),
        "rover": Entrant("slices", {"policy": weights, "strategy": "partners", "l": 1}),
        "rover, mean": Entrant("slices", {"policy": weights, "strategy": "adaptive", "k": 3, "combine": "mean"}),
    }
    folder = tmp_path / "smoke"
    small = config(output_dir=str(folder), cache_dir=str(tmp_path / "cache"), smoke=True, entrants=entrants)
    numbers = module.run(small)
    assert all(np.isfinite(list(row.values())).all() for row in numbers.values())
    assert (folder / "curves.png").stat().st_size > 10_000
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["tables"]) >= 3 and "rover, mean" in (folder / "summary.md").read_text()
    assert module.run(small) == numbers  # from the cache


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {"dims": [3]}, "`dims`"),
        ("linear", {"tasks": 0}, "`tasks`"),
        ("iris", {"starts": 0}, "`starts`"),
        ("iris", {"panels": {"a": ["nobody"]}}, "names no entrant"),
        ("digits", {"hidden": 0}, "`hidden`"),
        ("classics", {"functions": ["rosenbrock"]}, "`functions`"),
    ],
)
def test_settings_out_of_range_are_refused(name, options, message):
    module = importlib.import_module(f"rover.evaluation.experiments.{name}")
    with pytest.raises(ValueError, match=message):
        getattr(module, f"{name.capitalize()}Config")(**options)


def test_a_set_of_problems_is_each_problem():
    problems = [LinearClassification(6, seed, samples=60) for seed in (0, 1)]
    joint = ProblemSet("two", problems, repeats=2)
    points = torch.randn(4, 5, 6, generator=gen(), dtype=torch.float64)
    values = joint(points)
    for run, which in enumerate([0, 0, 1, 1]):
        assert torch.allclose(values[run], problems[which](points[run]))
        assert joint.minimum[run] == problems[which].minimum
    part = joint.select(slice(2, 3))
    assert torch.allclose(part(points[2:3]), values[2:3]) and part.blocks == [6]
    starts = joint.sample_starts(gen())
    assert starts.shape == (4, 6)
    other = ProblemSet("another two", problems, repeats=2)
    assert fingerprint(joint, starts) != fingerprint(other, starts)


def test_strategies_by_name():
    blocks = [3, 4]
    assert isinstance(make_strategy("all", blocks), AllPairs)
    assert isinstance(make_strategy("axes", blocks, k=3), RandomAxes)
    assert isinstance(make_strategy("adaptive", blocks, k=3), AdaptiveAxes)
    assert isinstance(make_strategy("partners", blocks, l=2), Partners)
    assert isinstance(make_strategy("blocks", blocks, l=2), BlockPartners)
    for wrong in (
        {"strategy": "some"},
        {"strategy": "axes"},
        {"strategy": "axes", "k": 2, "l": 1},
        {"strategy": "all", "k": 2},
    ):
        with pytest.raises(ValueError, match="strategy"):
            make_strategy(blocks=blocks, **wrong)
    with pytest.raises(ValueError, match="no hyper-parameter 'kk'"):
        Entrant("slices", {"kk": 3})


def test_every_call_of_the_objective_is_a_round(weights):
    problem = ProblemSet("quadratic", [QuadraticProblem(5, gen())], repeats=2)
    run = run_slices(problem, problem.sample_starts(gen(1)), rounds=12, policy=weights, strategy="partners", l=1)
    assert run.best.shape == (2, 13) and (np.diff(run.best) <= 1e-12).all() and (np.diff(run.evaluations) > 0).all()
    lattice = 81
    assert {int(step) for step in np.diff(run.evaluations)[0, 1:]} == {3 * 25, lattice}
    assert run.hyper["strategy"] == "partners" and run.hyper["l"] == 1


def test_adam_is_torchs():
    problem = ProblemSet("iris", [iris()], repeats=2)
    start = problem.sample_starts(gen())
    run = run_entrant("adam", problem, start, rounds=15, lr=0.05, beta2=0.99)
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.05, betas=(0.9, 0.99))
    for row in range(15):
        optimizer.zero_grad()
        loss = problem(x[:, None]).sum()
        loss.backward()
        optimizer.step()
        expected = problem(x.detach()[:, None])[:, 0].numpy()
        np.testing.assert_allclose(run.current[:, row + 1], expected, rtol=1e-6)


def test_gradient_and_newton_baselines_serve_many_variables():
    problem = ProblemSet("rosenbrock", [RosenbrockProblem(6)], repeats=1)
    start = torch.full((1, 6), 1.1, dtype=torch.float64)
    run = run_entrant("newton", problem, start, rounds=8, lr=1.0)
    assert run.best[0, -1] < 1e-20 and run.derivatives[0, -1] == 8 * 7
