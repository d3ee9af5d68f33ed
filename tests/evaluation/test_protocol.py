"""Jobs: tuned on other instances than judged, cached, the same in one process or several; the rover beside them."""

import numpy as np
import pytest
import torch

from rover.evaluation.experiments import suite
from rover.evaluation.navigate import navigate
from rover.evaluation.protocol import (
    Entrant,
    Job,
    execute,
    fingerprint,
    perturbed_starts,
    repeat,
    run_entrant,
    run_job,
    uniform_starts,
)
from rover.evaluation.rover_runner import draw_lengths, run_minimize, run_navigator, weights_digest, with_frame
from rover.landscapes import sample_prototypes
from rover.landscapes.test_functions import TEST_FUNCTIONS
from rover.landscapes.transforms import Noisy
from rover.networks import NetworkConfig
from rover.policy import Policy, PolicyConfig


def draw(count, seed, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    problem = sample_prototypes(count, generator, **kwargs)
    return problem, problem.sample_starts(generator)


@pytest.fixture
def policy_file(tmp_path):
    torch.manual_seed(0)
    small = NetworkConfig(grid_size=5, channels=(4, 4), hidden_size=16)
    path = tmp_path / "small.safetensors"
    Policy(PolicyConfig(angle=small, actor=small, memory_size=8)).save(path)
    return str(path)


def test_tuning_happens_on_the_tuning_set():
    """On bowls, the best rate of gradient descent follows from the largest curvature: it must fit the tuning bowls."""
    judged, start = draw(4, 0, modalities=("quadratic",))
    tuning, tuning_start = draw(4, 1, modalities=("quadratic",))
    tuning.factor, tuning.root = 10 * judged.factor, 10 * judged.root  # a hundred times the curvature
    tuning.minimizer, tuning_start = judged.minimizer, start
    entrant = Entrant("gradient_descent", grid={"lr": [0.05, 0.0005]})
    job = Job(entrant, judged, start, {"rounds": 10, "seed": 0}, (tuning, tuning_start))
    assert run_job(job).hyper["lr"] == 0.0005
    assert run_job(Job(entrant, judged, start, job.options, (judged, start))).hyper["lr"] == 0.05
    with pytest.raises(ValueError, match="needs a tuning problem"):
        run_job(Job(entrant, judged, start, job.options))


def test_the_clock_is_read_on_one_run_alone():
    problem, start = draw(64, 0)
    run = run_job(Job(Entrant("newton"), problem, start, {"rounds": 5, "seed": 0}))
    assert (run.seconds == run.seconds[:1]).all() and (np.diff(run.seconds[0]) > 0).all()


@pytest.mark.slow
def test_processes_change_nothing(tmp_path):
    problem, start = draw(4, 0)
    jobs = [
        Job(Entrant(m), problem, start, {"rounds": 4, "seed": 3, "noisy": True})
        for m in ("cma_es", "nelder_mead", "newton")
    ]
    one, two = execute(jobs), execute(jobs, workers=2, cache=tmp_path)
    for a, b in zip(one, two, strict=True):
        assert a.method == b.method
        np.testing.assert_array_equal(a.best, b.best)
    assert len(list(tmp_path.glob("*.npz"))) == 6  # and three for Newton's clock


def test_a_cached_job_is_not_run_again(tmp_path, monkeypatch):
    problem, start = draw(4, 0)
    job = Job(Entrant("nelder_mead"), problem, start, {"rounds": 4, "seed": 3})
    first = run_job(job, str(tmp_path))
    monkeypatch.setattr("rover.evaluation.protocol.run_entrant", lambda *a, **k: pytest.fail("was run again"))
    np.testing.assert_array_equal(run_job(job, str(tmp_path)).seconds, first.seconds)


def test_a_fingerprint_sees_what_defines_a_problem():
    problem, start = draw(4, 0)
    assert fingerprint(problem, start) == fingerprint(*draw(4, 0))
    assert fingerprint(problem, start) != fingerprint(*draw(4, 1))
    assert fingerprint(problem, start) != fingerprint(problem, start + 1e-9)
    changed = problem.select(slice(None))
    changed.noise_scale = problem.noise_scale + 1
    assert fingerprint(problem, start) != fingerprint(changed, start)


def test_a_fingerprint_sees_an_edited_formula(monkeypatch):
    problem, start = draw(4, 0)
    before = fingerprint(problem, start)
    monkeypatch.setattr(type(problem), "mean_and_std", lambda self, points: (self.mean(points), points[..., 0]))
    noise_edited = fingerprint(problem, start)
    mean = type(problem).mean
    monkeypatch.setattr(type(problem), "mean", lambda self, points: mean(self, points) * 1.0001)
    assert len({before, noise_edited, fingerprint(problem, start)}) == 3


def test_entrants_are_checked():
    with pytest.raises(ValueError, match="`method` must be one of"):
        Entrant("gradient")
    with pytest.raises(ValueError, match="no hyper-parameter 'learning_rate'"):
        Entrant("newton", {"learning_rate": 1})
    assert Entrant("navigator", {"policy": "no such policy"}).missing_policy == "no such policy"
    assert Entrant("newton").missing_policy is None


def test_starts():
    problem = TEST_FUNCTIONS["beale"](batch_size=500)
    generator = torch.Generator().manual_seed(0)
    start = uniform_starts(problem, generator)
    assert (start >= problem.lower).all() and (start <= problem.upper).all()
    assert start.std(0).allclose((problem.upper - problem.lower)[0] / 12**0.5, rtol=0.1)
    near = perturbed_starts(problem.start, 0.1, generator)
    assert (near - problem.start).std() == pytest.approx(0.1, rel=0.1)
    one = repeat(draw(4, 0)[0], 2, 3)
    assert one.batch_size == 3 and (one.minimizer == draw(4, 0)[0].minimizer[2]).all()


def test_the_navigator_keeps_the_books_of_navigate(policy_file):
    from rover.policy import load

    problem, start = draw(6, 0)
    run = run_navigator(problem, start, rounds=5, seed=2, policy=policy_file)
    generator = torch.Generator()
    from rover.evaluation.runs import stream_seed

    alpha, half_width = draw_lengths(6, (0.01, 10.0), (0.05, 15.0), generator.manual_seed(stream_seed(2, 0)))
    path = navigate(load(policy_file), problem, start, alpha, half_width / 2, 5)
    np.testing.assert_allclose(run.current, path.gap.T.numpy())
    # `path` also counts the point not yet evaluated; the two evaluate grids on different ways, equal up to rounding.
    assert (run.best[:, 1:] >= path.best_gap.T.numpy()[:, 1:] - 1e-9).all()
    assert (run.evaluations[0] == 1 + 25 * np.arange(6)).all()
    assert (np.diff(run.best, axis=1) <= 0).all()


def test_the_navigator_budget_noise_and_frame(policy_file):
    problem, start = draw(6, 0)
    assert run_navigator(problem, start, rounds=99, policy=policy_file, max_evaluations=80).evaluations.max() == 76
    noisy = run_navigator(problem, start, rounds=4, policy=policy_file, noisy=True)
    np.testing.assert_array_equal(noisy.best, noisy.current)  # it returns where it stands
    from rover.policy import load

    policy = load(policy_file)
    other = with_frame(policy, "none")
    assert other.config.frame == "none" and with_frame(policy, None) is policy
    assert weights_digest(policy_file) == weights_digest(policy_file)


def test_initial_lengths_are_log_uniform_in_their_ranges():
    alpha, delta = draw_lengths(4000, (0.1, 10.0), (0.01, 0.04), torch.Generator().manual_seed(0))
    assert alpha.min() >= 0.1 and alpha.max() <= 10 and delta.min() >= 0.01 and delta.max() <= 0.04
    assert (alpha < 1).double().mean() == pytest.approx(0.5, abs=0.03)


def test_minimize_in_the_same_books(policy_file):
    """What the ledger counts and keeps is what ``rover.minimize`` reports when called directly."""
    import rover
    from rover.landscapes.transforms import as_objective

    problem = TEST_FUNCTIONS["mccormick"](batch_size=2)
    run = run_minimize(problem, problem.start, rounds=6, seed=1, policy=policy_file, bounded=True)
    assert run.rounds == 6 and np.isfinite(run.current).all()
    assert (np.diff(run.best, axis=1) <= 0).all()
    direct = rover.minimize(
        as_objective(problem),
        problem.start[0].numpy(),
        bounds=[(-1.5, 4.0), (-3.0, 4.0)],
        batched=True,
        maxiter=6,
        xatol=0,
        fatol=0,
        policy=policy_file,
        seed=int(np.random.default_rng([1, 0]).integers(2**31)),
    )
    assert run.best[0, -1] == pytest.approx(direct.fun - problem.minimum[0].item(), rel=1e-4)
    assert run.evaluations[0, -1] == direct.nfev + 1  # and the start
    stood = as_objective(problem)(direct.trajectory.theta[1:]) - problem.minimum[0].item()
    np.testing.assert_allclose(run.current[0, 1:6], stood, rtol=1e-4)


@pytest.mark.parametrize("budget", [{}, {"max_evaluations": 160}, {"max_evaluations": 40}])
@pytest.mark.parametrize("bounded", [True, False])
def test_instances_that_run_together_run_as_they_do_alone(policy_file, bounded, budget):
    problem, start = draw(5, 0)
    if bounded:
        problem.lower, problem.upper = start - 40 * torch.rand_like(start), start + 40 * torch.rand_like(start)
    options = {"rounds": 8, "policy": policy_file, "bounded": bounded, **budget}
    together = run_minimize(problem, start, **options)
    for b in range(5):
        alone = run_minimize(problem.select(slice(b, b + 1)), start[b : b + 1], **options)
        np.testing.assert_allclose(together.best[b], alone.best[0], rtol=1e-3, atol=1e-12)
        np.testing.assert_array_equal(together.evaluations[b], alone.evaluations[0])
        np.testing.assert_allclose(together.current[b], alone.current[0], rtol=1e-3, atol=1e-12)


def test_minimize_within_a_budget_with_noise_and_lengths(policy_file):
    problem = TEST_FUNCTIONS["rosenbrock"](batch_size=2)
    options = {"rounds": 50, "policy": policy_file, "bounded": True, "max_evaluations": 200}
    run = run_minimize(problem, problem.start, step=(0.01, 0.1), window=(0.1, 0.2), **options)
    assert 150 < run.evaluations.max() <= 200
    wide = run_minimize(problem, problem.start, step=(0.01, 0.1), window=(0.4, 0.5), **options)
    assert (wide.best != run.best).any()
    noisy = Noisy(problem, torch.full((2,), 10.0, dtype=torch.float64))
    run = run_minimize(noisy, problem.start, noisy=True, **options)
    assert np.isfinite(run.best).all() and run.best[0, -1] != run.best[1, -1]
    with pytest.raises(ValueError, match="unknown option `stepp`"):
        run_minimize(problem, problem.start, rounds=2, policy=policy_file, stepp=1)


@pytest.mark.parametrize("method", ["rover", "newton"])
def test_the_suite_runs_together_what_runs_as_alone(policy_file, method):
    hyper = {"policy": policy_file} if method == "rover" else {}
    job = suite.FunctionJob(Entrant(method, hyper), "booth", "tuning", 3, 0.0, {"seed": 0, "rounds": 6})
    run = suite.run_function(job, None)
    for number, problem in enumerate(suite.suite("tuning", instances=3, functions=["booth"])):
        start = torch.as_tensor(problem.start)[None]
        alone = run_entrant(method, problem.landscape, start, rounds=6, bounded=True, **hyper)
        np.testing.assert_allclose(run.best[number], alone.best[0] / problem.gap_scale, rtol=1e-3, atol=1e-12)
    assert (run.seconds == run.seconds[:1]).all() and run.evaluations.shape == (3, 7)
