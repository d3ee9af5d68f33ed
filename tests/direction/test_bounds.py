"""The experiment on what bounds the direction: its bound against a closed form, its states against the teachers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import vonmises
from torch import Tensor

from rover.evaluation.direction_bounds import States, degrees, look_at, orientation_error, quadratic_error, visit
from rover.evaluation.experiments.direction import DirectionConfig, run
from rover.landscapes import MODALITIES, Landscape
from rover.learning.cloning import generate_tuples
from rover.learning.losses import angle_error
from rover.navigation.grid import grid_offsets
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic
from rover.networks import AngleNet, NetworkConfig
from rover.policy import save_angle_net


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Plane(Landscape):
    """``x_1`` with noise of a standard deviation of its own for each instance."""

    def __init__(self, std: Tensor) -> None:
        self.prior = std
        self.minimizer = torch.zeros(len(std), 2, dtype=std.dtype)

    def mean(self, points: Tensor) -> Tensor:
        return points[..., 0].clone()

    def noise_std(self, points: Tensor) -> Tensor:
        return self.prior[:, None].expand(points.shape[:2])


def test_on_a_plane_the_posterior_is_von_mises() -> None:
    spread = grid_offsets(5)[:, 0].square().sum().item()
    for kappa in (0.5, 3.0, 50.0):
        std = torch.full((200,), (spread / kappa) ** 0.5, dtype=torch.float64)
        ones = torch.ones(200, dtype=torch.float64)
        down = torch.tensor([-1.0, 0.0], dtype=torch.float64).expand(200, 2)
        states = States(Plane(std), torch.zeros_like(down), ones, down, down[:, None].expand(-1, 2, -1))  # type: ignore[arg-type]
        found = orientation_error(states, gen(), 5)

        # The estimate is the direction of the fitted slope; the mean error is that of many fitted slopes.
        rng = np.random.default_rng(0)
        slope = np.array([1.0, 0.0]) + rng.standard_normal((200_000, 2)) / kappa**0.5
        expected = np.degrees(np.abs(np.arctan2(slope[:, 1], slope[:, 0]))).mean()
        assert found.mean().item() == pytest.approx(expected, rel=0.15)
        # One posterior of the same concentration.
        angles = vonmises(kappa).rvs(100_000, random_state=1)
        assert found.min() < np.degrees(np.abs(angles)).mean() < found.max()


class Trench(Plane):
    """A slope whose small part across nobody can see in the noise, although the way goes there."""

    def mean(self, points: Tensor) -> Tensor:
        return points[..., 0] + 1e-3 * points[..., 1]


def test_who_cannot_see_the_side_is_wrong_every_other_time() -> None:
    std = torch.full((200,), 0.1, dtype=torch.float64)
    down = torch.tensor([-1.0, -1e-3], dtype=torch.float64).expand(200, 2)
    along = torch.tensor([0.0, -1.0], dtype=torch.float64).expand(200, 2)
    teachers = torch.stack([down / down.norm(dim=-1, keepdim=True), along], 1)
    states = States(Trench(std), torch.zeros_like(down), torch.ones_like(std), along, teachers)  # type: ignore[arg-type]
    # Left or right with equal probability, 180 degrees apart: whatever is answered, 90 degrees on average.
    assert orientation_error(states, gen(), 5).mean().item() == pytest.approx(90, abs=1)


def test_who_knows_that_it_is_a_quadratic_is_not_behind_the_fit() -> None:
    states = visit(400, gen(2), 9)
    bowls = (states.landscape.modality == 0).nonzero()[:, 0]
    bowls = bowls[states.delta[bowls] < 0.1][:150]
    states = States(states.landscape.select(bowls), *(column[bowls] for column in states[1:]))
    fit = degrees(fit_direction(fit_quadratic(look_at(states, 1, gen(), 9).double())), states.action)
    best = quadratic_error(states, gen(), 9)
    assert 2 < best.mean() < fit.mean()
    states.landscape.noise_scale *= 1e-6
    assert quadratic_error(states, gen(), 9).max() < 0.1


def test_states_are_those_of_the_cloning_tuples() -> None:
    states = visit(400, gen(), 5)
    kind = states.landscape.modality
    tuples = generate_tuples(400, gen(1), grid_size=5)
    assert len(kind) > 3000
    shares = torch.bincount(kind) / len(kind) - torch.bincount(tuples.modality) / len(tuples.modality)
    assert shares.abs().max() < 0.05
    nearest = angle_error(states.action[:, None].expand(-1, 2, -1), states.teachers).amin(-1)
    assert nearest.max() < 1e-6, "the better teacher is one of the two"
    quiet = look_at(states, math.inf, gen(), 5)
    errors = [(look_at(states, looks, gen(), 5) - quiet).abs().mean() for looks in (1, 16, 256)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_the_experiment_runs_on_a_small_scale(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    torch.manual_seed(0)
    save_angle_net(path, AngleNet(NetworkConfig(grid_size=5)))
    means = run(DirectionConfig(output_dir=str(tmp_path / "out"), net=str(path), smoke=True))
    assert means["quadratic fit, no noise"]["quadratic"] < 0.1
    bound = means["no predictor is better, one look"]
    for name in MODALITIES:
        assert 0 <= bound[name] < means["net, one look"][name]
        assert means["net, one look, to the nearer teacher"][name] <= means["net, one look"][name]
    folder = tmp_path / "out/smoke"
    assert (folder / "direction.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "summary.json").read_text())["numbers"]["mean"] == means


@pytest.mark.parametrize("wrong", [{"functions": 0}, {"bound_states": 0}, {"seed": -1}])
def test_settings_out_of_range_are_named(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        DirectionConfig(**wrong)


def test_a_net_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no_such"):
        run(DirectionConfig(net="no_such", smoke=True))
