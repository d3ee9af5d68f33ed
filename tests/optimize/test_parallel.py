"""``workers``: maps, thread pools, process pools, Dask; each gives what a plain loop gives."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from scipy.optimize import rosen

import rover
from rover.optimize import WorkerError
from rover.policy import Policy


class Suicide:
    """Kills whoever calls it; arrives in a fresh process, which cannot import this module."""

    def __call__(self, x: np.ndarray) -> float:
        raise AssertionError("only copies are called")

    def __reduce__(self) -> tuple:
        return eval, ("lambda points: __import__('os')._exit(1)",)


@pytest.fixture(scope="module")
def alone(policy: Policy) -> rover.optimize.RoverResult:
    return rover.minimize(rosen, [-1.2, 1.0], policy=policy, maxiter=10)


def test_any_map(policy: Policy, alone: rover.optimize.RoverResult) -> None:
    for workers in (map, lambda f, xs: [f(x) for x in xs]):
        result = rover.minimize(rosen, [-1.2, 1.0], policy=policy, maxiter=10, workers=workers)
        assert np.array_equal(result.trajectory.theta, alone.trajectory.theta)


def test_threads(policy: Policy, alone: rover.optimize.RoverResult) -> None:
    names = set()

    def f(x: np.ndarray) -> float:
        names.add(threading.current_thread().name)
        return rosen(x)

    with ThreadPoolExecutor(3) as pool:
        result = rover.minimize(f, [-1.2, 1.0], policy=policy, maxiter=10, workers=pool)
    assert np.array_equal(result.trajectory.theta, alone.trajectory.theta)
    assert threading.current_thread().name not in names


def test_a_batched_function_on_threads_gets_pieces(policy: Policy, alone: rover.optimize.RoverResult) -> None:
    sizes = []

    def f(points: np.ndarray) -> np.ndarray:
        sizes.append(len(points))
        return rosen(points.T)

    with ThreadPoolExecutor(2) as pool:
        result = rover.minimize(f, [-1.2, 1.0], policy=policy, maxiter=10, workers=pool, batched=True)
    np.testing.assert_allclose(result.trajectory.theta, alone.trajectory.theta, rtol=1e-6)
    assert max(sizes) < 25 and sum(sizes) == result.nfev


@pytest.mark.slow
def test_processes(policy: Policy, alone: rover.optimize.RoverResult) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        result = rover.minimize(rosen, [-1.2, 1.0], policy=policy, maxiter=10, workers=pool)
        assert np.array_equal(result.trajectory.theta, alone.trajectory.theta)
        with pytest.raises(ValueError, match="another process"):
            rover.minimize(lambda x: rosen(x), [-1.2, 1.0], policy=policy, workers=pool)


@pytest.mark.slow
def test_a_multiprocessing_pool(policy: Policy, alone: rover.optimize.RoverResult) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        result = rover.minimize(rosen, [-1.2, 1.0], policy=policy, maxiter=10, workers=pool.map)
        assert np.array_equal(result.trajectory.theta, alone.trajectory.theta)
        with pytest.raises(ValueError, match="another process"):
            rover.minimize(lambda x: rosen(x), [-1.2, 1.0], policy=policy, workers=pool.map)


@pytest.mark.slow
def test_a_worker_that_dies_takes_nothing_with_it(policy: Policy) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(WorkerError, match="worker died") as caught:
            rover.minimize(Suicide(), [-1.2, 1.0], policy=policy, workers=pool)
        assert np.array_equal(caught.value.result.x, [-1.2, 1.0]) and caught.value.result.nit == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask and its libraries
def test_a_dask_cluster(policy: Policy, alone: rover.optimize.RoverResult) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        result = rover.minimize(rosen, [-1.2, 1.0], policy=policy, maxiter=10, workers=executor)
        assert np.array_equal(result.trajectory.theta, alone.trajectory.theta)
        shift = 0.5  # Dask brings its own way to send closures
        closure = rover.minimize(lambda x: rosen(x - shift), [-0.7, 1.5], policy=policy, maxiter=3, workers=executor)
        assert np.isfinite(closure.fun)
        with pytest.raises(ZeroDivisionError):
            rover.minimize(lambda x: 1 / 0, [-0.7, 1.5], policy=policy, maxiter=3, workers=executor)
