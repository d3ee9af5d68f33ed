"""What a round does beyond the paper: grids beside a bound, where a move ends, where a run begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rover
from rover.navigation.grid import Sight
from rover.navigation.moves import Decision, RoverState
from rover.optimize.probe import choose, low_discrepancy, plan_probe, plan_scatter, spread_directions
from rover.optimize.rules import EngineRules
from rover.optimize.space import Space
from rover.policy import Policy

BOX = [(0.0, 1.0), (0.0, 1.0)]
PAIR = torch.tensor([[0, 1]])


class Driver(Policy):
    """A policy whose every decision is given."""

    def __init__(self, other: Policy, direction: tuple[float, float], log2_factor: float = 0.0) -> None:
        super().__init__(other.config)
        self.given = torch.tensor(direction), torch.tensor([log2_factor, 0.0])

    def decide(self, sight: Sight, state: RoverState) -> Decision:
        lead = (len(sight.grid), 2)
        direction, action = (x.expand(lead) for x in self.given)
        return Decision(direction=direction, action=action, memory=state.memory, frame=state.frame)


def window(center: list, delta: float, frame: Tensor | None = None, finest: float = 0.25) -> tuple[Tensor, Tensor]:
    space = Space(np.array([[0.5, 0.5]]), BOX)
    frame = torch.eye(2, dtype=torch.float64) if frame is None else frame.double()
    center, delta = torch.tensor([[center]], dtype=torch.float64), torch.tensor([[delta]], dtype=torch.float64)
    center, delta = space.fit_window(center, delta, frame[None, None], PAIR, 5, finest)
    return center[0, 0], float(delta)


def test_a_grid_that_fits_is_left_alone() -> None:
    center, delta = window([0.5, 0.5], 0.2)
    assert center.tolist() == [0.5, 0.5] and delta == 0.2


def test_a_grid_becomes_finer_before_it_is_moved() -> None:
    center, delta = window([0.7, 0.5], 0.2)  # half a window is 0.4, and there is room for 0.3
    torch.testing.assert_close(center, torch.tensor([0.7, 0.5], dtype=torch.float64))
    assert delta == pytest.approx(0.15)
    center, delta = window([0.99, 0.5], 0.2)  # four times finer is 0.05: half a window of 0.1, moved by 0.09
    assert delta == pytest.approx(0.05) and center.tolist() == pytest.approx([0.9, 0.5])


def test_or_it_is_moved_at_once() -> None:
    center, delta = window([0.99, 0.5], 0.2, finest=1.0)
    assert delta == 0.2 and center.tolist() == pytest.approx([0.6, 0.5])


def test_no_grid_is_larger_than_the_box() -> None:
    for finest in (0.25, 1.0):
        center, delta = window([0.5, 0.5], 40.0, finest=finest)
        assert delta == pytest.approx(0.25) and center.tolist() == pytest.approx([0.5, 0.5])


def test_a_turned_and_stretched_grid_fits_too() -> None:
    generator = torch.Generator().manual_seed(0)
    offsets = torch.cartesian_prod(*[torch.arange(5.0, dtype=torch.float64) - 2] * 2)
    for _ in range(200):
        frame = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        delta = 10 ** float(torch.empty(()).uniform_(-3, 1, generator=generator))
        center, fitted = window(place, delta, frame)
        points = center + fitted * offsets @ frame.T
        assert fitted <= delta and (points >= -1e-12).all() and (points <= 1 + 1e-12).all()


@pytest.mark.parametrize("rule", ["shrink", "move", "squash"])
def test_rules_at_the_bounds(policy: Policy, rule: str) -> None:
    opt = rover.Optimizer(
        [0.9, 0.5], bounds=BOX, policy=policy, initial_step=0.1, initial_resolution=0.1, at_bounds=rule
    )
    points = opt.ask().reshape(5, 5, 2)
    steps = np.diff(points, axis=0)[..., 0]
    if rule == "shrink":
        assert np.allclose(steps, 0.05) and np.allclose(points[2, 2], [0.9, 0.5])
    if rule == "move":
        assert np.allclose(steps, 0.1) and np.allclose(points[2, 2], [0.8, 0.5])
    if rule == "squash":
        assert np.allclose(points[3:, :, 0], 1.0) and np.allclose(points[2, 2], [0.9, 0.5])


def move_of(driver: Driver, best: tuple[int, int], step: float, **options: Any) -> np.ndarray:
    """The first move, in cells, where the best point of the grid lies in cell `best` (from -2 to 2)."""
    opt = rover.Optimizer([0.0, 0.0], policy=driver, initial_step=step, initial_resolution=1.0, **options)
    points = opt.ask()
    opt.tell(points, ((points - np.array(best)) ** 2).sum(-1))
    return opt.ask()[12]


def test_a_move_ends_in_the_best_cell_where_the_policy_would_miss_it(policy: Policy) -> None:
    east = Driver(policy, (1.0, 0.0))
    assert move_of(east, (1, 0), 0.5) == pytest.approx([0.5, 0.0])  # in the next cell: near enough
    assert move_of(east, (1, 1), 5.0) == pytest.approx([1.0, 1.0])  # the policy would leave a minimum that it has seen
    assert move_of(east, (-2, 2), 1.0) == pytest.approx([-2.0, 2.0])  # on the rim, but the policy stays in the grid
    assert move_of(east, (2, 0), 5.0) == pytest.approx([5.0, 0.0])  # on the rim, and beyond it there may be more
    assert move_of(east, (-2, 2), 5.0) == pytest.approx([5.0, 0.0])
    for options in ({"anchor": "none"}, {"noisy": True}):
        assert move_of(east, (1, 1), 5.0, **options) == pytest.approx([5.0, 0.0])


def test_one_variable_has_the_rule_too(policy: Policy) -> None:
    opt = rover.Optimizer([0.0], policy=Driver(policy, (1.0, 0.0)), initial_step=9.0, initial_resolution=1.0)
    opt.tell(opt.ask(), (opt.ask()[:, 0] + 1) ** 2)
    assert opt.ask()[2, 0] == pytest.approx(-1.0)


def test_the_faithful_policy_has_none_of_the_rules() -> None:
    paper = EngineRules().resolved(faithful=True, noisy=False, dim=2)
    assert paper == EngineRules(
        anchor="none", at_bounds="move", combine="mean", inherit=False, recall=False, focus=False
    )
    ours = EngineRules().resolved(faithful=False, noisy=False, dim=2)
    assert (ours.anchor, ours.at_bounds) == ("best", "fold")
    assert EngineRules().resolved(faithful=False, noisy=True, dim=2).anchor == "none"
    asked = EngineRules(anchor="best", at_bounds="squash").resolved(faithful=True, noisy=True, dim=2)
    assert (asked.anchor, asked.at_bounds) == ("best", "squash")


# -- where a run begins ---------------------------------------------------------------------------------------------------


def test_in_a_box_the_first_round_is_all_over_it(policy: Policy) -> None:
    opt = rover.Optimizer([2.0, 3.0], bounds=[(0.0, 4.0), (0.0, 40.0)], policy=policy)
    points = opt.ask()
    assert len(points) == 50 and np.array_equal(points[0], [2.0, 3.0])
    shares = points[1:] / [4.0, 40.0]
    for axis in range(2):  # evenly: each fifth of an axis has its share
        assert np.histogram(shares[:, axis], bins=5, range=(0, 1))[0].tolist() == pytest.approx([9.8] * 5, abs=4)
    best = 17
    opt.tell(points, -np.eye(50)[best])
    second = opt.ask().reshape(5, 5, 2)
    gap = np.ptp(second, axis=(0, 1)) / [4.0, 40.0]
    assert gap[0] == pytest.approx(gap[1]) and gap[0] <= 0.5 + 1e-12
    assert (second.min((0, 1)) <= points[best]).all() and (points[best] <= second.max((0, 1))).all()


def test_the_start_wins_if_it_is_the_best(policy: Policy) -> None:
    start = np.array([0.4, 0.6])
    opt = rover.Optimizer(start, bounds=BOX, policy=policy)
    opt.tell(opt.ask(), ((opt.ask() - start) ** 2).sum(-1))
    np.testing.assert_allclose(opt.ask()[12], start, atol=1e-12)


def test_a_small_budget_gets_a_small_probe(policy: Policy) -> None:
    for limit in (30, 60, 90):
        opt = rover.Optimizer([0.4, 0.6], bounds=BOX, policy=policy, maxfev=limit)
        probe = len(opt.ask())
        assert probe <= limit / 2


def test_initial_lengths_are_taken_at_their_word(policy: Policy) -> None:
    opt = rover.Optimizer([1.0, 30.0], bounds=[(0.0, 4.0), (0.0, 40.0)], policy=policy, initial_resolution=0.25)
    steps = np.diff(opt.ask().reshape(5, 5, 2), axis=0)[..., 0]
    assert np.allclose(steps, 0.25)


def test_a_ladder_finds_the_scale_of_a_bowl() -> None:
    space = Space(np.array([[0.0, 0.0]]))
    for scale in (1e-6, 1.0, 1e6):
        probe = plan_probe(space, torch.zeros(1, 2, dtype=torch.float64), 225)
        values = ((probe.points / scale - torch.tensor([3.0, -2.0])) ** 2).sum(-1)
        choice = choose(probe, values)
        assert 0.5 < float(choice.radius) / scale < 20
        assert float(values.min()) == pytest.approx(
            float(((choice.theta / scale - torch.tensor([3.0, -2.0])) ** 2).sum())
        )


def test_scattered_points_are_even_and_repeat() -> None:
    points = low_discrepancy(400, 2)
    assert torch.equal(points, low_discrepancy(400, 2)) and (points >= 0).all() and (points < 1).all()
    counts = torch.histogramdd(points, [5, 5], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert counts.min() >= 13 and counts.max() <= 19  # 16 a cell; random ones spread from 6 to 27
    both = torch.cat([low_discrepancy(7, 3), low_discrepancy(5, 3, first=8)])
    torch.testing.assert_close(both, low_discrepancy(12, 3))


@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_directions_are_spread(dim: int) -> None:
    directions = spread_directions(24, dim)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(24, dtype=torch.float64))
    assert directions.mean(0).norm() < 0.3


def test_a_start_without_a_finite_value_begins_where_there_is_one() -> None:
    space = Space(np.array([[0.5, 0.5]]), BOX)
    probe = plan_scatter(space, torch.full((1, 2), 0.5, dtype=torch.float64), 25, 5)
    values = torch.full((1, 25), float("nan"), dtype=torch.float64)
    values[0, 9] = 3.0
    assert torch.equal(choose(probe, values).theta[0], probe.points[0, 9])


# -- back to the best point -----------------------------------------------------------------------------------------------


def centers(opt: rover.Optimizer, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the grids stood, and their resolutions; a bowl whose minimum is in the first grid."""
    places, deltas = [], []
    for _ in range(rounds):
        points = opt.ask()
        places.append(points[12])
        deltas.append(points[-1, 1] - points[-2, 1])
        opt.tell(points, ((points - np.array([1.1, 0.9])) ** 2).sum(-1))
    return np.array(places), np.array(deltas)


