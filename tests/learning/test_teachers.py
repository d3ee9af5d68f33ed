"""Teachers against finite differences, a linear solver and the definition of "best"."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rover.landscapes import MODALITIES, Landscape, sample_prototypes
from rover.learning.teachers import derivatives, gradient_step, line_search, newton_step, teach


class Bowl(Landscape):
    """``scale * (x - m)' diag(c) (x - m) / 2 + offset``."""

    def __init__(self, curvature: Tensor, minimizer: Tensor, scale: float = 1.0, offset: float = 0.0) -> None:
        self.curvature, self.minimizer = curvature, minimizer
        self.scale, self.minimum = scale, torch.full((len(minimizer),), offset, dtype=minimizer.dtype)
        self.lower, self.upper = minimizer - 5, minimizer + 5

    def mean(self, points: Tensor) -> Tensor:
        z = points - self.minimizer[:, None]
        return self.scale * 0.5 * (self.curvature[:, None] * z.square()).sum(-1) + self.minimum[:, None]


@pytest.mark.parametrize("modality", MODALITIES)
def test_derivatives_agree_with_central_differences(modality: str, generator: torch.Generator) -> None:
    landscape = sample_prototypes(32, generator, [modality])
    theta = landscape.sample_starts(generator)
    value, gradient, hessian = derivatives(landscape, theta)

    h = 1e-3
    moves = h * torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1], [1, -1], [-1, 1]], dtype=theta.dtype)
    f = landscape.mean(theta[:, None] + moves)
    assert torch.equal(value, landscape.mean(theta[:, None])[:, 0])
    scale = gradient.abs().max() + hessian.abs().max()
    expected = torch.stack([f[:, 0] - f[:, 1], f[:, 2] - f[:, 3]], -1) / (2 * h)
    assert (gradient - expected).abs().max() < 1e-4 * scale
    second = torch.stack([f[:, 0] + f[:, 1], f[:, 2] + f[:, 3]], -1) - 2 * value[:, None]
    assert (hessian.diagonal(dim1=-2, dim2=-1) - second / h**2).abs().max() < 1e-4 * scale
    mixed = (f[:, 4] + f[:, 5] - f[:, 6] - f[:, 7]) / (4 * h**2)
    assert (hessian[:, 0, 1] - mixed).abs().max() < 1e-4 * scale
    assert torch.equal(hessian, hessian.mT)


def test_newton_step_solves_the_system_of_the_absolute_hessian(generator: torch.Generator) -> None:
    factor = torch.randn(500, 2, 2, generator=generator, dtype=torch.float64)
    hessian = factor @ factor.mT + 0.1 * torch.eye(2, dtype=torch.float64)
    hessian[::2] -= 3 * torch.eye(2, dtype=torch.float64)  # indefinite ones too
    gradient = torch.randn(500, 2, generator=generator, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(hessian)
    assert 50 < (values[:, 0] < 0).sum() < 300
    absolute = vectors @ torch.diag_embed(values.abs()) @ vectors.mT
    expected = -torch.linalg.solve(absolute, gradient)
    near = expected.norm(dim=-1) < 10
    assert near.sum() > 400
    torch.testing.assert_close(newton_step(gradient, hessian)[near], expected[near], rtol=1e-6, atol=1e-8)
    assert ((newton_step(gradient, hessian) * gradient).sum(-1) < 0).all()  # a way down, always

    plain = -torch.linalg.solve(hessian, gradient)  # the paper's
    step = newton_step(gradient, hessian, saddle_free=False)
    torch.testing.assert_close(step[near], plain[near], rtol=1e-6, atol=1e-8)
    assert ((step * gradient).sum(-1) > 0).sum() > 10  # it climbs at times


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30])
def test_newton_step_is_finite_whatever_the_hessian(scale: float) -> None:
    zero, one, rank_one = torch.zeros(2, 2), torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    hessian = scale * torch.stack([zero, one, -one, rank_one, -rank_one, one.flip(0)]).double()
    for gradient in ([0.0, 0.0], [1.0, 0.0], [1e-300, 1e-300], [1e30, -1e30]):
        step = newton_step(torch.tensor(gradient, dtype=torch.float64).expand(6, 2), hessian)
        assert step.isfinite().all()
        assert (step.norm(dim=-1) <= 1e3 * (1 + 1e-9)).all()


