"""The environments as Gymnasium sees them, and as the POMDP they stand for."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from rover.navigation.environment import Navigation, NavigationConfig
from rover.navigation.gym_env import RoverEnv, RoverVectorEnv, least_squares_direction

SHORT = NavigationConfig(horizon=4)


def vector_env(num_envs: int = 8, **options) -> RoverVectorEnv:
    return RoverVectorEnv(num_envs, SHORT, grid_size=5, **options)


# The checker recommends [-1, 1]; the paper's set of actions is another.
@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space")
@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("reward", ["value", "start", "window"])
def test_the_scalar_env_passes_gymnasiums_checker(context: bool, reward: str) -> None:
    config = NavigationConfig(horizon=4, reward=reward)
    env = RoverEnv(config, grid_size=5, context=context)
    env.spec = gymnasium.envs.registration.EnvSpec("Rover-v0", RoverEnv, kwargs={"config": config, "grid_size": 5})
    check_env(env, skip_render_check=True)  # warnings are errors


def test_actions_rescaled_in_float32_are_taken_to_their_bounds() -> None:
    env = gymnasium.wrappers.RescaleAction(RoverEnv(SHORT, grid_size=5), np.float32(-1), np.float32(1))
    for action in (env.action_space.low, env.action_space.high):
        _, before = env.reset(seed=0)
        after = env.step(action)[4]
        assert after["alpha"] == pytest.approx(before["alpha"] * (0.5 if action[0] < 0 else 2.0))


@pytest.mark.parametrize("context", [False, True])
def test_the_vector_env_agrees_with_its_spaces_and_repeats_itself(context: bool) -> None:
    env = vector_env(context=context)
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(7)]

    def run(seed: int) -> list:
        seen = [env.reset(seed=seed)]
        assert seen[0][0] in env.observation_space
        for action in actions:
            assert action in env.action_space
            seen.append(env.step(action))
            observation, reward, terminated, truncated, info = seen[-1]
            assert observation in env.observation_space
            assert reward.shape == terminated.shape == truncated.shape == (8,)
            assert np.isfinite(reward).all() and terminated.dtype == truncated.dtype == bool
            for name, value in info.items():
                assert name.startswith("_") or (len(value) == 8 and info[f"_{name}"].all())
        return seen

    first, again, other = run(3), run(3), run(4)
    assert data_equivalence(first, again, exact=True)
    assert not data_equivalence(first, other)
    grid = first[0][0]["grid"] if context else first[0][0]
    kept = grid.copy()
    env.step(actions[0])
    assert (grid == kept).all(), "what was returned must not change afterwards"


def test_without_a_seed_a_reset_goes_on() -> None:
    env = vector_env()
    one, _ = env.reset(seed=0)
    two, _ = env.reset()
    three, _ = env.reset()
    assert not (one == two).all() and not (two == three).all()
    env.reset(seed=0)
    assert (env.reset()[0] == two).all()


def test_next_step_autoreset() -> None:
    env = vector_env()
    env.reset(seed=0)
    action = np.zeros((8, 2))
    for time in range(1, 5):
        _, reward, terminated, truncated, _ = env.step(action)
        assert (terminated == (time == 4)).all() and not truncated.any() and (reward < 0).any()
    observation, reward, terminated, truncated, info = env.step(action)
    assert (reward == 0).all() and not terminated.any() and not truncated.any()
    env.reset(seed=0)
    fresh, fresh_info = env.reset()
    env.reset(seed=0)
    for _ in range(4):
        env.step(action)
    assert env.step(action)[0].shape == fresh.shape and set(info) == set(fresh_info)
    assert env.navigation is not None and env.navigation.time == 0
    for time in range(1, 5):
        assert (env.step(action)[2] == (time == 4)).all()


def test_same_step_autoreset_is_the_same_sequence_one_step_shorter() -> None:
    later, same = vector_env(), vector_env(autoreset_mode="SameStep")
    later.reset(seed=0), same.reset(seed=0)
    action = np.full((8, 2), 0.25)
    for _ in range(2):
        for _ in range(4):
            a, b = later.step(action), same.step(action)
            assert (a[1] == b[1]).all() and (a[2] == b[2]).all()
        begun, *_ = later.step(action)
        assert (begun == b[0]).all()
        assert (np.stack(list(b[4]["final_obs"])) == a[0]).all() and b[4]["_final_obs"].all()
        assert data_equivalence(b[4]["final_info"], a[4])


def test_episode_statistics_of_gymnasium() -> None:
    env = RecordEpisodeStatistics(vector_env())
    env.reset(seed=0)
    total = np.zeros(8)
    for _ in range(4):
        _, reward, _, _, info = env.step(np.zeros((8, 2)))
        total += reward
    assert info["episode"]["r"] == pytest.approx(total)
    assert (info["episode"]["l"] == 4).all()


def test_it_is_the_pomdp() -> None:
    env = vector_env(context=True)
    observation, info = env.reset(seed=5)
    assert env.navigation is not None
    surfaces, rover = env.navigation.landscape, env.navigation.rover
    # The same surfaces with the noise of the same generator state, driven through Navigation itself.
    navigation = Navigation(surfaces, SHORT, 5, least_squares_direction, torch.Generator())
    assert env._generator is not None
    state = env._generator.get_state()
    navigation.reset(rover.theta, rover.alpha, rover.delta)
    navigation.sight, navigation.direction = env.navigation.sight, env.navigation.direction
    navigation.generator.set_state(state)
    rates = np.array([[1.0, -0.5]] * 4 + [[0.0, 0.5]] * 4)
    reward, seen = navigation.step(torch.from_numpy(np.log2(1 + rates)).float())
    observation, env_reward, _, _, env_info = env.step(rates)
    assert (env_reward == reward.numpy()).all()
    for name in ("grid", "direction", "context"):
        assert (observation[name] == getattr(seen, name).numpy()).all()
    assert env_info["alpha"] == pytest.approx(info["alpha"] * (1 + rates[:, 0]))
    assert env_info["delta"] == pytest.approx(info["delta"] * (1 + rates[:, 1]))


def test_every_modality_comes_to_a_single_rover() -> None:
    env = RoverEnv(SHORT, grid_size=5)
    env.reset(seed=0)
    found = [env.reset()[1]["modality"] for _ in range(40)]
    assert set(found) == {0, 1, 2, 3}
    env = vector_env(8)
    assert sorted(env.reset(seed=0)[1]["modality"]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_sync_vector_env_of_scalar_ones() -> None:
    env = SyncVectorEnv([lambda: RoverEnv(SHORT, grid_size=5)] * 2)
    observation, _ = env.reset(seed=0)
    assert observation.shape == (2, 5, 5) and not (observation[0] == observation[1]).all()
    assert env.step(env.action_space.sample())[1].shape == (2,)


def test_misuse_is_told() -> None:
    env = vector_env()
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros((8, 2)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(8, 2\)"):
        env.step(np.zeros((7, 2)))
    for bad in (1.1, -0.6, np.nan):
        with pytest.raises(ValueError, match=r"\[-0.5, 1\]"):
            env.step(np.full((8, 2), bad))
    with pytest.raises(ValueError, match="options"):
        env.reset(options={"start": 0})
    with pytest.raises(ValueError, match="num_envs"):
        RoverVectorEnv(0)
    with pytest.raises(ValueError, match="autoreset_mode"):
        vector_env(autoreset_mode="Disabled")
    single = RoverEnv(SHORT, grid_size=5)
    single.reset(seed=0)
    for _ in range(4):
        single.step(np.zeros(2))
    with pytest.raises(RuntimeError, match="over"):
        single.step(np.zeros(2))
