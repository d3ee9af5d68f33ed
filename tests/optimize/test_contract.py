"""The public face, sentence by sentence (DESIGN section 5)."""

from __future__ import annotations

import inspect
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, OptimizeResult

import rover
from rover.optimize import Status
from rover.policy import Policy

BOX = [(-5.0, 5.0), (-5.0, 5.0)]


def bowl(x: np.ndarray) -> np.ndarray:
    """Of one point ``(d,)`` or of many ``(m, d)``; the minimum is 0 at (1, -2)."""
    return (x[..., 0] - 1) ** 2 + 3 * (x[..., 1] + 2) ** 2


class Recorder:
    """An objective that remembers what it was asked."""

    def __init__(self, fun: object = bowl) -> None:
        self.fun, self.batches = fun, []

    def __call__(self, points: np.ndarray) -> np.ndarray:
        values = self.fun(points)
        self.batches.append((points.copy(), np.array(values, dtype=float)))
        return values

    @property
    def points(self) -> np.ndarray:
        return np.concatenate([np.atleast_2d(points) for points, _ in self.batches])

    @property
    def values(self) -> np.ndarray:
        return np.concatenate([np.atleast_1d(values) for _, values in self.batches])


def test_the_public_names_are_there() -> None:
    for name in ("minimize", "Optimizer", "RoverDescent", "load", "available", "plot", "Policy", "__version__"):
        assert hasattr(rover, name)


def test_a_result_is_scipys_with_a_trajectory(policy: Policy) -> None:
    result = rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=7)
    assert isinstance(result, OptimizeResult)
    for name in ("x", "fun", "nfev", "nit", "success", "status", "message", "trajectory"):
        assert name in result
    assert result.x.shape == (2,) and result.x.dtype == np.float64
    assert isinstance(result.fun, float) and result.fun == bowl(result.x)
    assert isinstance(result.success, bool) and isinstance(result.status, int) and isinstance(result.message, str)
    path = result.trajectory
    for name, shape in {"theta": (7, 2), "fun": (7,), "alpha": (7,), "delta": (7,), "direction": (7, 2)}.items():
        assert path[name].shape == shape and np.isfinite(path[name]).all()
        assert getattr(path, name) is path[name]
    np.testing.assert_allclose(path.fun, [bowl(x) for x in path.theta], rtol=1e-12)
    length = np.linalg.norm(path.direction, axis=-1)
    assert ((abs(length - 1) < 1e-9) | (length == 0)).all()
    assert (path.alpha > 0).all() and (path.delta > 0).all() and (np.diff(path.nfev) > 0).all()


def test_every_option_of_the_signature_is_taken(policy: Policy) -> None:
    with ThreadPoolExecutor(2) as pool:
        result = rover.minimize(
            bowl, [3.0, 3.0], bounds=BOX, batched=True, maxiter=6, maxfev=20_000, initial_step=0.3,
            initial_resolution=0.2, policy=policy, seed=0, callback=lambda x: None, workers=pool, restarts=0,
            noisy=False, xatol=1e-8, fatol=1e-12, ftarget=None, maxtime=None, slices=None, disp=False,
        )  # fmt: skip
    assert result.nit == 6
    assert result.trajectory.alpha[0] == pytest.approx(0.3) and result.trajectory.delta[0] == pytest.approx(0.2)
    assert inspect.signature(rover.minimize).parameters["fun"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_one_round_is_one_call_and_every_point_is_counted(policy: Policy) -> None:
    f = Recorder()
    result = rover.minimize(f, [3.0, 3.0], batched=True, policy=policy, maxiter=9)
    assert result.nit == len(f.batches) == 9
    assert result.nfev == len(f.points)
    assert [len(points) for points, _ in f.batches[1:]] == [25] * 8
    assert result.status == Status.MAXITER and not result.success and "maxiter" in result.message


def test_maxfev_is_never_exceeded(policy: Policy) -> None:
    for limit in (1, 24, 25, 26, 60, 200, 777):
        f = Recorder()
        result = rover.minimize(f, [3.0, 3.0], batched=True, policy=policy, maxfev=limit, xatol=0, fatol=0)
        assert result.nfev == len(f.points) <= limit
        assert result.status == Status.MAXFEV and "maxfev" in result.message
        assert result.fun == f.values.min() <= bowl(np.array([3.0, 3.0]))


def test_the_start_is_always_evaluated(policy: Policy) -> None:
    for options in ({}, {"bounds": BOX}, {"initial_step": 0.3}, {"maxfev": 10}):
        f = Recorder()
        rover.minimize(f, [3.0, 2.5], batched=True, policy=policy, **{"maxiter": 1, **options})
        assert np.isclose(f.points, [3.0, 2.5], rtol=0, atol=1e-12).all(-1).any()


def test_zero_tolerances_switch_convergence_off(policy: Policy) -> None:
    result = rover.minimize(lambda x: 1.0, [3.0, 3.0], policy=policy, xatol=0, fatol=0, maxiter=300)
    assert result.nit == 300 and result.status == Status.MAXITER


def test_the_best_point_evaluated_is_returned(policy: Policy) -> None:
    f = Recorder(lambda x: np.cos(5 * x[:, 0]) + np.sin(7 * x[:, 1]) + 0.01 * (x**2).sum(-1))
    result = rover.minimize(f, [3.0, 3.0], batched=True, policy=policy, maxiter=25, bounds=BOX)
    best = f.values.argmin()
    assert result.fun == f.values[best]
    assert np.array_equal(result.x, f.points[best])


def test_batched_is_the_same_as_point_by_point(policy: Policy) -> None:
    together = rover.minimize(bowl, [3.0, 3.0], batched=True, policy=policy, maxiter=15)
    one_by_one = rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=15)
    assert np.array_equal(together.trajectory.theta, one_by_one.trajectory.theta)
    assert together.fun == one_by_one.fun and together.nfev == one_by_one.nfev


