"""What all tests share: how hypothesis searches, and a seeded generator."""

from __future__ import annotations

import os

# Small tensors: a second thread costs more than it brings, above all where other processes run. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

# Deadlines fail on shared machines; without a fixed seed a red run could not be repeated.
settings.register_profile(
    "default", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("default"), derandomize=False, max_examples=10_000)
settings.load_profile(os.environ.get("ROVER_HYPOTHESIS", "default"))


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh CPU generator with a fixed seed."""
    return torch.Generator().manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``cuda`` are skipped where there is no such device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