def test_a_rover_that_has_lost_its_way_goes_back(policy: Policy) -> None:
    options = {
        "policy": Driver(policy, (1.0, 0.0)),
        "initial_step": 5.0,
        "initial_resolution": 1.0,
        "anchor": "none",
        "focus": False,
    }
    places, deltas = centers(rover.Optimizer([0.0, 0.0], **options), 9)
    assert places[:7, 0] == pytest.approx(np.arange(7) * 5.0)  # six rounds without anything better
    assert places[7] == pytest.approx([1.0, 1.0]) and deltas[7] == pytest.approx(0.5)
    assert (deltas[:7] == 1.0).all()
    assert places[8, 0] - places[7, 0] == pytest.approx(0.5)  # a step of half the half-window
    places, _ = centers(rover.Optimizer([0.0, 0.0], recall=False, **options), 9)
    assert places[:, 0] == pytest.approx(np.arange(9) * 5.0)


def test_a_rover_that_still_sees_its_best_point_stays(policy: Policy) -> None:
    options = {
        "policy": Driver(policy, (1.0, 0.0)),
        "initial_step": 1e-3,
        "initial_resolution": 1.0,
        "anchor": "none",
        "focus": False,
    }
    places, deltas = centers(rover.Optimizer([0.0, 0.0], **options), 20)
    assert np.allclose(np.diff(places[:, 0]), 1e-3) and (abs(deltas - 1.0) < 1e-9).all()


def test_a_recall_is_in_the_units_of_x(policy: Policy) -> None:
    driver, box = Driver(policy, (1.0, 0.0)), [(-8.0, 92.0), (-8.0, 2.0)]
    opt = rover.Optimizer(
        [0.0, 0.0],
        bounds=box,
        policy=driver,
        initial_step=7.0,
        initial_resolution=0.5,
        anchor="none",
        focus=False,
    )
    places, deltas = centers(opt, 9)
    assert places[7] == pytest.approx([1.0, 1.0]) and deltas[7] == pytest.approx(0.25)
