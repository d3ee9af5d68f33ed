"""Classic functions of two variables with many basins. None of them is in F_test.

Source of formulas and boxes: Jamil & Yang 2013, arXiv:1308.4008. Minimisers without a closed form were polished with
40-digit arithmetic. Several formulas are rearranged, without changing them, to be exact near a minimum of 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rover.landscapes.analytic import AnalyticFunction


class Himmelblau(AnalyticFunction):
    """``(x^2 + y - 11)^2 + (x + y^2 - 7)^2``: four equally deep basins."""

    name = "himmelblau"
    known_minimizer = (3.0, 2.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (0.0, -1.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        return (x.square() + y - 11).square() + (x + y.square() - 7).square()


class SixHumpCamel(AnalyticFunction):
    """``(4 - 2.1 x^2 + x^4 / 3) x^2 + x y + (4 y^2 - 4) y^2``: six basins, two of them deepest."""

    name = "six_hump_camel"
    known_minimizer = (0.08984201310031806, -0.7126564030207396)
    known_minimum = -1.0316284534898774
    box = ((-3.0, 3.0), (-2.0, 2.0))
    standard_start = (2.0, 1.5)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        x2, y2 = x.square(), y.square()
        return (4 - 2.1 * x2 + x2.square() / 3) * x2 + x * y + (4 * y2 - 4) * y2


class ThreeHumpCamel(AnalyticFunction):
    """``2 x^2 - 1.05 x^4 + x^6 / 6 + x y + y^2``: three basins, the middle one deepest."""

    name = "three_hump_camel"
    known_minimizer = (0.0, 0.0)
    box = ((-5.0, 5.0), (-5.0, 5.0))
    standard_start = (4.0, -3.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        x2 = x.square()
        return (2 - 1.05 * x2 + x2.square() / 6) * x2 + x * y + y.square()


class GoldsteinPrice(AnalyticFunction):
    """A product of two polynomials of degree four: values from 3 to 10^6 in a small box."""

    name = "goldstein_price"
    known_minimizer = (0.0, -1.0)
    known_minimum = 3.0
    box = ((-2.0, 2.0), (-2.0, 2.0))
    standard_start = (1.5, 1.0)
    categories = ("multimodal", "valley")

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        first = (x + y + 1).square() * (19 - 14 * x + 3 * x * x - 14 * y + 6 * x * y + 3 * y * y)
        second = (2 * x - 3 * y).square() * (18 - 32 * x + 12 * x * x + 48 * y - 36 * x * y + 27 * y * y)
        return (1 + first) * (30 + second)


class Branin(AnalyticFunction):
    """``(y - b x^2 + c x - 6)^2 + 10 (1 - 1 / 8 pi) cos x + 10``: three equally deep basins."""

    name = "branin"
    known_minimizer = (math.pi, 2.275)
    known_minimum = 10 / (8 * math.pi)
    box = ((-5.0, 10.0), (0.0, 15.0))
    standard_start = (7.0, 12.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.unbind(-1)
        bent = y - 5.1 / (4 * math.pi**2) * x.square() + 5 / math.pi * x - 6
        return bent.square() + 10 * (1 - 1 / (8 * math.pi)) * x.cos() + 10


class Griewank(AnalyticFunction):
    """``|x|^2 / 4000 - cos x cos(y / sqrt 2) + 1``: a wide bowl with small ripples."""

    name = "griewank"
    known_minimizer = (0.0, 0.0)
    box = ((-50.0, 50.0), (-50.0, 50.0))
    standard_start = (40.0, -30.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """With ``1 - cos a cos b = 2 sin^2(a / 2) + 2 cos a sin^2(b / 2)``."""
        x, y = points[..., 0], points[..., 1] / math.sqrt(2)
        ripples = 2 * (x / 2).sin().square() + 2 * x.cos() * (y / 2).sin().square()
        return points.square().sum(-1) / 4000 + ripples


class Levy(AnalyticFunction):
    """Levy's function, with ``u = (x - 1) / 4``: a bowl with ripples that grow outwards."""

    name = "levy"
    known_minimizer = (1.0, 1.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (-8.0, 7.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        u, v = ((points - 1) / 4).unbind(-1)
        first = u.square() * (1 + 10 * (math.pi * u + 1).sin().square())
        return (math.pi * u).sin().square() + first + v.square() * (1 + (2 * math.pi * v).sin().square())


class Schaffer2(AnalyticFunction):
    """``1/2 + (sin^2(x^2 - y^2) - 1/2) / (1 + |x|^2 / 1000)^2``: saddle-shaped ripples that narrow outwards."""

    name = "schaffer_2"
    known_minimizer = (0.0, 0.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (7.0, -4.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """With the two halves on one denominator."""
        x, y = points.square().unbind(-1)
        q = (x + y) / 1000
        return ((x - y).sin().square() + q + 0.5 * q.square()) / (1 + q).square()


class Schaffer4(AnalyticFunction):
    """``1/2 + (cos^2 sin|x^2 - y^2| - 1/2) / (1 + |x|^2 / 1000)^2``: the same, the minimum beside the centre."""

    name = "schaffer_4"
    known_minimizer = (0.0, 1.2531318314637332)
    known_minimum = 0.29257863203598056
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (7.0, -4.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.square().unbind(-1)
        return 0.5 + ((x - y).abs().sin().cos().square() - 0.5) / (1 + (x + y) / 1000).square()


class Bohachevsky(AnalyticFunction):
    """``x^2 + 2 y^2 - 0.3 cos 3 pi x - 0.4 cos 4 pi y + 0.7``: a bowl with shallow dents."""

    name = "bohachevsky"
    known_minimizer = (0.0, 0.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (7.0, -6.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """With ``1 - cos a = 2 sin^2(a / 2)``."""
        x, y = points.unbind(-1)
        dents = 0.6 * (1.5 * math.pi * x).sin().square() + 0.8 * (2 * math.pi * y).sin().square()
        return x.square() + 2 * y.square() + dents


class Schwefel226(AnalyticFunction):
    """``2 * 418.98... - sum x_i sin sqrt|x_i|``: the deepest basin far from the next best ones, near a corner."""

    name = "schwefel_226"
    known_minimizer = (420.96874635998205, 420.96874635998205)
    box = ((-500.0, 500.0), (-500.0, 500.0))
    standard_start = (-200.0, 100.0)
    categories = ("multimodal",)
    minimum_is_global = False

    def mean(self, points: Tensor) -> Tensor:
        """See the class; ``x sin sqrt|x|`` is not twice differentiable at 0, and its gradient there is 0."""
        root = points.abs().clamp(min=1e-300).sqrt()
        return (418.9828872724337 - points * root.sin()).sum(-1)


class DropWave(AnalyticFunction):
    """``-(1 + cos 12 r) / (r^2 / 2 + 2)``: rings."""

    name = "drop_wave"
    known_minimizer = (0.0, 0.0)
    known_minimum = -1.0
    box = ((-5.12, 5.12), (-5.12, 5.12))
    standard_start = (3.0, -2.0)
    categories = ("multimodal",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        radius = torch.linalg.vector_norm(points, dim=-1)
        return -(1 + (12 * radius).cos()) / (0.5 * radius.square() + 2)


class Salomon(AnalyticFunction):
    """``1 - cos 2 pi r + 0.1 r``: rings on a cone."""

    name = "salomon"
    known_minimizer = (0.0, 0.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (7.0, -4.0)
    categories = ("multimodal",)
    smooth = False

    def mean(self, points: Tensor) -> Tensor:
        """With ``1 - cos a = 2 sin^2(a / 2)``."""
        radius = torch.linalg.vector_norm(points, dim=-1)
        return 2 * (math.pi * radius).sin().square() + 0.1 * radius


class Michalewicz(AnalyticFunction):
    """``-sum sin(x_i) sin^20(i x_i^2 / pi)``: a plain crossed by narrow canyons."""

    name = "michalewicz"
    known_minimizer = (2.2029055201726093, math.pi / 2)
    known_minimum = -1.8013034100985525
    box = ((0.0, math.pi), (0.0, math.pi))
    standard_start = (1.0, 2.8)
    categories = ("plateau", "multimodal")
    minimum_is_global = False

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        frequency = points.new_tensor([1.0, 2.0]) / math.pi
        return -(points.sin() * (frequency * points.square()).sin() ** 20).sum(-1)


class Easom(AnalyticFunction):
    """``-cos x cos y exp(-(x - pi)^2 - (y - pi)^2)``: a needle in a plain."""

    name = "easom"
    known_minimizer = (math.pi, math.pi)
    known_minimum = -1.0
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (1.0, 1.5)
    categories = ("plateau",)

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        return -points.cos().prod(-1) * (-(points - math.pi).square().sum(-1)).exp()


class Alpine(AnalyticFunction):
    """``sum |x_i sin x_i + 0.1 x_i|``: creases, with many global minima."""

    name = "alpine"
    known_minimizer = (0.0, 0.0)
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (7.5, -4.5)
    categories = ("multimodal", "ridge")

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        return (points * (points.sin() + 0.1)).abs().sum(-1)


class CrossInTray(AnalyticFunction):
    """``-10^-4 (|sin x sin y exp|100 - r / pi|| + 1)^0.1``: creases and four equally deep basins."""

    name = "cross_in_tray"
    known_minimizer = (1.3494066171539107, 1.3494066171539107)
    known_minimum = -2.062611870822737
    box = ((-10.0, 10.0), (-10.0, 10.0))
    standard_start = (7.0, -4.0)
    categories = ("multimodal", "ridge")

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        radius = torch.linalg.vector_norm(points, dim=-1)
        return -1e-4 * ((points.sin().prod(-1) * (100 - radius / math.pi).abs().exp()).abs() + 1) ** 0.1


class DeckkersAarts(AnalyticFunction):
    """``10^5 x^2 + y^2 - r^4 + 10^-5 r^8``: two narrow, steep basins on one line."""

    name = "deckkers_aarts"
    known_minimizer = (0.0, 14.945112151891959)
    known_minimum = -24776.51834231769
    box = ((-20.0, 20.0), (-20.0, 20.0))
    standard_start = (10.0, 2.0)
    categories = ("multimodal", "ill-conditioned")

    def mean(self, points: Tensor) -> Tensor:
        """See the class."""
        x, y = points.square().unbind(-1)
        r4 = (x + y).square()
        return 1e5 * x + y - r4 + 1e-5 * r4.square()


MULTIMODAL: tuple[type[AnalyticFunction], ...] = (
    Himmelblau,
    SixHumpCamel,
    ThreeHumpCamel,
    GoldsteinPrice,
    Branin,
    Griewank,
    Levy,
    Schaffer2,
    Schaffer4,
    Bohachevsky,
    Schwefel226,
    DropWave,
    Salomon,
    Michalewicz,
    Easom,
    Alpine,
    CrossInTray,
    DeckkersAarts,
)
"""All of them."""
