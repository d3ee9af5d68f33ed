"""Rover Descent: a learned zeroth-order optimiser.

A rover stands on a loss surface and sees a small square grid of values around itself, nothing else. Three chained
predictors drive it: in which **direction** to go, how large a **step** to take, and at which **resolution** to look
next.

====================================================== ==========================================================
the paper                                              here
====================================================== ==========================================================
the grid, eq 1                                         :func:`rover.navigation.grid_points`
direction, eq 2                                        :class:`rover.networks.AngleNet`, :mod:`rover.learning.losses`
step size and resolution, eqs 3-4                      :class:`rover.networks.Actor`, :mod:`rover.navigation.moves`
rewards, eqs 5-7                                       :mod:`rover.navigation.rewards`
slices of d-dimensional problems, eqs 8-10             :mod:`rover.optimize.combine`, :mod:`rover.optimize.slices`
prototypes and test functions, eqs 11-18               :mod:`rover.landscapes`
====================================================== ==========================================================

Who only wants to minimise something::

    import rover

    result = rover.minimize(f, x0, bounds=[(-5, 5), (-5, 5)])
"""

from importlib.metadata import PackageNotFoundError, version

from rover.optimize.minimize import minimize
from rover.optimize.optimizer import Optimizer
from rover.optimize.plot import plot
from rover.optimize.torch_optim import RoverDescent
from rover.policy import Policy, available, load

try:
    __version__ = version("rover-descent")
except PackageNotFoundError:  # used from a source tree that was not installed
    __version__ = "0.0.0"

__all__ = ["Optimizer", "Policy", "RoverDescent", "__version__", "available", "load", "minimize", "plot"]
