"""A rover behind PyTorch's optimiser interface: ``step(closure)`` without gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rover.optimize.optimizer import Optimizer
from rover.optimize.slices import BlockPartners


class RoverDescent(torch.optim.Optimizer):
    """Zeroth-order optimisation of tensors: every step is one round of a rover, many calls of the closure.

    With more than six numbers to optimise each parameter tensor is a block, and every number has `partners` partners
    from its own block in each round. A closure may call ``backward()``; nobody looks at the gradients. For speed see
    :func:`rover.optimize.module_objective`, which evaluates a whole round at once.

    Args:
        params: tensors, or parameter groups (groups have no options of their own).
        partners: l of the slices.
        **options: as for :class:`rover.Optimizer`; `maxiter` and `maxfev` are unlimited unless given, and the
            convergence stops are off unless given. After the run has ended a step only evaluates the closure.

    Raises:
        ValueError: if there is nothing to optimise, or an option is wrong.

    Example:
        >>> import torch, rover
        >>> x = torch.zeros(2, requires_grad=True)
        >>> optimizer = rover.RoverDescent([x])  # doctest: +SKIP
        >>> loss = optimizer.step(lambda: (x - 1).square().sum())  # doctest: +SKIP
    """

    def __init__(self, params: Iterable[Any], partners: int = 1, **options: Any) -> None:
        params = list(params)
        if not params:
            raise ValueError("`params` is empty: the module has no parameters, there is nothing to optimise")
        super().__init__(params, {})
        self._tensors = [p for group in self.param_groups for p in group["params"]]
        if any(not p.is_floating_point() for p in self._tensors):
            raise ValueError("`params` must be real floating-point tensors")
        self._options = {"xatol": 0.0, "fatol": 0.0, "maxiter": math.inf, **options}
        sizes = [p.numel() for p in self._tensors if p.numel()]
        if not sizes:
            raise ValueError("`params` hold no numbers: there is nothing to optimise")
        if sum(sizes) > 6 and "slices" not in self._options:
            self._options["slices"] = BlockPartners(min(partners, max(max(sizes) - 1, 1)), sizes)
        self._rover = Optimizer(self._read(), **self._options)

    @property
    def best(self) -> Any:
        """x, fun, nit and nfev so far, see :attr:`rover.Optimizer.best`."""
        return self._rover.best

    @property
    def result(self) -> Any:
        """The run so far, see :class:`rover.optimize.result.RoverResult`."""
        return self._rover.result

    def _read(self) -> np.ndarray:
        return torch.cat([p.detach().flatten().double().cpu() for p in self._tensors]).numpy()

    def _write(self, x: np.ndarray) -> None:
        parts = torch.from_numpy(x).split([p.numel() for p in self._tensors])
        with torch.no_grad():
            for tensor, part in zip(self._tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One round: evaluate the closure at every point of it, then put the best parameters so far into the tensors.

        With ``noisy=True`` the best is the candidate that proved best when evaluated again.

        Args:
            closure: evaluates the model with the parameters as they are and returns the loss.

        Returns:
            the loss of the best parameters so far.

        Raises:
            ValueError: if there is no closure: without one a zeroth-order method sees nothing.
        """
        if closure is None:
            raise ValueError("`step` needs a closure that returns the loss: a zeroth-order method sees nothing else")
        rover = self._rover
        if not rover.stop():
            standing = self._read()
            try:
                points = rover.ask()
                values = []
                for point in points:
                    self._write(point)
                    with torch.enable_grad():
                        values.append(_loss(closure()))
                rover.tell(points, values)
            except BaseException:
                self._write(standing)  # an error leaves the parameters as they were
                raise
        best = rover.best
        self._write(best.x)
        return torch.tensor(best.fun, dtype=self._tensors[0].dtype)

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's state with the rover's under ``rover``."""
        return {**super().state_dict(), "rover": self._rover.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            ValueError: if it is not the state of such an optimiser.
        """
        if "rover" not in state_dict:
            raise ValueError("`state_dict` must come from `RoverDescent.state_dict()`: it has no entry `rover`")
        self._rover.load_state_dict(state_dict["rover"])
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "rover"})


def _loss(value: Any) -> float:
    if isinstance(value, Tensor):
        value = value.detach()
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the closure must return the loss as one number, got {type(value).__name__}") from error
