"""Classic functions of two variables with one basin: bowls, valleys, ridges, plateaus. None of them is in F_test.

Sources: More, Garbow & Hillstrom 1981 (Freudenstein-Roth); the BBOB collection, Hansen et al. 2009 (different powers,
sharp ridge, step ellipsoid); Jamil & Yang 2013, arXiv:1308.4008 (the others); the sine valley,
the bent ridge and the well are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rover.landscapes.analytic import AnalyticFunction


class Quadratic(AnalyticFunction):
    """``x^2 + condition * y^2``.

    Attributes:
        condition: ``(B,)``, at least 1.
    """

    name = "quadratic"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (4.0, 2.0)
    categories = ("quadratic",)

    def __init__(self, batch_size: int = 1, *, condition: float | Tensor = 1.0, **kwargs) -> None:
        """``condition``: one number, or one for each copy."""
        super().__init__(batch_size, **kwargs)
        self.condition = torch.as_tensor(condition).to(self.minimum).expand(batch_size).clone()
        if not (self.condition >= 1).all():
            raise ValueError(f"`condition` must be at least 1, got {self.condition.min().item()}")

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.square().unbind(-1)
        return x + self.condition[:, None] * y


class Matyas(AnalyticFunction):
    """``0.26 (x^2 + y^2) - 0.48 x y``: a quadratic of condition 25 along the diagonal."""

    name = "matyas"
    known_minimizer = (0.0, 0.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (8.0, 3.0)
    categories = ("quadratic",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return 0.26 * (x - y).square() + 0.04 * x * y


class Booth(AnalyticFunction):
    """``(x + 2 y - 7)^2 + (2 x + y - 5)^2``: a quadratic of condition 9."""

    name = "booth"
    known_minimizer = (1.0, 3.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (-5.0, -8.0)
    categories = ("quadratic",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return (x + 2 * y - 7).square() + (2 * x + y - 5).square()


class DifferentPowers(AnalyticFunction):
    """``x^2 + y^6``: flatter and flatter along one axis."""

    name = "different_powers"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (4.0, 3.0)
    categories = ("ill-conditioned", "plateau")

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.square().unbind(-1)
        return x + y**3


class Zakharov(AnalyticFunction):
    """``|x|^2 + s^2 + s^4`` with ``s = x / 2 + y``: a bowl pressed into a trough."""

    name = "zakharov"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 10.0), (-5.0, 10.0))
    standard_start = (8.0, 6.0)
    categories = ("valley",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        s = (0.5 * x + y).square()
        return x.square() + y.square() + s + s.square()


class Leon(AnalyticFunction):
    """``100 (y - x^3)^2 + (x - 1)^2``: a valley with an inflexion."""

    name = "leon"
    known_minimizer = (1.0, 1.0)
    box = ((-1.5, 2.0), (-2.0, 4.0))
    standard_start = (-1.2, -1.0)
    categories = ("valley",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return 100 * (y - x**3).square() + (x - 1).square()


class SineValley(AnalyticFunction):
    """``100 (y - sin 2 x)^2 + x^2``: a winding valley, the origin its only stationary point."""

    name = "sine_valley"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 5.0), (-3.0, 3.0))
    standard_start = (4.0, 1.0)
    categories = ("valley",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return 100 * (y - (2 * x).sin()).square() + x.square()


class FreudensteinRoth(AnalyticFunction):
    """Two cubic residuals: a valley that ends in a local minimum of 48.98, or in 0 at (5, 4)."""

    name = "freudenstein_roth"
    known_minimizer = (5.0, 4.0)
    box = ((-10.0, 15.0), (-5.0, 6.0))
    standard_start = (0.5, -2.0)
    categories = ("valley", "multimodal")

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return (x - 13 + ((5 - y) * y - 2) * y).square() + (x - 29 + ((y + 1) * y - 14) * y).square()


class SharpRidge(AnalyticFunction):
    """``x^2 + 100 |y|``: the gradient points across the ridge nearly everywhere."""

    name = "sharp_ridge"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (4.0, 2.0)
    categories = ("ridge",)
    smooth = False

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return x.square() + 100 * y.abs()


class BentRidge(AnalyticFunction):
    """``100 |y - 0.01 x^2| + 0.01 |x + 10|``: Bukin N. 6 without its root (which lets rounding hide the minimum)."""

    name = "bent_ridge"
    known_minimizer = (-10.0, 1.0)
    box = ((-15.0, -5.0), (-3.0, 3.0))
    standard_start = (-6.0, -2.0)
    categories = ("ridge",)
    smooth = False

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return 100 * (y - 0.01 * x.square()).abs() + 0.01 * (x + 10).abs()


class Schwefel220(AnalyticFunction):
    """``|x| + |y|``: a pyramid."""

    name = "schwefel_220"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (4.0, 2.0)
    categories = ("ridge",)
    smooth = False

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        return points.abs().sum(-1)


class StepEllipsoid(AnalyticFunction):
    """``round(x)^2 + 10 round(y)^2``: flat terraces, no gradient anywhere."""

    name = "step_ellipsoid"
    known_minimizer = (0.0, 0.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (8.3, 6.3)
    categories = ("plateau",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = (points + 0.5).floor().square().unbind(-1)
        return x + 10 * y


class Well(AnalyticFunction):
    """``1 - exp(-(x^2 + 4 y^2) / 2)``: one dent in a plain."""

    name = "well"
    known_minimizer = (0.0, 0.0)
    box = ((-6.0, 6.0), (-6.0, 6.0))
    standard_start = (2.5, 1.0)
    categories = ("plateau",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.square().unbind(-1)
        return -torch.expm1(-0.5 * x - 2 * y)


UNIMODAL: tuple[type[AnalyticFunction], ...] = (
    Matyas,
    Booth,
    DifferentPowers,
    Zakharov,
    Leon,
    SineValley,
    FreudensteinRoth,
    SharpRidge,
    BentRidge,
    Schwefel220,
    StepEllipsoid,
    Well,
)
"""All but :class:`Quadratic`, which has a parameter."""
