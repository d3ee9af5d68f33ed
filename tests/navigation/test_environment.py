"""The POMDP: what is drawn, what is seen, what is rewarded, and what must not matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rover.landscapes.prototypes import sample_prototypes
from rover.navigation.environment import Navigation, NavigationConfig
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic
from rover.navigation.rewards import start_reward, value_reward, window_reward


def direction(grid: torch.Tensor) -> torch.Tensor:
    return fit_direction(fit_quadratic(grid))


def navigation(config: NavigationConfig | None = None, *, batch: int = 12, n: int = 5, seed: int = 0, noise="full"):
    generator = torch.Generator().manual_seed(seed)
    surfaces = sample_prototypes(batch, generator, noise=noise)
    return Navigation(surfaces, config or NavigationConfig(), n, direction, generator)


def test_initial_states_are_in_range_and_log_uniform() -> None:
    config = NavigationConfig(alpha_range=(0.01, 10.0), window_range=(0.1, 10.0))
    env = navigation(config, batch=4000)
    env.reset()
    window = env.rover.delta * (5 - 1) / 2
    for values, (low, high) in ((env.rover.alpha, (0.01, 10.0)), (window, (0.1, 10.0))):
        assert low <= values.min() < 1.2 * low and high / 1.2 < values.max() <= high
        share = (values.log() - torch.tensor(low).log()) / (torch.tensor(high).log() - torch.tensor(low).log())
        assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert ((env.rover.theta - env.landscape.minimizer).norm(dim=-1) > 0.9).all(), "far from the optimum"


@pytest.mark.parametrize("reward", ["value", "start", "window"])
def test_rewards_are_of_the_noise_free_surface(reward: str) -> None:
    env = navigation(NavigationConfig(reward=reward, reward_window=3))
    env.reset()
    values = [env.landscape.mean(env.rover.theta[:, None])[:, 0]]
    action = torch.full((12, 2), 0.2)
    for _ in range(6):
        found, _ = env.step(action)
        values.append(env.landscape.mean(env.rover.theta[:, None])[:, 0])
        window = torch.stack(values[-3:], 1)
        expected = {
            "value": value_reward(values[-1]),
            "start": start_reward(values[-1], values[0], env.landscape.minimum),
            "window": window_reward(window, env.landscape.minimum),
        }[reward]
        torch.testing.assert_close(found, expected)


def test_it_repeats_itself_from_the_seed_and_only_from_it() -> None:
    def run(seed: int) -> list[torch.Tensor]:
        env = navigation(seed=seed)
        seen = [env.reset()]
        for _ in range(3):
            seen.append(env.step(torch.full((12, 2), -0.1))[1])
        return [part for look in seen for part in look]

    torch.manual_seed(0)
    first = run(0)
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(first, run(0), strict=True))
    assert not torch.equal(first[0], run(1)[0])


@given(seed=st.integers(0, 2**31), act_first=st.booleans(), frame=st.sampled_from(["none", "quadratic"]))
@settings(max_examples=30)
def test_whatever_a_policy_does_it_sees_finite_numbers(seed: int, act_first: bool, frame: str) -> None:
    env = navigation(NavigationConfig(frame=frame, act_first=act_first), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    seen = env.reset()
    bold = torch.where(
        torch.rand(12, 1, generator=generator) < 0.5, 1.0, 2 * torch.rand(12, 2, generator=generator) - 1
    )
    for _ in range(30):
        reward, seen = env.step(bold if seed % 2 else 2 * torch.rand(12, 2, generator=generator) - 1)
        assert ((reward >= -5 - 1e-6) & (reward <= 0)).all()
        assert ((seen.grid >= 0) & (seen.grid <= 1)).all()
        for part in seen:
            assert part.isfinite().all()
    assert seen.state.shape == (12, Navigation.num_state(env.config))


def test_translation_scale_and_a_f_plus_b_leave_the_observations(generator: torch.Generator) -> None:
    """The same surfaces in other units, noise-free: grids, directions, contexts and rewards are those of before."""
    config = NavigationConfig(frame="quadratic")
    env, other = navigation(config, noise="none"), navigation(config, noise="none")
    quadratics = env.landscape.modality == 0
    env.landscape = env.landscape.select(quadratics.nonzero()[:, 0])
    other.landscape = other.landscape.select(quadratics.nonzero()[:, 0])
    # x -> 3 x + shift, f -> 7 f: a quadratic |A (x - m)|^2 stays one.
    shift = torch.tensor([5.0, -2.0], dtype=torch.float64)
    other.landscape.centers = 3 * other.landscape.centers + shift
    other.landscape.minimizer = other.landscape.centers[:, 0]
    other.landscape.factor = other.landscape.factor * 7**0.5 / 3
    count = int(quadratics.sum())
    theta = 4 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    alpha, delta = torch.full((count,), 0.4).double(), torch.full((count,), 0.3).double()
    looks = [env.reset(theta, alpha, delta), other.reset(3 * theta + shift, 3 * alpha, 3 * delta)]
    for step in range(8):
        for a, b in zip(looks[0][:3], looks[1][:3], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        action = torch.full((count, 2), 0.3 if step < 3 else -0.5)
        (r, first), (s, second) = env.step(action), other.step(action)
        torch.testing.assert_close(r, s, rtol=1e-3, atol=1e-6)
        looks = [first, second]


def test_wrong_rules_are_refused() -> None:
    for options, said in [
        ({"horizon": 0}, "`horizon`"),
        ({"reward": "sparse"}, "`reward` must be one of"),
        ({"frame": "round"}, "`frame` must be one of"),
        ({"alpha_range": (0.0, 1.0)}, "`alpha_range`"),
        ({"window_range": (2.0, 1.0)}, "`window_range`"),
    ]:
        with pytest.raises(ValueError, match=said):
            NavigationConfig(**options)
    env = navigation()
    env.reset()
    with pytest.raises(ValueError, match=r"`action` must have shape \(12, 2\)"):
        env.step(torch.zeros(12, 1))
