"""Eq 4 by hand, in both orders of choosing and moving, and what the actor is told beside the grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rover.navigation.grid import look
from rover.navigation.moves import Decision, RoverState, context_of, initial_state, rates, transition


def state_of(batch: int = 3, dtype: torch.dtype = torch.float64) -> RoverState:
    theta = torch.arange(2.0 * batch, dtype=dtype).view(batch, 2)
    return initial_state(theta, torch.full((batch,), 0.5, dtype=dtype), torch.full((batch,), 0.1, dtype=dtype), 4)


def decision_of(action: list[float], batch: int = 3) -> Decision:
    direction = torch.tensor([0.6, -0.8]).expand(batch, 2)
    frame = torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=torch.float64).expand(batch, 2, 2)
    return Decision(direction, torch.tensor(action).expand(batch, 2), torch.ones(batch, 2, 4), frame)


SIGHT = look(torch.arange(9.0, dtype=torch.float64).expand(3, 9), 3)


@pytest.mark.parametrize(("act_first", "step"), [(False, 0.5), (True, 1.0)])
def test_transition_by_hand(act_first: bool, step: float) -> None:
    before = state_of()
    after = transition(before, decision_of([1.0, -1.0]), SIGHT, act_first=act_first)
    move = torch.tensor([0.6 * step, -0.8 * step]).double()
    torch.testing.assert_close(after.theta, before.theta + move)
    assert after.alpha.tolist() == [1.0] * 3  # (1 + 1) alpha
    assert after.delta.tolist() == pytest.approx([0.05] * 3)  # (1 - 0.5) delta
    assert (after.level == SIGHT.level).all() and (after.span == SIGHT.span).all()
    assert (before.alpha == 0.5).all(), "the old state is left alone"
    # The frame chosen now serves from the next grid on, and then the move too.
    third = transition(after, decision_of([0.0, 0.0]), SIGHT, act_first=act_first)
    torch.testing.assert_close(third.theta - after.theta, torch.tensor([[1.2, -0.4]] * 3).double())


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_rates_are_the_papers_set(u: float, v: float) -> None:
    rate = rates(torch.tensor([u, v], dtype=torch.float64))
    assert ((rate >= -0.5) & (rate <= 1)).all()
    assert rates(torch.tensor([-1.0, 1.0])).tolist() == [-0.5, 1.0]
    assert rates(torch.zeros(2)).tolist() == [0.0, 0.0]
    after = transition(state_of(), decision_of([u, v]), SIGHT, act_first=False)
    assert after.alpha[0].item() == pytest.approx(0.5 * (1 + rate[0].item()), rel=1e-6)


@given(st.floats(1e-3, 1e3), st.floats(-5, 5))
def test_steps_scale_and_translate_with_the_problem(scale: float, shift: float) -> None:
    state, decision = state_of(), decision_of([0.3, -0.2])
    other = state._replace(theta=scale * state.theta + shift, alpha=scale * state.alpha, delta=scale * state.delta)
    one = transition(state, decision, SIGHT, act_first=True)
    two = transition(other, decision, SIGHT, act_first=True)
    torch.testing.assert_close(two.theta, scale * one.theta + shift, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(two.delta, scale * one.delta)
    torch.testing.assert_close(context_of(two, SIGHT), context_of(one, SIGHT))


def test_context_at_the_start_says_nothing_but_the_ratio() -> None:
    context = context_of(state_of(), SIGHT)
    assert context.shape == (3, 5)
    torch.testing.assert_close(context[0], torch.tensor([0, 0, torch.log2(torch.tensor(5.0)) / 4, 0, 0]))


def test_context_by_hand_and_invariant_under_a_f_plus_b() -> None:
    ramp = torch.arange(9.0, dtype=torch.float64).expand(3, 9)
    before, after = look(ramp, 3), look(2 * ramp - 4, 3)
    state = transition(state_of(), decision_of([0.5, -0.25]), before, act_first=False)
    context = context_of(state, after)
    # level 4 -> 4 in units of the span 8, span doubled: log2(2) / 4
    ratio = torch.log2(state.alpha[0] / state.delta[0]).item() / 4
    assert context[0].tolist() == pytest.approx([0.5, -0.25, ratio, 0.0, 0.25], abs=1e-6)
    a, b = 1e-3, 17.0
    moved = transition(state_of(), decision_of([0.5, -0.25]), look(a * ramp + b, 3), act_first=False)
    torch.testing.assert_close(context_of(moved, look(a * (2 * ramp - 4) + b, 3)), context, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, float("nan"), 1e308])
def test_context_is_finite_on_surfaces_without_a_slope(value: float) -> None:
    sight = look(torch.full((3, 9), value, dtype=torch.float64), 3)
    state = transition(state_of(), decision_of([1.0, 1.0]), sight, act_first=True)
    assert context_of(state, SIGHT).isfinite().all() and context_of(state, sight).isfinite().all()
