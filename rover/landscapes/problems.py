"""Problems in more than two dimensions: quadratics, Rosenbrock, linear classification, small networks (section 4.3).

Every problem is a batched objective ``(m, d) -> (m,)``; all m points are evaluated together, in slices small enough to
stay in the cache (four times faster than one pass over 4,096 points of the Iris network). Gradient and Hessian are
there for the baselines.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rover.landscapes.transforms import random_rotations

_CACHE_BYTES = 2**21  # of intermediate results at a time


def _tanh(x: Tensor) -> Tensor:
    """The same function as `torch.tanh`, twice as fast in float64 on a CPU; exact to 2e-16 absolutely."""
    return 2 * torch.sigmoid(2 * x) - 1


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": _tanh, "relu": torch.relu}


class Problem(ABC):
    """One function of d variables.

    Attributes:
        dim: number of variables d.
        blocks: index ranges that belong together (the parameters of one layer); they partition ``range(d)``.
        minimum: the global minimum where it is known, else None.
        floats_per_point: how many numbers one evaluation holds at a time.
    """

    dim: int
    blocks: list[range]
    minimum: float | None = None
    floats_per_point: int

    @abstractmethod
    def value(self, points: Tensor) -> Tensor:
        """Differentiable values, ``(m, d) -> (m,)``, each depending on its own point alone."""

    @abstractmethod
    def sample_starts(self, count: int, generator: torch.Generator) -> Tensor:
        """Initial points, ``(count, d)`` float64."""

    def __call__(self, points: Any) -> Any:
        """Evaluate ``(m, d) -> (m,)``: NumPy in, float64 NumPy out; torch in, torch out."""
        x = points if isinstance(points, Tensor) else torch.as_tensor(np.asarray(points, dtype=np.float64))
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"`points` must have shape (m, {self.dim}), got {tuple(x.shape)}")
        if isinstance(points, Tensor):
            return self._in_slices(x)
        with torch.no_grad():
            return self._in_slices(x).numpy()

    def _in_slices(self, points: Tensor) -> Tensor:
        size = max(1, _CACHE_BYTES // (self.floats_per_point * points.element_size()))
        if len(points) <= size:
            return self.value(points)
        return torch.cat([self.value(part) for part in points.split(size)])

    def gradient(self, points: Tensor) -> Tensor:
        """Gradients, ``(m, d) -> (m, d)``."""
        return torch.func.grad(lambda x: self.value(x).sum())(points)

    def hessian(self, points: Tensor) -> Tensor:
        """Hessians, ``(m, d) -> (m, d, d)``."""

        def single(x: Tensor) -> Tensor:
            return self.value(x[None])[0]

        # reverse over reverse: forward mode loads torch.jit, which warns of its own deprecation
        return torch.func.vmap(torch.func.jacrev(torch.func.grad(single)))(points)


class QuadraticProblem(Problem):
    """``(x - c)' H (x - c) / 2``: H randomly turned, eigenvalues log-spaced from 1 to ``condition``, c ~ N(0, 1)."""

    minimum = 0.0

    def __init__(self, dim: int, generator: torch.Generator, condition: float = 100.0) -> None:
        """Draw H and c; ``dim >= 2``, ``condition >= 1``."""
        _require(dim >= 2, f"`dim` must be at least 2, got {dim}")
        _require(condition >= 1, f"`condition` must be at least 1, got {condition}")
        self.dim, self.blocks, self.floats_per_point = dim, [range(dim)], 2 * dim
        q = random_rotations(1, dim, generator)[0]
        eigen = torch.logspace(0, math.log10(condition), dim, dtype=torch.float64)
        self.root = q * eigen.sqrt()  # H = root root'
        self.minimizer = torch.randn(dim, generator=generator, dtype=torch.float64)

    def value(self, points: Tensor) -> Tensor:
        """See the class."""
        return 0.5 * ((points - self.minimizer) @ self.root).square().sum(-1)

    def sample_starts(self, count: int, generator: torch.Generator) -> Tensor:
        """Normal, standard deviation 3."""
        return 3 * torch.randn(count, self.dim, generator=generator, dtype=torch.float64)


