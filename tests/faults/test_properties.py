"""Whatever comes in, what goes out is finite, in range and invariant; 10,000 examples each in the full campaign."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import rover
from conf import TRAININGS, ConfigError, load_config
from rover.landscapes import MODALITIES, sample_prototypes
from rover.navigation.environment import Navigation, NavigationConfig
from rover.navigation.grid import look
from rover.optimize import ProtocolError
from rover.policy import Policy
from tests.faults.campaign import FULL, PARTS, examples, note, times
from tests.optimize.conftest import make_policy

SURFACES = sample_prototypes(16, torch.Generator().manual_seed(0))
anything = st.floats(allow_nan=True, allow_infinity=True)
numbers = st.floats(-1e6, 1e6)


FAULTS = {
    "test_a_config": "config parsing",
    "test_a_grid": "grids",
    "test_a_landscape": "landscapes",
    "test_a_rover": "navigation",
}


@pytest.fixture(autouse=True)
def _ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    what = next((what for name, what in FAULTS.items() if request.node.name.startswith(name)), None)
    if what:
        note(f"generated input: {what}", times(60, 10_000) // PARTS)
    else:
        note("generated misuse of ask and tell, 30 calls each", times(20, 330))


parts = pytest.mark.parametrize("part", range(PARTS))


KEYS = st.sampled_from(
    ["seed", "data.batch_size", "data.grid_size", "data.protocol", "data.delta_range", "model.learning_rate", "trainer",
     "model.network.channels", "model.network.canonical", "trainer.devices", "log_dir", "resume", "task", "data", "x.y"]
)  # fmt: skip
VALUES = st.one_of(
    st.integers().map(str), anything.map(str), st.booleans().map(str), st.text(max_size=15), st.just("null"),
    st.lists(st.integers(-5, 99), max_size=3).map(str),
    st.sampled_from(["${oc.env:HOME}", "!!python/none", "{a: 1}", "&a", "*a"]),
)  # fmt: skip


@parts
@examples()
@given(words=st.lists(st.tuples(KEYS, VALUES).map("=".join), max_size=3))
def test_a_config_is_valid_or_refused_in_one_line(part: int, words: list[str]) -> None:
    try:
        config = load_config("angle.yaml", words, TRAININGS).config
    except ConfigError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert 0 <= config.seed < 2**32 and config.data.grid_size >= 2 and config.data.batch_size >= 1


@parts
@examples()
@given(values=st.lists(anything, min_size=25, max_size=25), scale=st.floats(1e-6, 1e6), offset=numbers)
def test_a_grid_is_in_range_and_invariant(part: int, values: list[float], scale: float, offset: float) -> None:
    raw = torch.tensor(values, dtype=torch.float64)[None]
    sight = look(raw, 5)
    assert ((sight.grid >= 0) & (sight.grid <= 1)).all()
    assert sight.level.isfinite().all() or not (raw.isfinite() & (raw.abs() < 1e300)).all()
    assert (sight.span >= 0).all()
    tame = raw.nan_to_num(0, 1e3, -1e3).clamp(-1e3, 1e3)
    span = float(tame.max() - tame.min())
    if span > 1e-3:
        moved = look(scale * tame + offset, 5)
        noise = 1e-14 * (abs(offset) + scale * 1e3) / (scale * span)  # of rounding, in units of the grid
        torch.testing.assert_close(moved.grid, look(tame, 5).grid, rtol=0, atol=1e-6 + 4 * noise)


@parts
@examples()
@given(
    points=st.lists(st.tuples(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100)), min_size=3, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_a_landscape_is_finite_never_below_its_minimum_and_has_a_bounded_noise(
    part: int, points: list[tuple[float, float]], seed: int
) -> None:
    x = torch.tensor(points, dtype=torch.float64).expand(16, 3, 2)
    mean, std = SURFACES.mean_and_std(x)
    assert mean.isfinite().all() and torch.equal(mean, SURFACES.mean(x))
    assert (mean >= SURFACES.minimum[:, None] - 1e-6).all()
    assert ((std >= 0) & (std <= (SURFACES.prior * SURFACES.noise_scale)[:, None] * (1 + 1e-9))).all()
    generator = torch.Generator().manual_seed(seed)
    assert SURFACES(x, generator).isfinite().all()
    order = torch.randperm(16, generator=generator)
    torch.testing.assert_close(SURFACES.select(order).mean(x), mean[order], rtol=1e-9, atol=1e-9)


@parts
@examples()
@given(
    actions=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=8),
    seed=st.integers(0, 2**32),
    noise=st.sampled_from(["full", "none"]),
    frame=st.sampled_from(["quadratic", "none"]),
    act_first=st.booleans(),
)
def test_a_rover_stays_finite_and_its_reward_in_range(
    part: int, actions: list[tuple[float, float]], seed: int, noise: str, frame: str, act_first: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    surfaces = sample_prototypes(len(MODALITIES), generator, noise=noise)
    config = NavigationConfig(frame=frame, act_first=act_first)

    def direction(grid: torch.Tensor) -> torch.Tensor:
        angle = grid.sum((-1, -2))
        return torch.stack([angle.cos(), angle.sin()], -1)

    env = Navigation(surfaces, config, 5, direction, generator)
    seen = env.reset()
    for action in actions:
        reward, seen = env.step(torch.tensor(action).expand(len(MODALITIES), 2))
        assert ((reward <= 0) & (reward >= -config.reward_window - 1e-9)).all()
        assert all(part.isfinite().all() for part in seen)
        assert ((seen.grid >= 0) & (seen.grid <= 1)).all() and (seen.context.abs() <= 4).all()
        assert (env.rover.alpha > 0).all() and (env.rover.delta > 0).all() and env.rover.theta.isfinite().all()
        assert torch.linalg.det(env.rover.frame).abs().sub(1).abs().max() < 1e-6


class AskAndTell(RuleBasedStateMachine):
    """Right and wrong calls in any order: a wrong one raises ProtocolError or ValueError and changes nothing."""

    policy: Policy = make_policy()

    def __init__(self) -> None:
        super().__init__()
        self.opt = rover.Optimizer([3.0, 2.0], policy=self.policy, bounds=[(-5, 5)] * 2, maxiter=15, xatol=0, fatol=0)
        self.asked: np.ndarray | None = None
        self.rounds = self.points = 0
        self.best = math.inf

    @precondition(lambda self: not self.opt.stop())
    @rule()
    def ask(self) -> None:
        points = self.opt.ask()
        assert self.asked is None or np.array_equal(points, self.asked), "the same until told"
        assert np.isfinite(points).all() and (abs(points) <= 5).all()
        self.asked = points

    @precondition(lambda self: self.asked is not None)
    @rule(bad=st.sampled_from([0.0, math.nan, math.inf, -math.inf]), share=st.floats(0, 0.5))
    def tell(self, bad: float, share: float) -> None:
        assert self.asked is not None
        values = np.square(self.asked - 1).sum(-1)
        values[: int(share * len(values))] += bad
        self.opt.tell(self.asked, values)
        self.rounds, self.points = self.rounds + 1, self.points + len(values)
        self.best = min([self.best, *values[np.isfinite(values)]])
        self.asked = None

    @precondition(lambda self: self.asked is None)
    @rule()
    def tell_twice(self) -> None:
        with pytest.raises(ProtocolError):
            self.opt.tell(np.zeros((25, 2)), np.zeros(25))

    @precondition(lambda self: self.asked is not None)
    @rule(kind=st.sampled_from(["fewer", "more", "other order", "moved", "flat", "text", "none", "fewer values"]))
    def tell_wrongly(self, kind: str) -> None:
        assert self.asked is not None
        x, values = self.asked, np.zeros(len(self.asked))
        wrong = {
            "fewer": (x[:-1], values[:-1]),
            "more": (np.vstack([x, x[:1]]), np.append(values, 0.0)),
            "other order": (np.roll(x, 1, 0), values),
            "moved": (x + 0.1, values),
            "flat": (x.ravel(), values),
            "text": (x, ["a"] * len(x)),
            "none": (x, None),
            "fewer values": (x, values[:-1]),
        }[kind]
        with pytest.raises(ValueError, match="`points`|`values`"):
            self.opt.tell(*wrong)

    @rule()
    def save_and_resume(self) -> None:
        again = rover.Optimizer([3.0, 2.0], policy=self.policy, bounds=[(-5, 5)] * 2, maxiter=15, xatol=0, fatol=0)
        again.load_state_dict(self.opt.state_dict())
        self.opt = again

    @precondition(lambda self: self.opt.stop())
    @rule()
    def ask_after_the_end(self) -> None:
        with pytest.raises(ProtocolError):
            self.opt.ask()

    @invariant()
    def nothing_is_lost(self) -> None:
        assert (self.opt.nit, self.opt.nfev) == (self.rounds, self.points)
        fun = self.opt.best.fun
        assert fun == self.best or (math.isinf(self.best) and math.isnan(fun))


TestAskAndTell = AskAndTell.TestCase
TestAskAndTell.settings = examples(20)
if FULL:
    # A state machine cannot be parametrised, and so one process runs all of it.
    TestAskAndTell.settings = settings(examples(), max_examples=330, stateful_step_count=30)
