"""Eq 1: where the rover looks and what it makes of the values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rover.navigation.grid import grid_offsets, grid_points, look, rescale

nan, inf = math.nan, math.inf


def test_offsets_are_centred_and_row_major() -> None:
    expected = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 0], [0, 1], [1, -1], [1, 0], [1, 1]]
    assert grid_offsets(3).tolist() == expected
    assert grid_offsets(2).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_a_grid_of_one_point_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="`grid_size` must be at least 2"):
        grid_offsets(n)


@pytest.mark.parametrize("n", [2, 3, 5, 15])
def test_grid_is_eq_1_written_as_a_loop(n: int) -> None:
    theta, delta = torch.tensor([0.3, -2.0], dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)

    def f(x: float, y: float) -> float:
        return x**3 - 2 * x * y + math.exp(y)

    points = grid_points(theta, delta, n)
    middle = (n - 1) / 2
    grid = np.array([[f(0.3 + 0.25 * (i - middle), -2 + 0.25 * (j - middle)) for j in range(n)] for i in range(n)])
    values = points[:, 0] ** 3 - 2 * points[:, 0] * points[:, 1] + points[:, 1].exp()
    expected = (grid - grid.min()) / (grid.max() - grid.min())
    np.testing.assert_allclose(rescale(values, n).numpy(), expected, atol=1e-6)


def test_frame_maps_the_offsets(generator: torch.Generator) -> None:
    theta, frame = torch.randn(4, 2, generator=generator), torch.randn(4, 2, 2, generator=generator)
    delta = torch.rand(4, generator=generator)
    points = grid_points(theta, delta, 5, frame)
    for b in range(4):
        for k, offset in enumerate(grid_offsets(5).float()):
            torch.testing.assert_close(points[b, k], theta[b] + delta[b] * frame[b] @ offset)
    identity = torch.eye(2).expand(4, 2, 2)
    torch.testing.assert_close(grid_points(theta, delta, 5, identity), grid_points(theta, delta, 5))


def test_look_by_hand() -> None:
    values = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0]], dtype=torch.float64)
    sight = look(values, 3)
    torch.testing.assert_close(sight.grid.flatten(), values[0].float() / 9)
    assert sight.span.item() == 9
    assert sight.level.item() == pytest.approx(values.mean().item())  # of a 3 x 3 grid, all are central
    wide = torch.arange(25.0, dtype=torch.float64)[None]
    assert look(wide, 5).level.item() == pytest.approx(12)


finite = st.floats(-1e300, 1e300, allow_subnormal=False)
anything = st.one_of(finite, st.sampled_from([nan, inf, -inf, 0.0, 1.7e308, -1.7e308, 5e-324]))


@given(st.lists(anything, min_size=9, max_size=9))
def test_the_grid_is_always_in_range_and_never_nan(values: list[float]) -> None:
    sight = look(torch.tensor([values], dtype=torch.float64), 3)
    assert sight.grid.dtype == torch.float32
    assert ((sight.grid >= 0) & (sight.grid <= 1)).all()
    known = [v for v in values if math.isfinite(v)]
    if len(set(known)) > 1 and max(known) / 2 - min(known) / 2 > 0:
        where = torch.tensor([math.isfinite(v) for v in values])
        assert (sight.grid.flatten()[~where] == 1).all()
        assert sight.grid.flatten()[values.index(min(known))] == 0
    elif len(known) == 9 or not known:
        assert (sight.grid == 0.5).all() and sight.span.item() == 0


@given(
    st.lists(st.floats(-10, 10), min_size=9, max_size=9).filter(lambda v: max(v) - min(v) > 1e-3),
    st.floats(1e-6, 1e6),
    st.floats(-100, 100),
)
def test_a_f_plus_b_is_the_same_sight(values: list[float], a: float, b: float) -> None:
    plain = torch.tensor([values], dtype=torch.float64)
    one, other = look(plain, 3), look(a * plain + b, 3)
    rounding = 1e-5 + 1e-12 * abs(b) / a / float(one.span)
    torch.testing.assert_close(one.grid, other.grid, rtol=0, atol=rounding)
    assert other.span.item() == pytest.approx(a * one.span.item(), rel=1e-6 + rounding)


def test_level_and_span_of_a_whole_batch_are_those_of_its_members(generator: torch.Generator) -> None:
    values = torch.randn(6, 25, generator=generator, dtype=torch.float64)
    values[1, 3], values[2] = nan, 7.0
    together = look(values, 5)
    for b in range(6):
        alone = look(values[b : b + 1], 5)
        for x, y in zip(alone, together, strict=True):
            torch.testing.assert_close(x[0], y[b], equal_nan=True)