class RosenbrockProblem(Problem):
    """``sum_i 100 (x_{i+1} - x_i^2)^2 + (x_i - 1)^2``; for ``d >= 4`` also a local minimum near (-1, 1, ..., 1)."""

    minimum = 0.0

    def __init__(self, dim: int) -> None:
        """``dim >= 2``."""
        _require(dim >= 2, f"`dim` must be at least 2, got {dim}")
        self.dim, self.blocks, self.floats_per_point = dim, [range(dim)], 3 * dim
        self.minimizer = torch.ones(dim, dtype=torch.float64)

    def value(self, points: Tensor) -> Tensor:
        """See the class."""
        head, tail = points[:, :-1], points[:, 1:]
        return (100 * (tail - head.square()).square() + (head - 1).square()).sum(-1)

    def sample_starts(self, count: int, generator: torch.Generator) -> Tensor:
        """The classic start (-1.2, 1, -1.2, 1, ...) with normal perturbations of 0.1."""
        start = torch.tensor([-1.2, 1.0], dtype=torch.float64).repeat((self.dim + 1) // 2)[: self.dim]
        return start + 0.1 * torch.randn(count, self.dim, generator=generator, dtype=torch.float64)


class LinearClassification(Problem):
    """Mean logistic loss of a linear classifier without bias on random data (section 4.3.1): convex.

    Attributes:
        features: ``(N, d)``, standardised.
        labels: ``(N,)``, 0 or 1.
        minimizer, minimum: found by Newton's method to machine precision.
    """

    def __init__(self, dim: int, seed: int, samples: int | None = None) -> None:
        """Draw a task with scikit-learn's `make_classification` (Guyon 2003).

        Args:
            dim: number of features, at least 4: half of them informative, a quarter linear combinations of those. Each
                gets measurement noise of a tenth of its spread, without which the Hessian would be singular.
            seed: of the data.
            samples: number of points N, by default ``10 d`` but at least 500 (with few points in many dimensions the
                classes are separable and the loss has no minimum).
        """
        from sklearn.datasets import make_classification

        _require(dim >= 4, f"`dim` must be at least 4, got {dim}")
        samples = max(500, 10 * dim) if samples is None else samples
        features, labels = make_classification(
            n_samples=samples,
            n_features=dim,
            n_informative=dim // 2,
            n_redundant=dim // 4,
            flip_y=0.05,
            class_sep=0.5,
            random_state=seed,
        )
        noise = np.random.default_rng(seed).normal(scale=0.1, size=features.shape)
        self.features = _standardised(_standardised(features).numpy() + noise)
        self.labels = torch.as_tensor(labels, dtype=torch.float64)
        self.dim, self.blocks, self.floats_per_point = dim, [range(dim)], 2 * samples
        # log(1 + e^z) - y z is the cross-entropy of the logit z; the second term is linear in the weights
        self._linear = self.labels @ self.features / samples
        self.minimizer = self._newton()
        self.minimum = self.value(self.minimizer[None]).item()

    def _newton(self) -> Tensor:
        x = torch.zeros(self.dim, dtype=torch.float64)
        for _ in range(100):
            p = torch.sigmoid(self.features @ x)
            gradient = self.features.mT @ (p - self.labels) / len(p)
            if gradient.abs().max() < 1e-14:
                break
            hessian = (self.features.mT * (p * (1 - p))) @ self.features / len(p)
            step = torch.linalg.solve(hessian, gradient)
            x = x - step / max(1.0, step.norm().item() / 2)  # bounded: far out the logistic loss is nearly linear
        return x

    def value(self, points: Tensor) -> Tensor:
        """Mean cross-entropy, natural logarithm."""
        logits = points @ self.features.mT  # (m, N)
        return functional.softplus(logits, threshold=40.0).mean(-1) - points @ self._linear

    def sample_starts(self, count: int, generator: torch.Generator) -> Tensor:
        """Standard normal."""
        return torch.randn(count, self.dim, generator=generator, dtype=torch.float64)


class NetworkClassification(Problem):
    """Mean cross-entropy of a fully connected network with softmax, full batch (section 4.3.2).

    The d parameters are ordered layer by layer, each layer's weights ``(out, in)`` row by row and then its biases.

    Attributes:
        sizes: widths of the layers, input and output included.
        features: ``(N, sizes[0])``.
        labels: ``(N,)`` int64.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        hidden: Sequence[int],
        activation: str = "tanh",
    ) -> None:
        """``hidden``: widths of the hidden layers; ``activation``: ``tanh`` or ``relu``."""
        _require(activation in _ACTIVATIONS, f"`activation` must be one of {tuple(_ACTIVATIONS)}, got {activation!r}")
        self.features, self.labels, self.activation = features, labels.long(), _ACTIVATIONS[activation]
        self.sizes = (features.shape[1], *hidden, int(labels.max()) + 1)
        bounds = [0]
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:], strict=False):
            bounds.append(bounds[-1] + fan_out * (fan_in + 1))
        self.dim = bounds[-1]
        self.blocks = [range(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
        self.floats_per_point = 2 * len(features) * max(self.sizes[1:])
        self._one_hot = functional.one_hot(self.labels, self.sizes[-1]).to(features)  # (N, C)

    def logits(self, points: Tensor) -> Tensor:
        """Outputs before the softmax, ``(m, d) -> (m, C, N)``."""
        hidden = self.features.mT  # (in, N): samples last, so that the long axis is contiguous
        samples = hidden.shape[-1]
        for layer, block in enumerate(self.blocks):
            fan_in, fan_out = self.sizes[layer], self.sizes[layer + 1]
            weights, bias = points[:, block.start : block.stop].split([fan_out * fan_in, fan_out], -1)
            if layer == 0:  # the features are the same for all points: one product
                hidden = (weights.reshape(-1, fan_in) @ hidden).reshape(-1, fan_out, samples) + bias[..., None]
            else:
                weights = weights.reshape(-1, fan_out, fan_in)
                hidden = torch.baddbmm(bias[..., None], weights, self.activation(hidden))
        return hidden

    def value(self, points: Tensor) -> Tensor:
        """Mean cross-entropy, natural logarithm."""
        logits = self.logits(points)
        return (logits.logsumexp(1) - (logits * self._one_hot.mT).sum(1)).mean(-1)

    def accuracy(self, points: Tensor) -> Tensor:
        """Share of the samples that are classified rightly, ``(m, d) -> (m,)``."""
        return (self.logits(points).argmax(1) == self.labels).double().mean(-1)

    def sample_starts(self, count: int, generator: torch.Generator) -> Tensor:
        """Weights and biases uniform in ``+-1 / sqrt(fan in)``, torch's default for linear layers."""
        start = 2 * torch.rand(count, self.dim, generator=generator, dtype=self.features.dtype) - 1
        for block, fan_in in zip(self.blocks, self.sizes, strict=False):
            start[:, block.start : block.stop] /= math.sqrt(fan_in)
        return start


def iris(activation: str = "tanh") -> NetworkClassification:
    """The paper's Iris network 4-10-10-3, d = 193, on all 150 standardised samples.

    The paper does not name the activation. Ours is tanh: smooth, so that baselines have a Hessian, and without dead
    units, so that no slice is exactly flat. ``relu`` is half as expensive.
    """
    from sklearn.datasets import load_iris

    features, labels = load_iris(return_X_y=True)
    return NetworkClassification(_standardised(features), torch.as_tensor(labels), (10, 10), activation)


def digits(hidden: int = 32, samples: int | None = None, seed: int = 0) -> NetworkClassification:
    """A 64-``hidden``-10 tanh network on scikit-learn's digits, d = 75 * hidden + 10 (2,410 by default).

    Args:
        hidden: width of the hidden layer.
        samples: size of a random subset; all 1,797 by default.
        seed: of the subset.
    """
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    if samples is not None:
        _require(1 <= samples <= len(labels), f"`samples` must be 1 to {len(labels)}, got {samples}")
        index = np.random.default_rng(seed).permutation(len(labels))[:samples]
        features, labels = features[index], labels[index]
    return NetworkClassification(torch.as_tensor(features / 16.0), torch.as_tensor(labels), (hidden,))


def _standardised(features: np.ndarray) -> Tensor:
    return torch.as_tensor((features - features.mean(0)) / features.std(0))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
