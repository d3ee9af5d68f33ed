"""A round on slices against independent computations: least squares, separate runs, the two-dimensional rover."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.linalg import lstsq

import rover
from rover.navigation.grid import grid_points
from rover.optimize.combine import combine
from rover.optimize.slices import AllPairs, BlockPartners, Partners, RandomAxes

LENGTHS = {"initial_step": 0.4, "initial_resolution": 0.3}
PAPER = {"combine": "mean", "anchor": "none", "inherit": False}
ENDLESS = {"xatol": 0.0, "fatol": 0.0}


def uneven(dim, generator):
    """Axes take part unequally often: the first in every slice, the last in one."""
    return [(0, i) for i in range(1, dim)] + [(1, 2)]


@pytest.mark.parametrize("slices", [AllPairs(), uneven, RandomAxes(3), Partners(1)], ids=["all", "uneven", "k", "l"])
def test_a_round_is_the_least_squares_solution_of_eq_8(slices, policy, quadratic):
    """Every slice is stepped alone with ``policy.advance``; SciPy solves the stacked ``E_ij' x = move_ij``."""
    dim, x0 = 5, np.linspace(-1.0, 2.0, 5)
    opt = rover.Optimizer(x0, policy=policy, slices=slices, **LENGTHS, **PAPER, **ENDLESS)
    for _ in range(4):
        engine = opt._engine
        before, view = engine.theta[0].clone(), engine.view
        rows, moves = [], []
        for number, (i, j) in enumerate(view.pairs.tolist()):
            state = policy.initial_state(before[[i, j]][None], view.delta[number], view.delta[number])._replace(
                **{name: field[number] for name, field in view.state.items()}
            )
            plane = grid_points(state.theta, state.delta, policy.grid_size, state.frame)[0]
            points = before.repeat(len(plane), 1)
            points[:, [i, j]] = plane
            after, _ = policy.advance(state, quadratic(points)[None])
            moves.append((after.theta - state.theta)[0])
            rows.append(torch.eye(dim, dtype=torch.float64)[[i, j]])
        solution = lstsq(torch.cat(rows).numpy(), torch.cat(moves).numpy())[0]  # of least norm: unseen axes stay
        X = opt.ask()
        opt.tell(X, quadratic(X))
        np.testing.assert_allclose((engine.theta[0] - before).numpy(), solution, atol=1e-6)  # float32 networks


@pytest.mark.parametrize("slices", [AllPairs(), uneven, RandomAxes(4), Partners(2)], ids=["all", "uneven", "k", "l"])
def test_any_moves_are_combined_by_least_squares(slices, policy):
    """Arbitrary moves of two rovers, to the last bits; a slice that saw nothing finite has no say."""
    dim, generator = 6, torch.Generator().manual_seed(0)
    engine = rover.Optimizer(np.zeros((2, dim)), policy=policy, slices=slices, **LENGTHS, **PAPER)._engine
    pairs = engine.view.pairs
    moves = torch.randn(len(pairs), 2, 2, generator=generator, dtype=torch.float64)
    seen = torch.rand(len(pairs), 2, generator=generator) < 0.8
    combined = combine(moves, seen, pairs, dim)
    for number in range(2):
        mine = seen[:, number]
        rows = torch.eye(dim, dtype=torch.float64)[pairs[mine].flatten()]
        solution = lstsq(rows.numpy(), moves[mine, number].flatten().numpy())[0]
        np.testing.assert_allclose(combined[number], solution, atol=1e-12)
        if isinstance(slices, AllPairs):  # and this is what eqs 9 and 10 print, if everything is seen
            whole = combine(moves, torch.ones_like(seen), pairs, dim)
            printed = torch.zeros(dim, dtype=torch.float64)
            printed.index_add_(0, pairs.flatten(), moves[:, number].flatten())
            np.testing.assert_allclose(whole[number], printed / (dim - 1), atol=1e-12)


