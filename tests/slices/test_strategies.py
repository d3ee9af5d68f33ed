"""Which pairs the strategies yield, and what they say to wrong input."""

from __future__ import annotations

import itertools

import pytest
import torch

import rover
from rover.optimize.slices import (
    AdaptiveAxes,
    AllPairs,
    BlockPartners,
    Partners,
    RandomAxes,
    default_slices,
    draw_pairs,
)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def partners_of(pairs, dim):
    return torch.bincount(torch.as_tensor(pairs).flatten(), minlength=dim)


def check(pairs, dim):
    """Canonical pairs: different axes of the problem, each pair once."""
    assert pairs.dtype == torch.int64 and pairs.ndim == 2 and pairs.shape[1] == 2
    assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.min() >= 0 and pairs.max() < dim
    assert len({tuple(p) for p in pairs.tolist()}) == len(pairs)


def test_all_pairs():
    pairs = AllPairs()(5, gen())
    assert pairs.tolist() == [list(p) for p in itertools.combinations(range(5), 2)]


@pytest.mark.parametrize("strategy", [RandomAxes(4), AdaptiveAxes(4)], ids=["random", "adaptive"])
def test_all_pairs_among_k_axes(strategy):
    used = torch.zeros(9, dtype=torch.int64)
    for _ in range(40):
        pairs = strategy(9, gen := GENERATOR)
        check(pairs, 9)
        axes = pairs.unique()
        assert len(axes) == 4 and len(pairs) == 6
        used[axes] += 1
    assert gen is GENERATOR and used.min() > 0


GENERATOR = gen(1)


