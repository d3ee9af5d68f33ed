"""Minimise a function with a trained rover: ``minimize``, the ask/tell ``Optimizer``, strategies of slices."""

from rover.optimize.minimize import minimize
from rover.optimize.modules import module_objective
from rover.optimize.objective import WorkerError
from rover.optimize.optimizer import Optimizer, ProtocolError
from rover.optimize.result import RoverResult
from rover.optimize.slices import AdaptiveAxes, AllPairs, BlockPartners, Partners, RandomAxes
from rover.optimize.stopping import Status

__all__ = [
    "AdaptiveAxes",
    "AllPairs",
    "BlockPartners",
    "Optimizer",
    "Partners",
    "ProtocolError",
    "RandomAxes",
    "RoverResult",
    "Status",
    "WorkerError",
    "minimize",
    "module_objective",
]
