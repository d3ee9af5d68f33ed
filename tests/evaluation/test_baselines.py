"""Baselines: exact where mathematics says so, equal to the libraries that do the work, and honest in counting."""

import cma
import numpy as np
import pytest
import scipy.optimize
import torch

from rover.evaluation.baselines import BATCHED, METHODS, run
from rover.evaluation.baselines_gradient import gradient_and_hessian, newton_direction, value_and_gradient
from rover.evaluation.baselines_population import cma_es
from rover.landscapes import sample_prototypes
from rover.landscapes.suite import function_names, suite
from rover.landscapes.test_functions import TEST_FUNCTIONS
from rover.landscapes.transforms import Noisy, as_objective

QUICK = {"random_search": {"popsize": 20}, "cma_es": {"popsize": 8}}


def prototypes(count: int = 8, seed: int = 0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    problem = sample_prototypes(count, generator, **kwargs)
    return problem, problem.sample_starts(generator)


@pytest.fixture
def rosenbrock():
    problem = TEST_FUNCTIONS["rosenbrock"](batch_size=1)
    return problem, problem.start


@pytest.mark.parametrize("method", METHODS)
def test_contract(method):
    problem, start = prototypes()
    result = run(method, problem, start, rounds=7, seed=3, **QUICK.get(method, {}))
    assert result.method == method
    assert len(result) == 8 and result.rounds == 7
    start_gap = (problem(start[:, None])[:, 0] - problem.minimum).numpy()
    np.testing.assert_allclose(result.best[:, 0], start_gap)
    assert (np.diff(result.best, axis=1) <= 0).all(), "without noise the best point can only get better"
    assert (result.best <= result.current * (1 + 1e-12)).all() or method in ("cma_es", "restarted_cma_es")
    assert (np.diff(result.evaluations, axis=1) >= 0).all() and (np.diff(result.seconds, axis=1) >= 0).all()
    assert (result.evaluations[:, 0] == 1).all()
    assert (result.derivatives[:, -1] > 0).all() == (method in BATCHED)


@pytest.mark.parametrize("method", sorted(set(METHODS) - BATCHED))
def test_the_seed_decides_and_the_global_state_is_left_alone(method):
    problem, start = prototypes(4)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    torch_before = torch.get_rng_state()

    def final(seed):
        options = {"rounds": 6, "seed": seed, "noisy": True, **QUICK.get(method, {})}
        return run(method, problem, start, **options).best[:, -1]

    np.testing.assert_array_equal(final(5), final(5))
    assert (final(5) != final(6)).any()
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    assert torch.equal(torch_before, torch.get_rng_state())


@pytest.mark.parametrize("method", METHODS)
def test_an_evaluation_budget_is_never_passed(method):
    problem, start = prototypes(4)
    result = run(method, problem, start, rounds=200, max_evaluations=40, **QUICK.get(method, {}))
    assert result.evaluations.max() <= 40
    assert result.evaluations.max() > 15


@pytest.mark.parametrize("method", METHODS)
def test_bounds_hold_where_the_function_falls_outside(method):
    """McCormick is unbounded below outside its box: a method that leaves it would be caught by an infinite gap."""
    problem = TEST_FUNCTIONS["mccormick"](batch_size=1)
    result = run(method, problem, problem.start, rounds=30, bounded=True, **QUICK.get(method, {}))
    assert np.isfinite(result.current).all()


def test_newton_solves_a_quadratic_in_one_step():
    problem, start = prototypes(32, modalities=("quadratic",))
    result = run("newton", problem, start, rounds=1)
    assert (result.best[:, 1] <= 1e-20 * result.best[:, 0]).all()
    assert (result.derivatives[:, 1] == 3).all() and (result.evaluations[:, 1] == 2).all()


def test_gradient_descent_on_a_quadratic_is_the_closed_form():
    problem, start = prototypes(6, modalities=("quadratic",))
    result = run("gradient_descent", problem, start, rounds=5, lr=0.01)
    hessian = 2 * problem.factor.mT @ problem.factor
    step = torch.matrix_power(torch.eye(2, dtype=torch.float64) - 0.01 * hessian, 5)
    end = problem.minimizer + (step @ (start - problem.minimizer)[..., None])[..., 0]
    np.testing.assert_allclose(result.current[:, 5], problem(end[:, None])[:, 0].numpy(), rtol=1e-9)


def test_nesterov_agrees_with_torch_sgd():
    """Torch holds the look-ahead point of the same method; without momentum it is gradient descent."""
    problem, start = prototypes(4)
    plain = run("gradient_descent", problem, start, rounds=6, lr=0.05).current
    np.testing.assert_allclose(run("nesterov", problem, start, rounds=6, lr=0.05, momentum=0.0).current, plain)
    ahead = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([ahead], lr=0.05, momentum=0.9, nesterov=True)
    for _ in range(6):
        optimizer.zero_grad()
        problem(ahead[:, None]).sum().backward()
        optimizer.step()
    velocity = -0.05 * optimizer.state[ahead]["momentum_buffer"]
    theta = ahead.detach() - 0.9 * velocity  # look-ahead = theta + momentum * velocity
    expected = (problem(theta[:, None])[:, 0] - problem.minimum).numpy()
    np.testing.assert_allclose(run("nesterov", problem, start, rounds=6, lr=0.05).current[:, 6], expected, rtol=1e-9)


def test_derivatives_agree_with_finite_differences():
    problem, start = prototypes(8)
    value, gradient = value_and_gradient(problem, start)
    again, hessian = gradient_and_hessian(problem, start)
    torch.testing.assert_close(gradient, again)
    h = 1e-5
    for i in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[i] = h
        up, down = value_and_gradient(problem, start + step), value_and_gradient(problem, start - step)
        torch.testing.assert_close(gradient[:, i], (up[0] - down[0]) / (2 * h), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(hessian[:, :, i], (up[1] - down[1]) / (2 * h), rtol=1e-5, atol=1e-7)


def test_newton_survives_every_hessian():
    hessians = {
        "positive": [[2.0, 0.0], [0.0, 4.0]],
        "indefinite": [[2.0, 0.0], [0.0, -4.0]],
        "singular": [[2.0, 0.0], [0.0, 0.0]],
        "zero": [[0.0, 0.0], [0.0, 0.0]],
        "denormal": [[1e-310, 0.0], [0.0, 1e-310]],
        "infinite": [[np.inf, 0.0], [0.0, 1.0]],
        "nan": [[np.nan, 0.0], [0.0, 1.0]],
    }
    hessian = torch.tensor(list(hessians.values()), dtype=torch.float64)
    gradient = torch.tensor([[2.0, 4.0]], dtype=torch.float64).expand(len(hessian), 2)
    raw = dict(zip(hessians, newton_direction(gradient, hessian, absolute=False), strict=True))
    free = dict(zip(hessians, newton_direction(gradient, hessian, absolute=True), strict=True))
    torch.testing.assert_close(raw["positive"], torch.tensor([-1.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(raw["indefinite"], torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(free["indefinite"], torch.tensor([-1.0, -1.0], dtype=torch.float64))
    assert raw["singular"].isfinite().all()
    for name in ("zero", "infinite", "nan"):
        assert (raw[name] == 0).all() and (free[name] == 0).all()


def test_a_function_without_curvature_does_not_stop_newton():
    """|x| + |y| has a gradient that autograd cannot differentiate again: Newton has nowhere to go."""
    (problem,) = suite("tuning", instances=1, functions=["schwefel_220"])
    start = torch.as_tensor(problem.start)[None]
    assert (gradient_and_hessian(problem.landscape, start)[1] == 0).all()
    result = run("newton", problem.landscape, start, rounds=3, absolute=True)
    assert (result.current == result.current[:, :1]).all()


@pytest.mark.parametrize("function", function_names("evaluation"))
def test_every_function_of_the_suite_has_derivatives(function):
    """Against central differences, at a place where the function is smooth."""
    (problem,) = suite("evaluation", instances=1, functions=[function])
    theta = torch.as_tensor(problem.start)[None]
    gradient, hessian = gradient_and_hessian(problem.landscape, theta)
    assert gradient.isfinite().all() and hessian.isfinite().all()
    step = 1e-6 * torch.diag_embed(problem.landscape.upper - problem.landscape.lower)  # (1, 2, 2), a row an axis
    rise = problem.landscape.mean(theta[:, None] + step) - problem.landscape.mean(theta[:, None] - step)
    expected = rise / (2 * step.sum(-1))
    if function != "step_ellipsoid":  # whose steps have no slope
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-9 * problem.gap_scale / float(step.max()))


def test_one_hopeless_instance_does_not_spoil_the_batch():
    problem, start = prototypes(4)
    far = start.clone()
    far[3] = 1e5  # every exponential underflows: gradient and Hessian are exactly zero
    together = run("newton", problem, far, rounds=5)
    np.testing.assert_array_equal(together.best[:3], run("newton", problem, start, rounds=5).best[:3])
    assert (together.current[3] == together.current[3, 0]).all()


@pytest.mark.parametrize(
    ("method", "name"), [("nelder_mead", "Nelder-Mead"), ("powell", "Powell"), ("cobyqa", "COBYQA")]
)
def test_scipy_gives_what_it_gives_directly(rosenbrock, method, name):
    problem, start = rosenbrock
    budget = 60
    result = run(method, problem, start, rounds=10_000, max_evaluations=budget)
    values = []

    def counted(x):
        if len(values) == budget:
            raise StopIteration
        values.append(float(as_objective(problem)(x[None])[0]))
        return values[-1]

    options = {
        "nelder_mead": {"xatol": 0, "fatol": 0},
        "powell": {"direc": 0.5 * np.eye(2), "xtol": 1e-6, "ftol": 1e-15},
        "cobyqa": {"initial_tr_radius": 0.5, "final_tr_radius": 5e-11},
    }[method]
    with pytest.raises(StopIteration):
        scipy.optimize.minimize(counted, start[0].numpy(), method=name, options=options)
    assert result.evaluations[0, -1] == budget
    assert result.best[0, -1] == min(values)


def test_nelder_mead_by_iterations_is_scipys(rosenbrock):
    problem, start = rosenbrock
    result = run("nelder_mead", problem, start, rounds=40)
    options = {"maxiter": 40, "xatol": 0, "fatol": 0}
    direct = scipy.optimize.minimize(
        lambda x: float(as_objective(problem)(x[None])[0]), start[0].numpy(), method="Nelder-Mead", options=options
    )
    assert direct.nit == 40
    assert result.best[0, -1] == direct.fun and result.evaluations[0, -1] == direct.nfev


def test_differential_evolution_is_scipys(rosenbrock):
    problem, start = rosenbrock
    result = run("differential_evolution", problem, start, rounds=11, seed=4)
    direct = scipy.optimize.differential_evolution(
        lambda x: as_objective(problem)(x.T),
        [(-5, 5), (-5, 5)],
        x0=start[0].numpy(),
        maxiter=10,
        tol=0,
        polish=False,
        updating="deferred",
        vectorized=True,
        rng=np.random.default_rng([4, 0]),
    )
    assert result.best[0, -1] == direct.fun
    assert result.evaluations[0, -1] == 30 * direct.nfev + 1  # SciPy counts batches; and the start


def test_cma_is_pycmas(rosenbrock):
    problem, start = rosenbrock
    result = cma_es(problem, start, rounds=25, seed=7, sigma=0.1, popsize=9)
    rng = np.random.default_rng([7, 0])
    options = {"popsize": 9, "seed": np.nan, "randn": lambda *s: rng.standard_normal(s), "verbose": -9}
    strategy = cma.CMAEvolutionStrategy(start[0].numpy(), 1.0, options)
    for _ in range(25):
        points = strategy.ask()
        strategy.tell(points, as_objective(problem)(np.asarray(points)).tolist())
    assert result.best[0, -1] == pytest.approx(min(strategy.result.fbest, result.best[0, 0]), rel=1e-6)
    assert result.evaluations[0, -1] == 25 * 9 + 1


def test_restarts_find_what_one_run_cannot():
    problem = TEST_FUNCTIONS["styblinski"](batch_size=4)
    options = {"rounds": 10_000, "max_evaluations": 1500, "bounded": True, "size": 0.05}
    once = run("nelder_mead", problem, problem.start, **options)
    again = run("restarted_nelder_mead", problem, problem.start, **options)
    assert (once.best[:, -1] > 1).all() and (again.best[:, -1] < 1e-6).all()


def test_noise_is_seen_by_the_method_and_not_by_the_curve():
    base = TEST_FUNCTIONS["rosenbrock"](batch_size=16)
    problem = Noisy(base, torch.full((16,), 1.0, dtype=torch.float64))
    result = run("nelder_mead", problem, base.start, rounds=30, noisy=True, seed=1)
    assert len(set(result.best[:, -1].tolist())) > 8, "each instance has its own noise"
    assert (result.best >= 0).all()
    assert (np.diff(result.best, axis=1) > 0).any(), "the best observed is not always better"
    np.testing.assert_array_equal(
        run("nelder_mead", problem, base.start, rounds=30).best, run("nelder_mead", base, base.start, rounds=30).best
    )


def test_bad_input_is_named():
    problem, start = prototypes(4)
    with pytest.raises(ValueError, match="did you mean 'nelder_mead'"):
        run("nelder_meed", problem, start, rounds=1)
    with pytest.raises(ValueError, match=r"`start` must have shape \(4, 2\)"):
        run("newton", problem, start[:2], rounds=1)
