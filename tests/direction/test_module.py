"""The metrics against NumPy, the averaged weights and the schedule against their definitions, the figures."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.cloning import AngleDataConfig, CloningDataModule
from lit_modules.angle import AngleModelConfig, AngleModule
from lit_modules.callbacks.angle_figures import error_table, grid_figure, resolution_figure
from lit_modules.metrics import AngleError, ErrorByResolution
from rover.landscapes import MODALITIES
from rover.learning.cloning import generate_tuples
from rover.networks import NetworkConfig
from rover.policy import load_angle_net
from tests.direction.two_processes import trainer

NETWORK = NetworkConfig(grid_size=5, channels=(4, 8), hidden_size=16)


def predictions(count: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    angle = 2 * math.pi * torch.rand(2, count, generator=generator, dtype=torch.float64)
    modality = torch.randint(3, (count,), generator=generator)  # no plateau
    delta = 10 ** (-2 * torch.rand(count, generator=generator))
    first, second = (torch.stack([a.cos(), a.sin()], -1) for a in angle)
    degrees = np.degrees(np.arccos(np.clip((first * second).sum(-1).numpy(), -1, 1)))
    return first.float(), second.float(), modality, delta, torch.from_numpy(degrees)


def test_the_angle_error_is_numpys_mean_and_median() -> None:
    direction, action, modality, _, degrees = predictions(5000)
    metric = AngleError()
    for part in torch.arange(5000).split(700):
        metric.update(direction[part], action[part], modality[part])
    found = metric.compute()
    for kind in range(3):
        expected = degrees[modality == kind].numpy()
        assert found[MODALITIES[kind]].item() == pytest.approx(expected.mean(), rel=1e-4)
        assert found[f"{MODALITIES[kind]}_median"].item() == pytest.approx(np.median(expected), abs=0.2)
    assert found["plateau"].isnan() and found["plateau_median"].isnan()


def test_two_metrics_merge_into_one() -> None:
    direction, action, modality, _, _ = predictions(999)
    whole, parts = AngleError(), [AngleError(), AngleError()]
    whole.update(direction, action, modality)
    for rank, metric in enumerate(parts):
        metric.update(direction[rank::2], action[rank::2], modality[rank::2])
    for name in ("total", "count", "histogram"):
        torch.testing.assert_close(sum(getattr(metric, name) for metric in parts), getattr(whole, name))


def test_errors_are_sorted_into_resolutions() -> None:
    direction, action, modality, delta, degrees = predictions(4000)
    metric = ErrorByResolution(0.01, 1.0, num_bins=4)
    metric.update(direction, action, modality, delta)
    found = metric.compute()
    edges = 10 ** np.linspace(-2, 0, 5)
    for kind in range(3):
        for k in range(4):
            chosen = (modality == kind) & (delta >= edges[k]) & (delta < edges[k + 1])
            assert found[kind, k].item() == pytest.approx(degrees[chosen].mean().item(), rel=1e-4)
    assert found[3].isnan().all()


def test_weights_are_averaged_and_the_rate_warms_up_and_falls(tmp_path: Path) -> None:
    config = AngleModelConfig(NETWORK, learning_rate=0.01, warmup=0.25, ema_decay=0.9)
    data = AngleDataConfig(
        grid_size=5, batch_size=32, chunk_functions=40, num_workers=0, validation_functions=8, test_functions=8
    )
    weights, rates = [], []

    class Watched(AngleModule):
        def on_train_batch_end(self, *args: object) -> None:
            weights.append(self.net.fc1.weight.detach().clone())
            rates.append(self.optimizers().optimizer.param_groups[0]["lr"])  # type: ignore[union-attr]

    module = Watched(config)
    average = module.net.fc1.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(tmp_path, 40).fit(module, CloningDataModule(data))
    for update, weight in enumerate(weights, 1):
        decay = min(0.9, update / (update + 10))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(module.average.fc1.weight, average)
    assert rates[8] == pytest.approx(0.01, rel=0.01) and max(rates) <= 0.01
    assert rates[4] == pytest.approx(0.01 * 6 / 10)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False)) and rates[-1] == pytest.approx(0, abs=1e-9)

    module.export(tmp_path / "net.safetensors", name="x", provenance={})
    grid = torch.rand(6, 5, 5)
    module.average.eval()
    assert torch.equal(load_angle_net(tmp_path / "net.safetensors").direction(grid), module(grid))


def test_figures_and_table_can_be_drawn() -> None:
    tuples = generate_tuples(6, torch.Generator().manual_seed(0), grid_size=5, num_steps=1)
    panels = grid_figure(tuples, tuples.teacher_action).axes
    assert sum(len(panel.images) for panel in panels) == 6
    assert all(len(panel.texts) == 2 for panel in panels if panel.images), "two arrows a grid"
    figure = resolution_figure(torch.rand(4, 3), torch.tensor([0.1, 0.2, 0.4, 0.8]))
    assert [line.get_label() for line in figure.axes[0].lines] == list(MODALITIES)
    metrics = {
        f"{tag}/{protocol}/{kind}{suffix}": 1.0
        for tag in ("angle_error", "quadratic_fit")
        for protocol in ("fixed", "field")
        for kind in MODALITIES
        for suffix in ("", "_median")
    }
    assert error_table(metrics).row_count == 4