def test_gradient_step_is_a_unit_step_downhill() -> None:
    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -1e-100]], dtype=torch.float64)
    expected = torch.tensor([[-0.6, -0.8], [0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient_step(gradient), expected)


def test_line_search_takes_the_best_of_the_ladder() -> None:
    bowl = Bowl(torch.ones(2, 2).double(), torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double())
    theta = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).double()
    step = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]).double()
    factor, value = line_search(bowl, theta, step, torch.tensor([0.5, 1.0, 2.0, 4.0]).double())
    assert factor.tolist() == [2.0, 1.0]
    assert value.tolist() == [0.0, 0.0]


def test_on_a_bowl_newton_is_the_better_teacher_and_hits_the_minimum() -> None:
    curvature = torch.tensor([[1.0, 50.0], [2.0, 0.1]]).double()
    bowl = Bowl(curvature, torch.tensor([[3.0, -1.0], [0.0, 0.0]]).double())
    theta = torch.tensor([[-2.0, 4.0], [1.0, 9.0]]).double()
    lesson = teach(bowl, theta)
    assert lesson.newton.all()
    torch.testing.assert_close(theta + lesson.step, bowl.minimizer)


@pytest.mark.parametrize(("scale", "offset"), [(1e6, -3.0), (1e-6, 0.0), (2.0, 1e3)])
def test_the_lesson_does_not_depend_on_the_scale_and_offset_of_f(scale: float, offset: float) -> None:
    curvature = torch.tensor([[1.0, 20.0], [-1.0, 3.0], [-1.0, -2.0]]).double()  # a bowl, a saddle, a hill
    minimizer, theta = torch.zeros(3, 2).double(), torch.tensor([[2.0, 1.0], [0.5, 2.0], [0.3, 0.4]]).double()
    plain, other = teach(Bowl(curvature, minimizer), theta), teach(Bowl(curvature, minimizer, scale, offset), theta)
    torch.testing.assert_close(other.step, plain.step, rtol=1e-6, atol=1e-6)
    assert torch.equal(other.newton, plain.newton)


def test_the_lesson_is_the_better_of_both_teachers(generator: torch.Generator) -> None:
    landscape = sample_prototypes(400, generator)
    theta = landscape.sample_starts(generator)
    lesson = teach(landscape, theta)
    here, gradient, hessian = derivatives(landscape, theta)
    reached = landscape.mean((theta + lesson.step)[:, None])[:, 0]
    torch.testing.assert_close(here - reached, lesson.gain)

    # The definition again, with ladders of our own that are subsets of the teachers'.
    lengths = torch.tensor([1e-3, 1e-2, 1e-1, 1.0, 10.0], dtype=torch.float64)
    downhill = line_search(landscape, theta, gradient_step(gradient), lengths)[1]
    newton = line_search(landscape, theta, newton_step(gradient, hessian), torch.tensor([0.5, 1.0, 2.0]).double())[1]
    tolerance = 1e-9 * (1 + here.abs())
    assert (reached <= torch.minimum(downhill, newton) + tolerance).all()
    assert lesson.newton[landscape.modality == 0].all()
    assert 0.01 < lesson.newton[landscape.modality > 0].double().mean() < 0.9  # both teachers are needed


def test_where_no_teacher_knows_a_way_down_the_gain_says_so() -> None:
    bowl = Bowl(torch.ones(1, 2).double(), torch.zeros(1, 2).double())
    lesson = teach(bowl, torch.zeros(1, 2).double())
    assert lesson.step.isfinite().all()
    assert lesson.gain.item() <= 0