@pytest.mark.parametrize(("dim", "number"), [(d, n) for d in (2, 3, 8, 9, 40, 41, 200) for n in (1, 2, 5) if n < d])
@pytest.mark.parametrize("pool", [16, None])
def test_every_axis_has_l_partners(dim, number, pool):
    strategy, generator = Partners(number, pool), gen()
    for _ in range(4):
        pairs = draw_pairs(strategy, dim, generator)
        check(pairs, dim)
        count = partners_of(pairs, dim)
        if dim % 2 == 0 and pool is not None:
            assert (count == number).all() or dim > 16  # drawn matchings may share a pair
        assert count.min() >= 1 and count.max() <= number + 2 * (dim % 2) * number
        assert len(pairs) <= number * ((dim + 1) // 2)


def test_a_tournament_gives_every_pair_its_turn():
    strategy, generator = Partners(1), gen()
    seen = {tuple(p) for _ in range(11) for p in strategy(12, generator).tolist()}
    assert len(seen) == 66


def test_block_partners_stay_in_their_block():
    blocks = [[0, 3, 5, 7], [1, 2, 6], [4]]
    owner = {axis: number for number, block in enumerate(blocks) for axis in block}
    strategy, generator = BlockPartners(2, blocks), gen()
    for _ in range(5):
        pairs = strategy(8, generator)
        check(pairs, 8)
        assert partners_of(pairs, 8).min() >= 1  # also the axis that is alone
        assert all(owner[i] == owner[j] for i, j in pairs.tolist() if 4 not in (i, j))
    assert (BlockPartners(1, [4, 4])(8, gen()) // 4).diff(dim=-1).abs().max() == 0  # sizes are consecutive blocks


def test_adaptive_axes_go_where_it_paid():
    strategy, generator = AdaptiveAxes(3, floor=0.1), gen()
    counts = torch.zeros(30)
    for turn in range(150):
        pairs = strategy(30, generator)
        strategy.observe(pairs, (pairs < 5).double().sum(-1))  # only the first five axes ever pay
        if turn >= 50:
            counts += partners_of(pairs, 30) / 2
    assert counts[:5].mean() > 2.5 * counts[5:].mean()
    assert counts.min() > 0  # none is given up


@pytest.mark.parametrize("make", [lambda: Partners(2), lambda: BlockPartners(1, [5, 6]), lambda: AdaptiveAxes(3)])
def test_a_strategy_resumes(make):
    first, generator = make(), gen()
    for _ in range(3):
        pairs = first(11, generator)
        if hasattr(first, "observe"):
            first.observe(pairs, torch.rand(len(pairs), generator=generator, dtype=torch.float64))
    second, again = make(), gen()
    second.load_state_dict(first.state_dict())
    again.set_state(generator.get_state())
    assert all(torch.equal(first(11, generator), second(11, again)) for _ in range(4))


def test_defaults():
    assert isinstance(default_slices(6), AllPairs)
    assert isinstance(default_slices(7), Partners)


# -- a user's own -----------------------------------------------------------------------------------------------------


def neighbours(dim, generator):
    return [(i, i + 1) for i in range(dim - 1)]


class Worst:
    """Ten lines: keep the pair that gained least out of the next round."""

    def __init__(self):
        self.skip = None

    def __call__(self, dim, generator):
        return [p for p in itertools.combinations(range(dim), 2) if p != self.skip]

    def observe(self, pairs, gains):
        self.skip = tuple(pairs[gains.argmin()].tolist())


@pytest.mark.parametrize("slices", [neighbours, Worst(), itertools.cycle([[(0, 1), (2, 3)], [(3, 1), (0, 2)]])])
def test_a_users_strategy_runs(slices, policy, quadratic):
    result = rover.minimize(quadratic, [3.0] * 4, batched=True, policy=policy, slices=slices, maxiter=7)
    assert result.nit == 7 and result.fun <= quadratic(torch.full((1, 4), 3.0, dtype=torch.float64)).item()


@pytest.mark.parametrize("pairs", [[(0, 0)], [(0, 4)], [(-1, 2)], [], [0, 1], [(0.5, 1.5)], "ab", [(0, 1, 2)], None])
def test_a_users_nonsense_is_refused(pairs, policy, quadratic):
    with pytest.raises(ValueError, match="slices"):
        rover.minimize(quadratic, [3.0] * 4, batched=True, policy=policy, slices=lambda dim, generator: pairs)


# -- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomAxes(1), "`k` must be at least 2"),
        (lambda: AdaptiveAxes(1), "`k` must be at least 2"),
        (lambda: AdaptiveAxes(3, memory=1.0), "`memory`"),
        (lambda: Partners(0), "`l` must be at least 1"),
        (lambda: Partners(3, pool=2), "`pool` must be at least `l`"),
        (lambda: BlockPartners(0, [3, 4]), "`l` must be at least 1"),
        (lambda: BlockPartners(4, [3, 4]), "`l` must be less than the size of the largest block"),
        (lambda: BlockPartners(1, []), "at least one block"),
        (lambda: BlockPartners(1, [3, 0]), "positive sizes"),
        (lambda: BlockPartners(1, [[0, 1], []]), "empty block"),
        (lambda: BlockPartners(1, [[0, 1], [1, 2]]), "overlap, axis 1"),
        (lambda: BlockPartners(1, [[0, 1], [3, 4]]), "cover every axis, axis 2"),
        (lambda: BlockPartners(1, [[0, 1], [-1, 2]]), "overlap.*negative"),
    ],
)
def test_strategies_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (RandomAxes(6), r"`k` must be at most the number of axes \(5\), got 6"),
        (AdaptiveAxes(6), r"`k` must be at most the number of axes \(5\), got 6"),
        (Partners(5), r"`l` must be less than the number of axes \(5\), got 5"),
        (BlockPartners(1, [2, 2]), "they hold 4 axes, the problem has 5"),
        (BlockPartners(1, [[0, 1], [2, 3, 4, 5]]), "they hold 6 axes, the problem has 5"),
        ("all", "`slices` must be a strategy"),
        (3, "`slices` must be a strategy"),
    ],
)
def test_strategies_that_do_not_fit_are_refused_before_anything_is_evaluated(slices, message, policy):
    def never(points):
        raise AssertionError("evaluated")

    with pytest.raises(ValueError, match=message):
        rover.minimize(never, [1.0] * 5, batched=True, policy=policy, slices=slices)