def test_torch_in_torch_out(policy: Policy) -> None:
    kinds = set()

    def f(points: torch.Tensor) -> torch.Tensor:
        kinds.add((type(points), points.dtype))
        return (points[:, 0] - 1) ** 2 + 3 * (points[:, 1] + 2) ** 2

    ours = rover.minimize(f, torch.tensor([3.0, 3.0]), batched=True, policy=policy, maxiter=10)
    theirs = rover.minimize(bowl, [3.0, 3.0], batched=True, policy=policy, maxiter=10)
    assert kinds == {(torch.Tensor, torch.float64)}
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-12)


def test_several_starts_are_the_rovers_run_alone(policy: Policy) -> None:
    starts = np.array([[3.0, 3.0], [-4.0, 1.0], [0.5, -4.0]])
    together = rover.minimize(bowl, starts, policy=policy, maxiter=8)
    alone = [rover.minimize(bowl, x, policy=policy, maxiter=8) for x in starts]
    assert len(together.starts) == 3
    for one, other in zip(together.starts, alone, strict=True):  # up to the rounding of float32 networks
        np.testing.assert_allclose(one.x, other.x, atol=1e-4)
        np.testing.assert_allclose(one.trajectory.theta, other.trajectory.theta, atol=1e-4)
    assert together.fun == min(one.fun for one in together.starts)
    assert together.nfev == sum(other.nfev for other in alone)


@pytest.mark.parametrize("form", [BOX, np.array(BOX), Bounds([-5, -5], [5, 5]), Bounds(-5, 5)])
def test_bounds_come_in_scipys_forms(policy: Policy, form: object) -> None:
    one = rover.minimize(bowl, [3.0, 3.0], policy=policy, bounds=form, maxiter=4)
    assert np.array_equal(one.x, rover.minimize(bowl, [3.0, 3.0], policy=policy, bounds=BOX, maxiter=4).x)


@pytest.mark.parametrize("x0", [[3.0, 3.0], [5.0, -5.0], [-5.0, 5.0]])
@pytest.mark.parametrize("box", [BOX, [(-5, None), (None, 5)], [(-5, 5), (None, None)]])
def test_no_evaluated_point_is_outside_the_bounds(policy: Policy, x0: list, box: list) -> None:
    low = np.array([-np.inf if a is None else a for a, _ in box])
    high = np.array([np.inf if b is None else b for _, b in box])
    for fun in (lambda x: -x.sum(-1), lambda x: x.sum(-1), lambda x: x[:, 0] - x[:, 1]):  # minima in the corners
        f = Recorder(fun)
        rover.minimize(f, x0, batched=True, bounds=box, policy=policy, maxiter=30)
        assert (f.points >= low).all() and (f.points <= high).all()


def test_a_variable_whose_bounds_coincide_stays(policy: Policy) -> None:
    f = Recorder(lambda x: (x**2).sum(-1))
    result = rover.minimize(f, [3.0, 2.0, 1.0], batched=True, bounds=[(-5, 5), (2, 2), (-5, 5)], policy=policy)
    assert (f.points[:, 1] == 2.0).all() and result.x[1] == 2.0


def test_seeds_repeat_and_leave_the_global_state_alone(policy: Policy) -> None:
    def run(seed: object) -> np.ndarray:
        f = Recorder(lambda x: (x**2).sum(-1))
        rover.minimize(f, np.full(6, 3.0), batched=True, policy=policy, seed=seed, maxiter=8,
                       slices=rover.optimize.RandomAxes(3))  # fmt: skip
        return f.points

    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    assert np.array_equal(run(0), run(0))
    assert not np.array_equal(run(0), run(1))
    assert not np.array_equal(run(None), run(None))
    assert np.array_equal(run(torch.Generator().manual_seed(3)), run(torch.Generator().manual_seed(3)))
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])


def test_callbacks_of_both_kinds(policy: Policy) -> None:
    seen, results = [], []
    rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=5, callback=seen.append)

    def report(intermediate_result: OptimizeResult) -> None:
        results.append(intermediate_result)

    rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=5, callback=report)
    assert len(seen) == len(results) == 5
    for x, result in zip(seen, results, strict=True):
        assert np.array_equal(x, result.x) and result.fun == bowl(x)
    assert [r.nit for r in results] == [1, 2, 3, 4, 5]
    assert all(a.fun >= b.fun for a, b in zip(results, results[1:], strict=False))


