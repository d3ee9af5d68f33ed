"""Surfaces on whole grids: every exponent of a batch by one matrix product.

On the grid ``x = center + basis o`` the form ``|F'(x - c)|^2`` is a quadratic polynomial in the offset ``o = (i, j)``. With
``h = (i, j, 1)`` and ``U = F' [basis, center - c]`` it is ``h' U'U h``: the nine numbers of ``U'U`` belong to the instance,
the nine products in ``h h'`` to the offsets, which all instances share. So one pass of nine multiply-adds makes the exponent
ready for `exp`, where :func:`~rover.landscapes.gaussian_field.quadratic_form` takes one pass for each of them.

The sum is exact to the rounding of its largest value on the grid, which is also what a rescaled grid can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rover.landscapes.gaussian_field import std_of

_BLOCK = 2**16
"""Numbers in one pass: 512 KiB, what a core keeps close."""
_EXACT = 1e6
"""Exponents below this are off by 1e-9 at most, and so is their exponential."""


class Rows(NamedTuple):
    """One row for each centre of each instance (quadratics: their minimiser), in the order of the instances."""

    instance: Tensor  # (R,)
    center: Tensor  # (2, R)
    root: Tensor  # (3, R): r, s and the square root of t, see rover.landscapes.gaussian_field.triangular_root

    @classmethod
    def of(cls, counts: Tensor, centers: Tensor, root: Tensor) -> Rows:
        """Of `counts` ``(B,)`` rows an instance, `centers` ``(B, C, 2)`` and `root` ``(B, 3)``."""
        used = torch.arange(centers.shape[1], device=counts.device) < counts[:, None]
        instance, which = used.nonzero().unbind(-1)
        r, s, t = root[instance].unbind(-1)
        return cls(instance, centers[instance, which].mT.contiguous(), torch.stack([r, s, t.sqrt()]))


def products(offsets: Tensor) -> Tensor:
    """``h h'`` at every offset: ``(P, 2) -> (9, P)``."""
    h = torch.cat([offsets.mT, torch.ones_like(offsets[:, :1]).mT])
    return (h[:, None] * h).flatten(0, 1)


def coefficients(rows: Rows, center: Tensor, basis: Tensor) -> Tensor:
    """``U'U`` of every row: ``(B, 2), (B, 2, 2) -> (R, 9)``, the transposed view of a dense ``(9, R)``."""
    around = torch.cat([basis, center[..., None]], -1).index_select(0, rows.instance)
    around = around.permute(1, 2, 0).contiguous()  # (2, 3, R): dense over the rows
    around[:, 2] -= rows.center
    x, y = around
    r, s, t = rows.root
    u, v = (x * r).addcmul_(y, s), y * t
    return (u[:, None] * u).addcmul_(v[:, None], v).flatten(0, 1).mT


def evaluate(
    groups: Sequence[tuple[int, slice]],
    coefficient: Tensor,
    offsets: Tensor,
    weights: Tensor,
    inverse: Tensor,
    scale: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the conditional distribution (12) on grids; not differentiable.

    Args:
        groups: (number of centres, which instances), in their order; no centre is a quadratic.
        coefficient: ``(R, 9)``, see :func:`coefficients`.
        offsets: ``(P, 2)``.
        weights, inverse: ``(B, C)`` and ``(B, C, C)``, see :func:`~rover.landscapes.gaussian_field.solve_weights`.
        scale: ``(B,)``, standard deviation far from every centre (quadratics: everywhere). None: it is not wanted.

    Returns:
        ``(B, P)`` both; without `scale` the mean twice.
    """
    product = products(offsets)
    minus = -product
    # Far out, rounding may leave a positive exponent. To ask is cheaper than to clamp, but would mean to wait for a device.
    exact = coefficient.is_cpu and bool(coefficient.amax() < _EXACT)
    mean = coefficient.new_empty(len(weights), product.shape[1])
    std = mean if scale is None else torch.empty_like(mean)
    row = 0
    for count, index in groups:
        width = max(count, 1)  # rows an instance
        step = max(_BLOCK // (width * product.shape[1]), 1)
        for start in range(index.start, index.stop, step):
            here = slice(start, min(start + step, index.stop))
            rows = coefficient[row : row + width * (here.stop - start)]
            row += len(rows)
            if count == 0:
                torch.mm(rows, product, out=mean[here])
                if scale is not None:
                    std[here] = scale[here, None]
                continue
            phi = rows @ minus
            phi = (phi if exact else phi.clamp_(max=0)).exp_().view(-1, width, len(product.mT))
            if count == 1:
                torch.mul(phi[:, 0], weights[here, :1], out=mean[here])
            else:
                torch.bmm(weights[here, None, :count], phi, out=mean[here, None])
            if scale is not None:
                std[here] = std_of(phi, inverse[here, :count, :count], scale[here])
    return mean, std
