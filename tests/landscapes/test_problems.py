"""Problems in more than two dimensions, against SciPy's functions, scikit-learn and torch.nn modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import rosen, rosen_der, rosen_hess
from torch import nn

from rover.landscapes import problems
from rover.landscapes.problems import (
    LinearClassification,
    NetworkClassification,
    QuadraticProblem,
    RosenbrockProblem,
    digits,
    iris,
)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


MAKERS = {
    "quadratic": lambda: QuadraticProblem(7, gen()),
    "rosenbrock": lambda: RosenbrockProblem(5),
    "linear": lambda: LinearClassification(8, seed=0),
    "iris": iris,
    "iris-relu": lambda: iris("relu"),
    "digits": lambda: digits(hidden=4, samples=60),
}
every_problem = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def module_of(problem: NetworkClassification, activation: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(problem.sizes, problem.sizes[1:], strict=False):
        layers += [nn.Linear(fan_in, fan_out), activation]
    return nn.Sequential(*layers[:-1]).double()


@every_problem
def test_contract(make):
    problem = make()
    starts = problem.sample_starts(6, gen())
    assert starts.shape == (6, problem.dim) and starts.dtype == torch.float64
    assert (starts == problem.sample_starts(6, gen())).all() and (starts != problem.sample_starts(6, gen(1))).any()
    values = problem(starts.numpy())
    assert isinstance(values, np.ndarray) and values.shape == (6,) and values.dtype == np.float64
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(problem(starts).numpy(), values)
    np.testing.assert_allclose([problem(s[None]).item() for s in starts], values, rtol=1e-12)
    assert sorted(i for block in problem.blocks for i in block) == list(range(problem.dim))
    for bad in (np.zeros(problem.dim), np.zeros((2, problem.dim + 1))):
        with pytest.raises(ValueError, match=rf"`points` must have shape \(m, {problem.dim}\)"):
            problem(bad)


@every_problem
def test_slices_change_nothing(make, monkeypatch):
    problem = make()
    starts = problem.sample_starts(33, gen())
    expected = problem(starts)
    monkeypatch.setattr(problems, "_CACHE_BYTES", 8 * problem.floats_per_point * 5)
    torch.testing.assert_close(problem(starts), expected, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(problems, "_CACHE_BYTES", 1)
    torch.testing.assert_close(problem(starts[:3]), expected[:3], rtol=1e-12, atol=1e-12)


@every_problem
def test_gradient_and_hessian_agree_with_finite_differences(make):
    problem = make()
    x = problem.sample_starts(2, gen(3))
    gradient, axes = problem.gradient(x), torch.randperm(problem.dim, generator=gen())[:6]
    hessian = problem.hessian(x[:1])[0]
    assert gradient.shape == x.shape and hessian.shape == (problem.dim, problem.dim)
    torch.testing.assert_close(hessian, hessian.mT, rtol=1e-9, atol=1e-12)
    for axis in axes:
        step = torch.zeros(problem.dim, dtype=torch.float64)
        step[axis] = 1e-5
        slope = (problem(x + step) - problem(x - step)) / 2e-5
        torch.testing.assert_close(slope, gradient[:, axis], rtol=1e-5, atol=1e-7)
        row = (problem.gradient(x[:1] + step) - problem.gradient(x[:1] - step))[0] / 2e-5
        torch.testing.assert_close(row, hessian[axis], rtol=1e-4, atol=1e-5)


def test_rosenbrock_is_scipys():
    problem = RosenbrockProblem(6)
    x = problem.sample_starts(4, gen())
    np.testing.assert_allclose(problem(x.numpy()), [rosen(row) for row in x.numpy()], rtol=1e-12)
    np.testing.assert_allclose(problem.gradient(x), [rosen_der(row) for row in x.numpy()], rtol=1e-10)
    np.testing.assert_allclose(problem.hessian(x)[1], rosen_hess(x[1].numpy()), rtol=1e-10)
    assert problem(problem.minimizer[None]).item() == problem.minimum == 0


def test_quadratic_has_its_condition_and_minimum():
    problem = QuadraticProblem(9, gen(), condition=1e4)
    eigen = torch.linalg.eigvalsh(problem.hessian(problem.minimizer[None])[0])
    assert (eigen[-1] / eigen[0]).item() == pytest.approx(1e4, rel=1e-8)
    assert problem(problem.minimizer[None]).item() == 0 == problem.minimum


@pytest.mark.parametrize("dim", [10, 30, 100])
def test_linear_classification_is_logistic_regression(dim):
    from sklearn.linear_model import LogisticRegression

    problem = LinearClassification(dim, seed=1)
    weights = problem.sample_starts(3, gen())
    logits = problem.features @ weights.mT
    expected = [
        nn.functional.binary_cross_entropy_with_logits(logits[:, i], problem.labels).item() for i in range(len(weights))
    ]
    np.testing.assert_allclose(problem(weights.numpy()), expected, rtol=1e-12)
    assert (
        problem.features.mean(0).abs().max() < 1e-12 and (problem.features.std(0, correction=0) - 1).abs().max() < 1e-12
    )
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=2000)
    oracle.fit(problem.features.numpy(), problem.labels.numpy())
    assert problem.minimum <= problem(oracle.coef_).item() <= problem.minimum + 1e-9
    np.testing.assert_allclose(problem.minimizer.numpy(), oracle.coef_[0], atol=1e-3)
    assert 0.2 < problem.minimum < np.log(2), "the classes must be neither separable nor hopeless"


@pytest.mark.parametrize(("name", "activation"), [("tanh", nn.Tanh()), ("relu", nn.ReLU())])
def test_network_is_the_torch_module(name, activation):
    """Same numbers, same order of parameters (so that a flat vector of a module's parameters is a point)."""
    problem = iris(name)
    module = module_of(problem, activation)
    points = problem.sample_starts(4, gen())
    for point in points:
        nn.utils.vector_to_parameters(point, module.parameters())
        logits = module(problem.features)
        expected = nn.functional.cross_entropy(logits, problem.labels)
        assert problem(point[None]).item() == pytest.approx(expected.item(), rel=1e-12)
        accuracy = (logits.argmax(-1) == problem.labels).double().mean().item()
        assert problem.accuracy(point[None]).item() == pytest.approx(accuracy)
    gradient = torch.autograd.grad(expected, list(module.parameters()))
    torch.testing.assert_close(
        problem.gradient(points[-1:])[0], torch.cat([g.flatten() for g in gradient]), rtol=1e-9, atol=1e-12
    )


def test_large_logits_do_not_overflow():
    problem = iris("relu")
    assert np.isfinite(problem(1e4 * problem.sample_starts(3, gen()).numpy())).all()
    linear = LinearClassification(10, seed=0)
    assert np.isfinite(linear(1e6 * linear.sample_starts(3, gen()).numpy())).all()


def test_sizes_are_the_papers():
    problem = iris()
    assert problem.dim == 193 and problem.sizes == (4, 10, 10, 3) and problem.features.shape == (150, 4)
    assert [len(block) for block in problem.blocks] == [50, 110, 33]
    big = digits()
    assert big.dim == 2410 and len(big.labels) == 1797
    assert digits(samples=100).features.shape == (100, 64)
    assert (digits(samples=100, seed=1).labels != digits(samples=100).labels).any()


def test_network_with_a_missing_class_in_the_middle_keeps_its_outputs():
    problem = NetworkClassification(torch.randn(4, 3, generator=gen()).double(), torch.tensor([0, 2, 2, 0]), (5,))
    assert problem.sizes == (3, 5, 3) and problem.dim == 5 * 4 + 3 * 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RosenbrockProblem(1), "`dim` must be at least 2, got 1"),
        (lambda: QuadraticProblem(3, gen(), condition=0.1), "`condition` must be at least 1"),
        (lambda: LinearClassification(3, seed=0), "`dim` must be at least 4, got 3"),
        (lambda: digits(samples=5000), "`samples` must be 1 to 1797, got 5000"),
        (lambda: iris("gelu"), r"`activation` must be one of \('tanh', 'relu'\), got 'gelu'"),
    ],
)
def test_bad_sizes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