def test_stop_iteration_ends_the_run_cleanly(policy: Policy) -> None:
    def callback(intermediate_result: OptimizeResult) -> None:
        if intermediate_result.nit == 4:
            raise StopIteration

    result = rover.minimize(bowl, [3.0, 3.0], policy=policy, callback=callback)
    assert result.nit == 4 and result.status == 99 and not result.success
    assert "StopIteration" in result.message and result.fun == bowl(result.x)


def test_another_exception_in_the_callback_reaches_the_user(policy: Policy) -> None:
    def callback(x: np.ndarray) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        rover.minimize(bowl, [3.0, 3.0], policy=policy, callback=callback)


def test_ftarget_stops_at_once(policy: Policy) -> None:
    result = rover.minimize(bowl, [3.0, 3.0], policy=policy, ftarget=70.0)
    assert result.success and result.status == Status.TARGET and result.nit <= 3 and result.fun <= 70.0


def test_maxtime_stops(policy: Policy) -> None:
    result = rover.minimize(bowl, [3.0, 3.0], policy=policy, maxtime=0.2, xatol=0, fatol=0)
    assert result.status == Status.MAXTIME and "maxtime" in result.message and result.nit > 1


def test_every_status_has_a_sentence() -> None:
    for status in Status:
        assert status.message[0].isupper() or status.message[0] == "`"
        assert status.message.endswith(".")
    assert {s for s in Status if s.success} == {Status.CONVERGED, Status.TARGET}


def test_disp_says_what_happens(policy: Policy, capsys: pytest.CaptureFixture) -> None:
    rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=5)
    assert capsys.readouterr() == ("", "")
    result = rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=5, disp=True)
    out, err = capsys.readouterr()
    assert out == "" and "round 1," in err and result.message in err and str(result.nfev) in err


@pytest.mark.parametrize("dim", [1, 2, 3, 7])
def test_any_number_of_variables(policy: Policy, dim: int) -> None:
    f = Recorder(lambda x: ((x - 0.3) ** 2).sum(-1))
    result = rover.minimize(f, np.full(dim, 2.0), batched=True, policy=policy, maxiter=20, xatol=0, fatol=0)
    assert result.x.shape == (dim,) and result.fun == f.values.min() < f.values[0]
    assert result.trajectory.theta.shape == (20, dim)


def test_an_integer_start_is_a_start(policy: Policy) -> None:
    one = rover.minimize(bowl, np.array([3, 3]), policy=policy, maxiter=5)
    assert np.array_equal(one.x, rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=5).x)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_probe_finds_the_scale(policy: Policy, scale: float) -> None:
    one = rover.minimize(lambda x: bowl(x / scale), np.array([3.0, 3.0]) * scale, policy=policy, maxiter=3)
    assert one.trajectory.delta[1] < 10 * scale and one.fun < bowl(np.array([3.0, 3.0]))


def test_ask_and_tell_are_minimize(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], seed=0, policy=policy, maxiter=12)
    while not opt.stop():
        points = opt.ask()
        assert points.dtype == np.float64 and points.ndim == 2 and points.shape[1] == 2
        assert np.array_equal(points, opt.ask())  # the same again until they are told
        opt.tell(points, [bowl(x) for x in points])
    result = rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=12)
    assert np.array_equal(opt.result.trajectory.theta, result.trajectory.theta)
    assert (opt.result.fun, opt.result.nfev, opt.result.nit) == (result.fun, result.nfev, result.nit)


def test_the_result_can_be_had_at_any_time(policy: Policy) -> None:
    opt = rover.Optimizer([3.0, 3.0], policy=policy)
    assert opt.result.nit == 0 and math.isnan(opt.result.fun) and np.array_equal(opt.result.x, [3.0, 3.0])
    opt.tell(opt.ask(), bowl(opt.ask()))
    assert opt.result.nit == 1 and opt.result.fun == bowl(opt.result.x) and not opt.result.success


def test_a_policy_can_be_asked_for_directions(policy: Policy) -> None:
    n = policy.grid_size
    direction = policy.direction(torch.rand(4, n, n))
    assert direction.shape == (4, 2)
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones(4))
    assert rover.load(policy) is policy


def test_plots(policy: Policy, tmp_path: object) -> None:
    result = rover.minimize(bowl, [3.0, 3.0], policy=policy, maxiter=12, restarts=2)
    assert len(result.plot(bowl).axes) == 3
    assert len(rover.plot(result).axes) == 3
    assert len(result.plot(bowl, batched=True, grid_size=5, every=2).axes) == 3
    three = rover.minimize(lambda x: (x**2).sum(), [3.0, 3.0, 1.0], policy=policy, maxiter=4)
    figure = three.plot()
    assert len(figure.axes) == 2
    figure.savefig(f"{tmp_path}/run.png")
    with pytest.raises(ValueError, match="trajectory"):
        rover.Optimizer([3.0, 3.0], policy=policy).result.plot()
