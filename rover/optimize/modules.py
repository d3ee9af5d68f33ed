"""A torch module and a loss as a batched objective of the module's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class ModuleObjective:
    """``f(points (m, d)) -> (m,)``, where a point is all parameters of a module in a row.

    ::

        f = module_objective(net, lambda net: F.cross_entropy(net(inputs), labels))
        result = rover.minimize(f, f.x0, batched=True, slices=rover.optimize.BlockPartners(2, f.blocks))
        f.write(result.x)  # into the module

    Args:
        module: whose parameters are the variables; buffers stay as they are.
        loss: from a callable that behaves as the module to a scalar.
        chunk_size: parameter vectors evaluated at once; None: all.

    Attributes:
        blocks: sizes of the parameter tensors, in order.
        x0: ``(d,)`` float64, the parameters as they are now.

    Raises:
        ValueError: if the module has no parameters.
    """

    def __init__(self, module: nn.Module, loss: Callable[[Any], Tensor], chunk_size: int | None = None) -> None:
        self.module, self.loss, self.chunk_size = module, loss, chunk_size
        self._named = dict(module.named_parameters())
        if not self._named:
            raise ValueError(f"the module {type(module).__name__} has no parameters: there is nothing to optimise")
        self.blocks = [p.numel() for p in self._named.values()]

    @property
    def x0(self) -> np.ndarray:
        """The parameters as they are now, ``(d,)`` float64."""
        return torch.cat([p.detach().flatten().double().cpu() for p in self._named.values()]).numpy()

    def _split(self, row: Tensor) -> dict[str, Tensor]:
        parts = row.split(self.blocks)
        return {name: part.view_as(p).to(p.dtype) for (name, p), part in zip(self._named.items(), parts, strict=True)}

    def __call__(self, points: Any) -> Any:
        """``(m, d) -> (m,)``: NumPy in, NumPy out; torch in, torch out."""
        device = next(iter(self._named.values())).device
        rows = torch.as_tensor(points, device=device)

        def one(row: Tensor) -> Tensor:
            parameters = self._split(row)
            return self.loss(lambda *args, **kwargs: functional_call(self.module, parameters, args, kwargs))

        with torch.no_grad():
            values = vmap(one, chunk_size=self.chunk_size)(rows).double()
        return values if isinstance(points, Tensor) else values.cpu().numpy()

    def write(self, x: Any) -> None:
        """Put a parameter vector ``(d,)`` into the module."""
        parts = self._split(torch.as_tensor(x))
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(parts[name])


def module_objective(
    module: nn.Module, loss: Callable[[Any], Tensor], chunk_size: int | None = None
) -> ModuleObjective:
    """A module and a loss as a batched objective, see :class:`ModuleObjective`."""
    return ModuleObjective(module, loss, chunk_size)
