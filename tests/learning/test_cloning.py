"""Cloning tuples: what is promised of every tuple, and that grids and labels belong together."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rover.landscapes import MODALITIES
from rover.learning.cloning import FIXED_DELTA, PROTOCOLS, generate_tuples, negative_actions
from rover.learning.losses import angle_error
from rover.navigation import fit_direction, fit_quadratic


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("grid_size", [3, 8])
def test_every_tuple_keeps_the_contract(protocol: str, grid_size: int) -> None:
    tuples = generate_tuples(40, seeded(), grid_size=grid_size, protocol=protocol, num_steps=4, num_negatives=3)
    count = 160
    assert tuples.grid.shape == (count, grid_size, grid_size)
    assert tuples.negative_action.shape == (count, 3, 2)
    assert [tuple(c.shape) for c in tuples[3:]] == [(count,)] * 3
    assert tuples.grid.dtype == tuples.teacher_action.dtype == tuples.delta.dtype == torch.float32
    assert tuples.grid.flatten(1).amin(-1).tolist() == [0.0] * count
    assert tuples.grid.flatten(1).amax(-1).tolist() == [1.0] * count
    ones = torch.ones(count)
    torch.testing.assert_close(tuples.teacher_action.norm(dim=-1), ones)
    torch.testing.assert_close(tuples.negative_action.norm(dim=-1), ones[:, None].expand(-1, 3))
    assert ((tuples.negative_action * tuples.teacher_action[:, None]).sum(-1) < 1e-6).all()


def test_the_same_seed_gives_the_same_tuples_and_the_global_state_is_untouched() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (generate_tuples(30, seeded(s), grid_size=5) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.grid, other.grid)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("grid_size", [5, 15])
def test_on_noise_free_bowls_the_label_can_be_read_off_the_grid(grid_size: int) -> None:
    """Ties everything together: eq 1's orientation, the rescaling, the teacher and the order of the rows."""
    tuples = generate_tuples(60, seeded(), grid_size=grid_size, protocol="fixed", modalities=["quadratic"])
    direction = fit_direction(fit_quadratic(tuples.grid.double()))
    error = torch.rad2deg(angle_error(direction, tuples.teacher_action.double()))
    assert tuples.newton.all()
    assert error.max() < 0.05


def test_resolutions_follow_the_protocol() -> None:
    window = 14 / 2  # resolutions are stated for a 15 x 15 grid; a 3 x 3 grid spans the same window
    fixed = generate_tuples(50, seeded(), grid_size=3, protocol="fixed")
    torch.testing.assert_close(fixed.delta, torch.full((500,), FIXED_DELTA * window))

    field = generate_tuples(400, seeded(), grid_size=3, protocol="field", delta_range=(0.02, 1.0))
    share = (field.delta / window / 0.02).log() / math.log(50)
    assert (share > -1e-5).all() and (share < 1 + 1e-5).all()
    quantiles = share.quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quantiles, torch.tensor([0.25, 0.5, 0.75]), atol=0.04, rtol=0)

    mixed = generate_tuples(900, seeded(), grid_size=3, protocol="mixed", num_steps=1)
    assert (mixed.delta == fixed.delta[0]).float().mean().item() == pytest.approx(1 / 3, abs=0.06)


def test_noise_follows_the_protocol() -> None:
    def unexplained(**options: object) -> torch.Tensor:
        tuples = generate_tuples(90, seeded(), modalities=["quadratic"], num_steps=2, **options)  # type: ignore[arg-type]
        return 1 - fit_quadratic(tuples.grid.double()).explained

    rounding = 1e-11  # of grids in float32
    assert unexplained(protocol="fixed").max() < rounding
    assert unexplained(protocol="field", noise="none").max() < rounding
    assert unexplained(protocol="field").min() > 2 * rounding
    assert ((unexplained(protocol="mixed") < rounding).float().mean() - 2 / 3).abs() < 0.2


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_single_modality_is_generated_alone(modality: str) -> None:
    tuples = generate_tuples(20, seeded(), grid_size=3, modalities=[modality])
    assert (tuples.modality == MODALITIES.index(modality)).all()


def test_the_mixture_is_balanced_and_ten_states_are_ten_lessons() -> None:
    tuples = generate_tuples(400, seeded(), grid_size=5, protocol="fixed")
    counts = torch.bincount(tuples.modality, minlength=4) / len(tuples.modality)
    assert (counts - 0.25).abs().max() < 0.05  # a lost rollout's place is taken by any other function
    rounds = tuples.grid.view(10, 400, 25)
    bowls = rounds[:, tuples.modality.view(10, 400)[0] == 0]
    assert (bowls[0] - bowls[-1]).abs().amax(-1).mean() > 0.05


@given(st.integers(1, 12), st.integers(0, 2**31))
def test_negatives_lie_in_the_half_space_one_a_stratum(count: int, seed: int) -> None:
    angle = 2 * math.pi * torch.rand(16, generator=seeded(seed)).double()
    teacher = torch.stack([angle.cos(), angle.sin()], -1)
    negative = negative_actions(teacher, count, seeded(seed + 1))
    along = (negative * teacher[:, None]).sum(-1)
    across = teacher[:, None, 0] * negative[..., 1] - teacher[:, None, 1] * negative[..., 0]
    turned = torch.atan2(across, along) % (2 * math.pi)  # in (90, 270) degrees
    assert (along < 1e-9).all()
    stratum = ((turned / math.pi - 0.5) * count).clamp(0, count - 1e-6).floor()
    assert torch.equal(stratum.sort(-1).values, torch.arange(count).double().expand(16, -1))


def test_negatives_are_uniform_in_angle() -> None:
    teacher = torch.tensor([[1.0, 0.0]]).expand(20_000, 2)
    negative = negative_actions(teacher, 1, seeded())[:, 0]
    turned = torch.atan2(negative[:, 1], negative[:, 0]) % (2 * math.pi)
    counts = torch.histc(turned, 8, math.pi / 2, 3 * math.pi / 2)
    assert ((counts - 2500).square() / 2500).sum() < 24.3  # chi-squared, 7 degrees of freedom: 0.1 %


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"protocol": "wild"}, "`protocol` must be one of"),
        ({"delta_range": (0.5, 0.1)}, "`delta_range`"),
        ({"delta_range": (0.0, 0.1)}, "`delta_range`"),
        ({"modalities": ["hill"]}, "`modalities`"),
        ({"grid_size": 1}, "`grid_size` must be at least 2"),
        ({"noise": "some"}, "`noise`"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        generate_tuples(4, seeded(), **options)  # type: ignore[arg-type]