def test_two_variables_are_the_two_dimensional_optimiser(policy, quadratic):
    """No slices, any strategy, and a plain loop over ``policy.advance`` walk the same path."""
    x0 = np.array([2.0, -1.5])
    run = {"batched": True, "policy": policy, "maxiter": 12, "anchor": "none", "recall": False, **LENGTHS, **ENDLESS}
    plain = rover.minimize(quadratic, x0, **run).trajectory
    for slices in (AllPairs(), RandomAxes(2), Partners(1), BlockPartners(1, [2]), lambda dim, generator: [(1, 0)]):
        trajectory = rover.minimize(quadratic, x0, slices=slices, **run).trajectory
        for name in ("theta", "alpha", "delta", "fun"):
            np.testing.assert_array_equal(getattr(trajectory, name), getattr(plain, name))
    step, resolution = (torch.tensor([v], dtype=torch.float64) for v in LENGTHS.values())
    state = policy.initial_state(torch.from_numpy(x0)[None], step, resolution)
    for theta in plain.theta:
        np.testing.assert_allclose(theta, state.theta[0], rtol=1e-12)
        points = grid_points(state.theta, state.delta, policy.grid_size, state.frame)
        state, _ = policy.advance(state, quadratic(points[0])[None])


def test_slices_of_a_separable_function_are_separate_runs(policy):
    """On f(x) = g(x_0, x_1) + h(x_2, x_3), blocks of two are two rovers that never hear of each other."""

    def g(p):
        p = torch.as_tensor(p)
        return (p[:, 0] - 1).square() + 5 * (p[:, 1] + p[:, 0]).square()

    def h(p):
        p = torch.as_tensor(p)
        return (p[:, 0] + 2).square() + p[:, 0].cos() * p[:, 1] + p[:, 1].square()

    def f(points):
        return g(points[:, :2]) + h(points[:, 2:])

    run = {"batched": True, "policy": policy, "maxiter": 4, **LENGTHS, **PAPER, **ENDLESS}
    whole = rover.minimize(f, [3.0, -1.0, 0.5, 2.0], slices=BlockPartners(1, [2, 2]), **run).trajectory.theta
    np.testing.assert_allclose(
        whole[:, :2], rover.minimize(g, [3.0, -1.0], **run).trajectory.theta, atol=1e-2
    )  # single precision, amplified by the memories
    np.testing.assert_allclose(
        whole[:, 2:], rover.minimize(h, [0.5, 2.0], **run).trajectory.theta, atol=1e-2
    )  # single precision, amplified by the memories


def test_a_round_is_one_call_and_pieces_change_nothing(policy, quadratic):
    sizes = []

    def counted(points):
        sizes.append(points.nbytes)
        return quadratic(points).numpy()

    run = {"batched": True, "policy": policy, "maxiter": 9, "slices": Partners(2), **LENGTHS, **ENDLESS}
    whole = rover.minimize(counted, np.ones(30), **run)
    assert len(sizes) == whole.nit == 9
    sizes.clear()
    limit = 10 * 25 * 30 * 8  # ten grids
    pieces = rover.minimize(counted, np.ones(30), memory_limit=limit, **run)
    assert max(sizes) <= limit and len(sizes) > 9
    np.testing.assert_array_equal(whole.x, pieces.x)
    assert (whole.nfev, whole.nit) == (pieces.nfev, pieces.nit)


def test_memory_grows_with_the_pairs_in_use(policy):
    opt = rover.Optimizer(np.zeros(3000), policy=policy, slices=RandomAxes(4), **LENGTHS)
    used = set()
    for _ in range(6):
        used |= {tuple(p) for p in opt._engine.view.pairs.tolist()} if opt._engine.points_a_grid == 25 else set()
        X = opt.ask()
        opt.tell(X, (X**2).sum(-1))
    table = opt._engine.table
    assert len(used) == 18 and len(used) <= len(table) <= 24  # with those of the round that was planned
    floats = sum(store.numel() for store in table._store.values())
    assert floats <= 2 * len(table) * (11 + 2 * 4)  # doubling leaves half of the rows free; d^2 would be 9,000,000


# -- what is beyond the paper -----------------------------------------------------------------------------------------


def test_a_search_never_climbs(policy, quadratic):
    """Where the rover stands after each search is not worse than before, whatever the policy proposed."""
    opt = rover.Optimizer(np.linspace(-3, 3, 8), policy=policy, slices=Partners(1), **LENGTHS, **ENDLESS)
    stands = []
    for _ in range(30):
        X = opt.ask()
        opt.tell(X, quadratic(X))
        stands.append(float(quadratic(opt._engine.theta)))
    assert all(after <= before for before, after in zip(stands, stands[1:], strict=False))
    assert stands[-1] < stands[0]


