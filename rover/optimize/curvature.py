"""Newton's step from the slices of a round (beyond the paper, for more than two variables).

Each slice shows the slope along its two axes, their curvatures, and how the two are coupled: two entries of the gradient and
three of the Hessian (:func:`rover.navigation.quadratic_fit.fit_quadratic`). Together the slices know what none of them
knows alone. The entries are kept, so that a sparse Hessian fills up over the rounds; its memory grows with the pairs in
use. The iterates of conjugate gradients on this model, preconditioned by the diagonal, lead from the scaled gradient step to
Newton's (Steihaug 1983), and the search that follows tries some of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rover.navigation.quadratic_fit import fit_quadratic

ITERATES = (1, 2, 3, 5, 8, 13, 21, 34)
"""Which iterates of conjugate gradients are steps; those beyond the number of axes seen are the last again."""


class Curvature:
    """What S rovers in d variables know of the Hessian.

    Attributes:
        diagonal: ``(S, d)``; zero along axes never seen.
        coupling: ``(S, K)``, the entry of each pair, by its row in the table of pairs; zero where never seen.
    """

    def __init__(self, num_starts: int, dim: int) -> None:
        self.diagonal = torch.zeros(num_starts, dim, dtype=torch.float64)
        self.coupling = torch.zeros(num_starts, 0, dtype=torch.float64)

    def note(self, active: Tensor, pairs: Tensor, slots: Tensor, window: Tensor, values: Tensor) -> Tensor:
        """Take in a round of A rovers on m slices.

        Args:
            active: ``(A,)``.
            pairs: ``(m, 2)``.
            slots: ``(m,)``, rows of the pairs in the table.
            window: ``(m, A, 2, 2)``, half a window: the frame times half the grid's width.
            values: ``(m, A, n, n)``.

        Returns:
            the gradient, ``(A, d)``; NaN along axes of which nothing was seen.
        """
        n = values.shape[-1]
        fit = fit_quadratic(values - values[..., n // 2, n // 2, None, None])
        inverse = torch.linalg.inv_ex(window)[0]
        slope = (inverse.mT @ fit.gradient[..., None])[..., 0]  # (m, A, 2)
        hessian = inverse.mT @ fit.hessian @ inverse
        seen = (slope.isfinite() & hessian.isfinite().all(-1)).all(-1)  # (m, A)

        axes, dim = pairs.flatten(), self.diagonal.shape[1]
        curvature = torch.diagonal(hessian, dim1=-2, dim2=-1)
        entries = torch.stack([slope, curvature, torch.ones_like(slope)], -1)  # (m, A, 2, 3)
        entries = torch.where(seen[..., None, None], entries, 0.0)
        total = entries.new_zeros(dim, len(active), 3)
        total.index_add_(0, axes, entries.transpose(1, 2).flatten(0, 1))
        gradient, diagonal = (total[..., :2] / total[..., 2:]).permute(2, 1, 0)  # NaN where nothing was seen
        self.diagonal[active] = torch.where(diagonal.isnan(), self.diagonal[active], diagonal)

        missing = int(slots.max()) + 1 - self.coupling.shape[1]
        if missing > 0:
            grown = self.coupling.new_zeros(len(self.coupling), max(missing, self.coupling.shape[1]))
            self.coupling = torch.cat([self.coupling, grown], 1)
        entry = torch.where(seen, hessian[..., 0, 1], self.coupling[active][:, slots].T)
        self.coupling[active[:, None], slots] = entry.T
        return gradient

    def steps(self, active: Tensor, gradient: Tensor, pairs: Tensor, slots: Tensor) -> Tensor:
        """Iterates of conjugate gradients, ``(A, len(ITERATES), d)``, along the axes that were seen.

        Args:
            active: ``(A,)``.
            gradient: ``(A, d)``; NaN along axes that are left out.
            pairs: ``(K, 2)``, all pairs in use.
            slots: ``(K,)``, their rows.
        """
        seen = ~gradient.isnan()
        diagonal, coupling = self.diagonal[active], self.coupling[active][:, slots]
        first, second = pairs.unbind(-1)

        def product(x: Tensor) -> Tensor:
            result = diagonal * x
            result.index_add_(1, first, coupling * x[:, second])
            result.index_add_(1, second, coupling * x[:, first])
            return torch.where(seen, result, 0.0)

        largest = diagonal.abs().amax(-1, keepdim=True)
        scale = torch.maximum(diagonal.abs(), 1e-12 * largest).clamp(min=1e-300)
        residual = torch.where(seen, -gradient, 0.0)
        direction = residual / scale
        power = (residual * direction).sum(-1)
        x, steps = torch.zeros_like(residual), []
        for iteration in range(1, min(ITERATES[-1], int(seen.sum(-1).max())) + 1):
            image = product(direction)
            bend = (direction * image).sum(-1)
            convex = bend > 1e-10 * (direction * scale * direction).sum(-1)
            if iteration == 1:
                x = torch.where(convex[:, None], x, direction)
            length = torch.where(convex & (power > 0), power / bend, 0.0)[:, None]
            x = x + length * direction
            residual = residual - length * image
            last, power = power, (residual * residual / scale).sum(-1)
            carry = torch.where(convex & (last > 0), power / last, 0.0)[:, None]
            direction = torch.where(convex[:, None], residual / scale + carry * direction, direction)
            if iteration in ITERATES:
                steps.append(x)
        return torch.stack(steps + [x] * (len(ITERATES) - len(steps)), 1).nan_to_num(0.0, 0.0, 0.0)

    def forget(self, start: int) -> None:
        """A rover begins anew."""
        self.diagonal[start] = self.coupling[start] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Tensors."""
        return {"diagonal": self.diagonal.clone(), "coupling": self.coupling.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.diagonal, self.coupling = state["diagonal"].clone(), state["coupling"].clone()
