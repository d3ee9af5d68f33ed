"""The quadratic fit, closed-form 2 x 2 algebra, and the frame that grows out of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rover.navigation.frame import MAX_CONDITION, MAX_RATIO, update_frame
from rover.navigation.grid import grid_offsets, rescale
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic, solve_2x2, symmetric_eigen


def matrices(generator: torch.Generator, count: int = 200) -> torch.Tensor:
    return torch.randn(count, 2, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n", [3, 5, 15])
def test_fit_is_exact_on_quadratics(n: int, generator: torch.Generator) -> None:
    u = grid_offsets(n) * 2 / (n - 1)
    a = matrices(generator, 1)[0]
    hessian, gradient = a + a.T, torch.tensor([0.7, -0.2], dtype=torch.float64)
    values = 3 + u @ gradient + 0.5 * ((u @ hessian) * u).sum(-1)
    fit = fit_quadratic(values.view(1, n, n))
    torch.testing.assert_close(fit.hessian[0], hessian)
    torch.testing.assert_close(fit.gradient[0], gradient)
    assert fit.constant.item() == pytest.approx(3) and fit.explained.item() == pytest.approx(1)


def test_fit_is_least_squares(generator: torch.Generator) -> None:
    grid = torch.rand(1, 7, 7, generator=generator, dtype=torch.float64)
    u, v = (grid_offsets(7) / 3).unbind(-1)
    basis = torch.stack([torch.ones_like(u), u, v, u * u / 2, u * v, v * v / 2], -1)
    expected = torch.linalg.lstsq(basis, grid.flatten()[:, None]).solution[:, 0]
    fit = fit_quadratic(grid)
    found = torch.cat([fit.constant, fit.gradient[0], fit.hessian[0].flatten()[[0, 1, 3]]])
    torch.testing.assert_close(found, expected)


def test_direction_of_the_fit() -> None:
    u = grid_offsets(5) / 2
    bowl = ((u - torch.tensor([0.5, 0.25])) ** 2 * torch.tensor([1.0, 10.0])).sum(-1).view(1, 5, 5)
    towards = torch.tensor([[0.5, 0.25]]).double()
    torch.testing.assert_close(fit_direction(fit_quadratic(bowl)), towards / towards.norm())
    saddle = (u[:, 0] + u[:, 0] ** 2 - 2 * u[:, 1] ** 2).view(1, 5, 5)
    torch.testing.assert_close(fit_direction(fit_quadratic(saddle)), torch.tensor([[-1.0, 0.0]]).double())
    assert (fit_direction(fit_quadratic(torch.zeros(1, 5, 5))) == 0).all()


def test_two_by_two_algebra_against_linalg(generator: torch.Generator) -> None:
    matrix, vector = matrices(generator), torch.randn(200, 2, generator=generator, dtype=torch.float64)
    adjugate, det = solve_2x2(matrix, vector)
    torch.testing.assert_close(adjugate / det[:, None], torch.linalg.solve(matrix, vector), rtol=1e-8, atol=1e-8)
    symmetric = matrix + matrix.mT
    values, vectors = symmetric_eigen(symmetric)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(symmetric))
    torch.testing.assert_close((vectors * values[:, None]) @ vectors.mT, symmetric)
    values, _ = symmetric_eigen(torch.zeros(1, 2, 2))
    assert (values == 0).all()


def grid_of(hessian: torch.Tensor, frame: torch.Tensor, n: int = 15) -> torch.Tensor:
    points = grid_offsets(n) @ frame.mT + torch.tensor([3.0, -1.0])
    return rescale(0.5 * ((points @ hessian) * points).sum(-1), n)


@pytest.mark.parametrize("condition", [1.0, 50.0, 1e4])
def test_the_frame_undoes_the_condition_of_a_bowl(condition: float) -> None:
    c, s = 0.8, 0.6
    rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    hessian = rotation @ torch.diag(torch.tensor([1.0, condition], dtype=torch.float64)) @ rotation.mT
    frame = torch.eye(2, dtype=torch.float64)[None]
    for _ in range(8):
        after = update_frame(frame, grid_of(hessian, frame[0])[None])
        assert torch.linalg.det(after).abs().item() == pytest.approx(1)
        assert torch.linalg.cond(torch.linalg.solve(frame, after)).item() <= MAX_RATIO**0.5 * (1 + 1e-6)
        frame = after
    assert torch.linalg.cond(frame.mT @ hessian @ frame).item() == pytest.approx(1, abs=0.3)


@given(st.integers(0, 10_000))
def test_the_frame_stays_sane_on_noise(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frame = torch.eye(2, dtype=torch.float64).expand(8, 2, 2)
    for _ in range(20):
        ridge = torch.linspace(-1, 1, 5)[:, None] ** 2 + 1e-3 * torch.rand(8, 5, 5, generator=generator)
        frame = update_frame(frame, rescale(ridge.flatten(1), 5))
    assert frame.isfinite().all()
    assert (frame.square().sum((-1, -2)) < MAX_CONDITION).all()


def test_the_frame_is_left_alone_where_the_fit_explains_nothing(generator: torch.Generator) -> None:
    frame = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    noise = torch.rand(2, 15, 15, generator=generator)
    assert (update_frame(frame, noise) == frame).all()
    assert (update_frame(frame, torch.full((2, 15, 15), 0.5)) == frame).all()
    bowl = grid_of(torch.diag(torch.tensor([1.0, 9.0])).double(), frame[0]).expand(2, 15, 15)
    assert (update_frame(frame, bowl, "none") == frame).all()
    with pytest.raises(ValueError, match="`rule` must be one of"):
        update_frame(frame, bowl, "cubic")