def test_a_search_keeps_to_the_bounds(policy, quadratic):
    bounds = [(-1.0, 0.5)] * 6

    def f(points):
        assert (points >= -1.0).all() and (points <= 0.5).all()
        return quadratic(points).numpy()

    result = rover.minimize(f, np.zeros(6), bounds=bounds, batched=True, policy=policy, maxiter=30, **ENDLESS)
    assert (result.x >= -1.0).all() and (result.x <= 0.5).all()


def test_the_mean_overshoots_where_axes_are_coupled_and_the_search_does_not():
    """Newton's step in every slice of f = |sum x|^2: the mean of eq 9 is d / 2 times too long."""
    from rover.optimize.move_search import MoveSearch

    dim = 20
    search = MoveSearch(1, dim, 0)
    active, theta = torch.tensor([0]), torch.ones(1, dim, dtype=torch.float64)
    mean = torch.full((1, dim), -dim / 2, dtype=torch.float64)  # each slice alone makes up for the whole slope
    assert (theta + mean).sum().square() > theta.sum().square()
    search.propose(active, mean, torch.zeros(1, 0, dim, dtype=torch.float64))
    tries = theta[:, None] + search.displacements(active)
    assert tries.sum(-1).square().min() < 0.1 * theta.sum().square()


def test_late_axes_inherit_what_the_others_have_reached(policy, quadratic):
    """A pair that is used for the first time in round t; with the paper's rule it still has its first step size."""

    def late(dim, generator):
        late.turn += 1
        return [(0, 1)] if late.turn < 8 else [(2, 3)]

    reached = {}
    for inherit in (True, False):
        late.turn = 0
        opt = rover.Optimizer(np.zeros(4), policy=policy, slices=late, **LENGTHS, **{**PAPER, "inherit": inherit})
        while opt.nit < 7:
            X = opt.ask()
            opt.tell(X, quadratic(X))
        reached[inherit] = float(opt._engine.view.state["alpha"])
        known = float(opt._engine.table.read(opt._engine.table.slots[:1], torch.tensor([0]))["alpha"])
        assert known != pytest.approx(0.4)  # of the pair that was in use
    assert reached == {True: pytest.approx(known), False: pytest.approx(0.4)}


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 4, 5])
def test_a_run_on_slices_resumes_anywhere(rounds, policy, quadratic):
    def walk(opt, count):
        points = []
        for _ in range(count):
            X = opt.ask()
            points.append(X)
            opt.tell(X, quadratic(X))
        return points

    make = {"policy": policy, "slices": Partners(1), "seed": 5, **ENDLESS}
    whole = walk(rover.Optimizer(np.ones(9), **make), rounds + 4)
    first = rover.Optimizer(np.ones(9), **make)
    walk(first, rounds)
    second = rover.Optimizer(np.ones(9), **make)
    second.load_state_dict(first.state_dict())
    for resumed in (second, pickle.loads(pickle.dumps(first))):
        for again, before in zip(walk(resumed, 4), whole[rounds:], strict=True):
            np.testing.assert_array_equal(again, before)


def test_the_scale_of_the_problem_does_not_matter(policy, quadratic):
    """The same path, scaled, for f(x / c) and lengths times c, and for a f + b."""
    run = {"batched": True, "policy": policy, "slices": Partners(1), "maxiter": 16, **ENDLESS}
    x0 = np.linspace(-2, 2, 7)
    plain = rover.minimize(quadratic, x0, **LENGTHS, **run).trajectory.theta
    longer = {name: 1024 * value for name, value in LENGTHS.items()}
    scaled = rover.minimize(lambda p: 8 * quadratic(p / 1024) + 64, 1024 * x0, **longer, **run).trajectory.theta
    np.testing.assert_allclose(scaled / 1024, plain, rtol=1e-6, atol=1e-9)


def test_one_slice_of_many_axes_is_no_convergence(policy):
    """f is flat along the only pair that is ever looked at: the axes that nobody has seen keep the run going."""
    run = {"batched": True, "policy": policy, "slices": lambda dim, generator: [(0, 1)], "maxiter": 60, **LENGTHS}
    result = rover.minimize(lambda points: (points[:, 2:] ** 2).sum(-1), np.ones(4), xatol=0.0, fatol=1e-3, **run)
    assert not result.success and result.nit == 60
