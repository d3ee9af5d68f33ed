"""Landscapes side by side: values, sub-batches, refusals."""

from __future__ import annotations

import pytest
import torch

from rover.landscapes import sample_prototypes
from rover.landscapes.stack import Stack
from rover.landscapes.test_functions import TEST_FUNCTIONS


def stack() -> Stack:
    prototypes = sample_prototypes(3, torch.Generator().manual_seed(0))
    prototypes.lower, prototypes.upper = -torch.ones(3, 2).double(), torch.ones(3, 2).double()
    return Stack([TEST_FUNCTIONS["ackley"](batch_size=2), prototypes, TEST_FUNCTIONS["beale"]()])


@pytest.mark.parametrize("index", [slice(0, 1), slice(1, 5), slice(4, None), torch.tensor([0, 3, 5])])
def test_a_selection_has_the_values_of_its_instances(index: slice | torch.Tensor) -> None:
    whole = stack()
    points = torch.randn(6, 7, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    part = whole.select(index)
    assert torch.equal(part.mean(points[index]), whole.mean(points)[index])
    assert torch.equal(part.minimizer, whole.minimizer[index]) and torch.equal(part.upper, whole.upper[index])


def test_rows_out_of_order_and_an_empty_stack_are_refused() -> None:
    with pytest.raises(ValueError, match="ascending"):
        stack().select(torch.tensor([3, 0]))
    with pytest.raises(ValueError, match="one dimension"):
        Stack([])
