"""What a user can do wrong, or what can go wrong with a user's function: one clear sentence, nothing lost."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import rover
from rover.optimize import ProtocolError, Status
from rover.policy import Policy

BOX = [(-5.0, 5.0), (-5.0, 5.0)]


def bowl(x: np.ndarray) -> Any:
    return (x[..., 0] - 1) ** 2 + 3 * (x[..., 1] + 2) ** 2


# -- values that are not finite -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", [{}, {"bounds": BOX}, {"initial_step": 0.3}, {"noisy": True}])
def test_nothing_finite_is_no_success_and_says_where(policy: Policy, value: float, options: dict) -> None:
    result = rover.minimize(lambda x: value, [3.0, 2.0], policy=policy, **options)
    assert not result.success and result.status == Status.NOT_FINITE
    assert "around x = [3" in result.message and result.nit == 1
    assert math.isnan(result.fun) and np.array_equal(result.x, [3.0, 2.0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_half_a_box_that_is_not_finite(policy: Policy, value: float) -> None:
    seen = []

    def f(x: np.ndarray) -> float:
        seen.append(x.copy())
        return value if x[0] < 0 else bowl(x)

    result = rover.minimize(f, [3.0, 3.0], bounds=BOX, policy=policy, maxiter=20)
    assert math.isfinite(result.fun) and result.x[0] >= 0 and result.fun == bowl(result.x)
    assert result.fun == min(bowl(x) for x in seen if x[0] >= 0)


def test_a_start_that_is_not_finite_may_recover(policy: Policy) -> None:
    result = rover.minimize(lambda x: bowl(x) if x[0] > -3 else math.nan, [-4.0, 0.0], bounds=BOX, policy=policy)
    assert result.fun < 1.0


def test_a_surface_that_turns_bad_later_says_where_and_keeps_the_best(policy: Policy) -> None:
    calls = [0]

    def f(x: np.ndarray) -> np.ndarray:
        calls[0] += 1
        return bowl(x) if calls[0] < 4 else np.full(len(x), math.nan)

    result = rover.minimize(f, [3.0, 3.0], batched=True, policy=policy)
    assert result.status == Status.NOT_FINITE and not result.success and result.nit == 4
    assert result.fun == bowl(result.x) and "around x" in result.message


def test_huge_and_tiny_values_do_not_overflow(policy: Policy) -> None:
    for scale in (1e300, 1e-300):
        result = rover.minimize(lambda x: scale * bowl(x) / 100, [3.0, 3.0], bounds=BOX, policy=policy, maxiter=10)  # noqa: B023
        assert math.isfinite(result.fun) and result.fun < scale * 0.79


# -- exceptions -----------------------------------------------------------------------------------------------------------


class Mine(Exception):
    pass


@pytest.mark.parametrize("call", [1, 2, 40, 130])
def test_an_exception_in_f_reaches_the_user_unchanged(policy: Policy, call: int) -> None:
    calls, error = [0], Mine("the reason")

    def f(x: np.ndarray) -> float:
        calls[0] += 1
        if calls[0] == call:
            raise error
        return bowl(x)

    with pytest.raises(Mine) as caught:
        rover.minimize(f, [3.0, 3.0], policy=policy)
    assert caught.value is error and calls[0] == call


def test_an_optimizer_keeps_what_it_was_told(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy)
    for _ in range(4):
        points = opt.ask()
        opt.tell(points, bowl(points))
    best, points = opt.result, opt.ask()
    for values in (bowl(points)[:-1], [None] * len(points), "abc", np.zeros((len(points), 2)), 1.0):
        with pytest.raises(ValueError, match="values"):
            opt.tell(points, values)
    for wrong in (points[::-1], points[:-1], points + 1e-9, points[:, :1]):
        with pytest.raises(ProtocolError, match="points"):
            opt.tell(wrong, bowl(points))
    assert opt.result.fun == best.fun and opt.result.nfev == best.nfev
    opt.tell(points, bowl(points))
    assert opt.result.nit == best.nit + 1
    with pytest.raises(ProtocolError, match="ask"):
        opt.tell(points, bowl(points))


def test_nothing_can_be_asked_after_the_end(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy, maxiter=1)
    opt.tell(opt.ask(), bowl(opt.ask()))
    assert opt.stop()
    with pytest.raises(ProtocolError, match="maxiter"):
        opt.ask()


# -- what f returns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        [1.0, 2.0],
        np.ones(2),
        np.ones((2, 2)),
        None,
        "1.0",
        1j,
        np.array([1j]),
        {},
        torch.ones(3),
        np.datetime64("2020"),
    ],
)
def test_a_value_that_is_not_one_number(policy: Policy, value: Any) -> None:
    with pytest.raises(ValueError, match="objective must return one real number"):
        rover.minimize(lambda x: value, [3.0, 3.0], policy=policy)


@pytest.mark.parametrize(
    "value", [1, 1.5, True, np.float32(1), np.ones(1), np.ones((1, 1)), torch.ones(1), torch.tensor(2)]
)
def test_a_value_that_is_one_number(policy: Policy, value: Any) -> None:
    assert rover.minimize(lambda x: value, [3.0, 3.0], policy=policy, maxiter=2).fun == float(np.asarray(value).item())


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: 1.0,
        lambda x: np.ones(len(x) + 1),
        lambda x: np.ones((len(x), 1)),
        lambda x: [[1.0]] * (len(x) - 1) + [[1.0, 2.0]],
        lambda x: ["a"] * len(x),
        lambda x: np.ones(len(x)) * 1j,
        lambda x: None,
        lambda x: torch.ones(2),
    ],
)
def test_a_batched_function_of_the_wrong_shape(policy: Policy, fun: Any) -> None:
    with pytest.raises(ValueError, match="batched objective must"):
        rover.minimize(fun, [3.0, 3.0], policy=policy, batched=True)


def test_a_function_may_scribble_on_its_argument(policy: Policy) -> None:
    def f(x: np.ndarray) -> float:
        value = bowl(x)
        x[:] = 99.0
        return value

    assert rover.minimize(f, [3.0, 3.0], policy=policy, maxiter=9).fun == (
        rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=9).fun
    )


# -- the call -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ([(-5, 2), (-5, 5)], "x0.*inside"),
        ([(4, 5), (-5, 5)], "x0.*inside"),
        ([(5, -5), (-5, 5)], "empty"),
        ([(3, 3), (3, 3)], "nothing to optimise"),
        ([(-5, 5)], "2 pairs"),
        ([(-5, 5)] * 3, "2 pairs"),
        ([], "2 pairs"),
        (7, "2 pairs"),
        ("ab", "2 pairs"),
        ([(-5, "x"), (-5, 5)], "2 pairs"),
        ([(math.nan, 5), (-5, 5)], "NaN"),
        ([(math.inf, math.inf), (-5, 5)], "empty|inside"),
        ([(-1e308, 1e308), (-5, 5)], "too far apart"),
    ],
)
def test_bounds_that_make_no_sense(policy: Policy, bounds: Any, words: str) -> None:
    calls = []
    with pytest.raises(ValueError, match=words):
        rover.minimize(calls.append, [3.0, 3.0], bounds=bounds, policy=policy)
    assert not calls


@pytest.mark.parametrize(
    "x0", [[], [[]], None, "ab", [math.nan, 0.0], [math.inf, 0.0], [1j, 0.0], np.zeros((1, 1, 2)), [[1.0], [1.0, 2.0]]]
)
def test_starts_that_make_no_sense(policy: Policy, x0: Any) -> None:
    with pytest.raises(ValueError, match="x0"):
        rover.minimize(bowl, x0, policy=policy)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"maxitr": 3}, "did you mean `maxiter`"),
        ({"population": 3}, "unknown option `population`"),
        ({"maxiter": 1.5}, "maxiter"),
        ({"maxiter": -1}, "maxiter"),
        ({"maxfev": "many"}, "maxfev"),
        ({"xatol": -1.0}, "xatol"),
        ({"fatol": math.nan}, "fatol"),
        ({"ftarget": math.nan}, "ftarget"),
        ({"maxtime": -3}, "maxtime"),
        ({"initial_step": 0.0}, "initial_step"),
        ({"initial_resolution": -0.1}, "initial_resolution"),
        ({"initial_step": math.inf}, "initial_step"),
        ({"restarts": -1}, "restarts"),
        ({"restarts": 0.5}, "restarts"),
        ({"noisy": "yes"}, "noisy"),
        ({"probe": 3}, "probe"),
        ({"probe": "lader"}, "probe"),
        ({"probe": "ladder", "noisy": "ladder"}, "noisy"),
        ({"recall": 1}, "recall"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "a"}, "seed"),
        ({"slices": 3}, "slices"),
        ({"grid_size": 15}, "grid_size.*5.*15"),
        ({"anchor": "worst"}, "anchor"),
        ({"at_bounds": "leave"}, "at_bounds"),
        ({"workers": 4}, "workers.*ProcessPoolExecutor"),
        ({"batched": "yes"}, "batched"),
        ({"callback": 3}, "callback"),
        ({"constraints": [{"type": "eq", "fun": bowl}]}, "constraints.*not supported"),
        ({"policy": "nonesuch"}, "policy.*nonesuch"),
        ({"policy": "/no/such/file.safetensors"}, "does not exist"),
    ],
)
def test_options_that_make_no_sense(policy: Policy, options: dict, words: str) -> None:
    calls = []
    with pytest.raises(ValueError, match=words):
        rover.minimize(calls.append, [3.0, 3.0], **{"policy": policy, **options})
    assert not calls


def test_something_else_than_a_function(policy: Policy) -> None:
    with pytest.raises(ValueError, match="fun"):
        rover.minimize(3, [3.0, 3.0], policy=policy)


@pytest.mark.parametrize("options", [{"maxiter": 0}, {"maxfev": 0}, {"maxtime": 0}])
def test_a_budget_of_nothing(policy: Policy, options: dict) -> None:
    calls = []
    result = rover.minimize(calls.append, [3.0, 3.0], policy=policy, **options)
    assert not calls and result.nit == result.nfev == 0 and not result.success
    assert np.array_equal(result.x, [3.0, 3.0]) and math.isnan(result.fun)
    assert next(iter(options)) in result.message and len(result.trajectory.theta) == 0


def test_a_function_that_does_not_pickle_meets_a_process_pool(policy: Policy) -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(ValueError, match="another process.*top level"):
        rover.minimize(lambda x: bowl(x), [3.0, 3.0], policy=policy, workers=pool)


# -- weights --------------------------------------------------------------------------------------------------------------


def test_weights_survive_a_round_trip_and_nothing_else_is_taken(policy: Policy, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    policy.save(whole)
    again = rover.load(whole)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    result = rover.minimize(bowl, [3.0, 3.0], policy=str(whole), maxiter=5)
    assert result.fun == rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=5).fun

    data = whole.read_bytes()
    damaged = {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "header": data[:100],
        "text": b"these are no weights",
        "flipped": data[:8] + b"\xff" * 40 + data[48:],
        "pickle": b"\x80\x04cposix\nsystem\n(S'touch hacked'\ntR.",
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a whole rover policy"):
            rover.minimize(bowl, [3.0, 3.0], policy=path)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(3)}, str(foreign))
    with pytest.raises(ValueError, match="not a whole rover policy.*format"):
        rover.load(foreign)
    assert not Path("hacked").exists()


def test_a_direction_is_asked_with_the_right_grid(policy: Policy) -> None:
    with pytest.raises(ValueError, match=r"\(B, 5, 5\)|5"):
        policy.direction(torch.rand(2, 7, 7))


def test_a_state_of_something_else(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy)
    for state in ({}, None, {"format": "other"}, rover.Optimizer([1.0, 2.0, 3.0], policy=policy).state_dict()):
        with pytest.raises(ValueError, match="state"):
            opt.load_state_dict(state)


# -- anything at all ------------------------------------------------------------------------------------------------------

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=4), st.binary(max_size=4),
    st.complex_numbers(), st.lists(st.floats(), max_size=3), st.tuples(st.integers(), st.integers()),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2), st.just(np.array([1.0, 2.0])), st.just(torch.ones(2)),
    st.just(object()),
)  # fmt: skip
NAMES = st.sampled_from(
    ["x0", "bounds", "maxiter", "maxfev", "xatol", "fatol", "ftarget", "maxtime", "initial_step", "initial_resolution",
     "probe", "restarts", "noisy", "slices", "seed", "grid_size", "memory_limit", "anchor", "at_bounds", "combine",
     "inherit", "recall", "focus", "workers", "batched", "callback", "constraints", "policy", "tol", "jac"]
)  # fmt: skip


def test_jac_promises_a_pair(policy: Policy) -> None:
    with pytest.warns(RuntimeWarning, match="Method rover does not use"), pytest.raises(ValueError, match="`jac=True`"):
        rover.minimize(bowl, [3.0, 3.0], policy=policy, jac=True, maxiter=1)


@pytest.mark.filterwarnings("ignore:Method rover does not use")
@settings(max_examples=300)
@given(name=NAMES, value=JUNK)
def test_any_argument_is_taken_or_refused_in_a_sentence(policy: Policy, name: str, value: Any) -> None:
    arguments = {"x0": [3.0, 3.0], "policy": policy, "maxiter": 2, name: value}
    if name not in ("maxiter", "memory_limit"):
        arguments["maxfev"] = value if name == "maxfev" else 200
    else:
        arguments["maxtime"] = 0.05
    try:
        result = rover.minimize(lambda x: float(np.square(x).sum()), arguments.pop("x0"), **arguments)
    except ValueError as error:
        assert "`" in str(error) or "objective" in str(error), error
        trace = error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        assert "rover" in trace.tb_frame.f_code.co_filename, "the error comes from inside a library"
    else:
        assert math.isfinite(result.fun) or result.nfev == 0


@settings(max_examples=200)
@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=25, max_size=25), rounds=st.integers(1, 4)
)
def test_any_values_leave_the_points_finite_and_inside(policy: Policy, values: list[float], rounds: int) -> None:
    opt = rover.Optimizer([3.0, 3.0], bounds=BOX, policy=policy)
    for index in range(rounds):
        if opt.stop():
            break
        points = opt.ask()
        assert np.isfinite(points).all() and (abs(points) <= 5).all()
        opt.tell(points, np.resize(np.roll(values, index), len(points)))
    result = opt.result
    finite = [v for v in values if math.isfinite(v)]
    assert result.fun == min(finite) if finite else math.isnan(result.fun)


@settings(max_examples=100)
@given(
    shape=st.lists(st.integers(0, 3), max_size=3), kind=st.sampled_from(["f8", "i4", "c16", "U3", "O", "M8[s]", "?"])
)
def test_any_array_of_values_is_taken_or_refused(policy: Policy, shape: list[int], kind: str) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy)
    points = opt.ask()
    with pytest.raises(ValueError, match="values"):
        opt.tell(points, np.zeros(shape).astype(kind))
    assert opt.result.nit == 0
    opt.tell(points, bowl(points))
