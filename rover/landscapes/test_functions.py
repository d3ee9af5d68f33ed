"""The six two-dimensional functions of the meta-test, F_test (section 4.2, appendix 6.3, equations 13-18).

They are for the final count: nothing may be chosen by looking at them (use :mod:`rover.landscapes.suite` for that).
The paper shows its starts only in pictures; the starts and boxes here are this project's. Ackley and Rastrigin are
written with half-angle identities, equal to the printed formulas but free of cancellation near the minimum, so that
gaps below 1e-15 mean something.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rover.landscapes.analytic import AnalyticFunction


class Rosenbrock(AnalyticFunction):
    """``100 (x1 - x0^2)^2 + (x0 - 1)^2`` (13): a bent, flat-bottomed valley."""

    name = "rosenbrock"
    known_minimizer = (1.0, 1.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (-1.2, 1.0)
    categories = ("valley",)

    def mean(self, points: Tensor) -> Tensor:
        """(13)."""
        x, y = points.unbind(-1)
        return 100 * (y - x.square()).square() + (x - 1).square()


class Ackley(AnalyticFunction):
    """``-20 exp(-0.2 sqrt(|x|^2 / 2)) - exp((cos 2 pi x1 + cos 2 pi x2) / 2) + 20 + e`` (14): a cone full of dents.

    The minimum is the tip of the cone: the function is not differentiable there. Autograd gives finite gradients
    everywhere: 0, a subgradient, at the tip itself (and within 1e-162 of it, where squares underflow to 0), and length
    ``2 sqrt 2`` right beside it. The Hessian is finite except at the tip.
    """

    name = "ackley"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (3.3, -2.7)
    categories = ("multimodal",)
    smooth = False

    def mean(self, points: Tensor) -> Tensor:
        """(14), with ``(cos 2 pi x - 1) / 2 = -sin^2 pi x``."""
        radius = torch.linalg.vector_norm(points, dim=-1) / math.sqrt(2)
        dents = (math.pi * points).sin().square().sum(-1)
        return -20 * torch.expm1(-0.2 * radius) - math.e * torch.expm1(-dents)


class Rastrigin(AnalyticFunction):
    """``20 + sum x_i^2 - 10 cos 2 pi x_i`` (15): a bowl with a local minimum at every integer point."""

    name = "rastrigin"
    known_minimizer = (0.0, 0.0)
    box = ((-5.12, 5.12), (-5.12, 5.12))
    standard_start = (3.3, -2.7)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """(15), with ``1 - cos 2 pi x = 2 sin^2 pi x``."""
        return (points.square() + 20 * (math.pi * points).sin().square()).sum(-1)


class McCormick(AnalyticFunction):
    """``sin(x1 + x2) + (x1 - x2)^2 - 1.5 x1 + 2.5 x2 + 1`` (16): a sheet with waves, unbounded below outside its box.

    In ``s = x1 + x2`` and ``u = x1 - x2`` it is ``sin s + s/2 + (u - 1)^2``: minimal at ``cos s = -1/2`` and ``u = 1``.
    """

    name = "mccormick"
    known_minimizer = (0.5 - math.pi / 3, -0.5 - math.pi / 3)
    known_minimum = -math.sqrt(3) / 2 - math.pi / 3
    box = ((-1.5, 4.0), (-3.0, 4.0))
    standard_start = (3.0, -2.0)
    categories = ("valley",)
    minimum_is_global = False

    def mean(self, points: Tensor) -> Tensor:
        """(16)."""
        x, y = points.unbind(-1)
        return (x + y).sin() + (x - y).square() - 1.5 * x + 2.5 * y + 1


class Styblinski(AnalyticFunction):
    """``sum (x_i^4 - 16 x_i^2 + 5 x_i) / 2`` (17): four basins, the deepest opposite the standard start.

    The minimiser is the smallest root of ``4 x^3 - 32 x + 5``.
    """

    name = "styblinski"
    known_minimizer = (-2.903534027771177, -2.903534027771177)
    known_minimum = -78.33233140754283
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (3.0, 4.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """(17)."""
        squares = points.square()
        return 0.5 * (squares.square() - 16 * squares + 5 * points).sum(-1)


class Beale(AnalyticFunction):
    """``sum_k (c_k - x1 + x1 x2^k)^2``, ``c = 1.5, 2.25, 2.625`` (18): a flat valley between steep corners."""

    name = "beale"
    known_minimizer = (3.0, 0.5)
    box = ((-4.5, 4.5), (-4.5, 4.5))
    standard_start = (-2.0, -2.0)
    categories = ("valley", "plateau")

    def mean(self, points: Tensor) -> Tensor:
        """(18)."""
        x, y = points.unbind(-1)
        first, second = 1.5 - x + x * y, 2.25 - x + x * y.square()
        return first.square() + second.square() + (2.625 - x + x * y**3).square()


TEST_FUNCTIONS: dict[str, type[AnalyticFunction]] = {
    cls.name: cls for cls in (Rosenbrock, Ackley, Rastrigin, McCormick, Styblinski, Beale)
}
"""The six functions in the paper's order: ``TEST_FUNCTIONS["ackley"](batch_size=20)`` makes 20 copies."""
