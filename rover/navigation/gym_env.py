"""The POMDP of section 3.2.3 as Gymnasium environments, so that any reinforcement-learning library can train on it.

:class:`RoverVectorEnv` steps all its rovers at once (no loop over sub-environments); :class:`RoverEnv` is one rover, for
libraries that know nothing else. Both need the extra ``gym``.

========== ============================================================================================================
observation the grid, ``(n, n)`` float32 in [0, 1]; with ``context=True`` a dictionary of ``grid``, ``direction`` (what the
            direction predictor makes of it) and ``context`` (:func:`rover.navigation.moves.context_of`)
action      ``(alpha_rate, delta_rate)`` in [-0.5, 1]^2 (eq 4)
reward      eq 5, 6 or 7 by ``config.reward``, of the noise-free surface where the rover has arrived
end         after ``config.horizon`` steps, as *terminated*: the return is over T steps and nothing follows
info        ``alpha``, ``delta``, ``gap`` (noise-free distance to the minimum) and ``modality`` of each rover
========== ============================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rover.landscapes.prototypes import MODALITIES, Prototypes, sample_prototypes
from rover.navigation.environment import Navigation, NavigationConfig, Observation
from rover.navigation.moves import NUM_CONTEXT
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise ImportError("the environments need Gymnasium: pip install 'rover-descent[gym]'") from error

_CONTEXT_BOUND = np.array([1, 1, 4, 2, 2], dtype=np.float32)
_ROUNDING = 1e-6  # of an action that another library has rescaled in float32


def least_squares_direction(grid: Tensor) -> Tensor:
    """Direction of a quadratic fit, which needs no weights: ``(B, n, n) -> (B, 2)``; the first axis on flat grids."""
    direction = fit_direction(fit_quadratic(grid))
    return torch.where(direction.norm(dim=-1, keepdim=True) > 0.5, direction, direction.new_tensor([1.0, 0.0]))


class RoverVectorEnv(gymnasium.vector.VectorEnv):
    """B rovers on B fresh prototypical surfaces; all episodes begin and end together.

    Sub-environments keep their modality where B is a multiple of the number of modalities; otherwise which ones come
    once more than the others is drawn anew for every episode.

    Args:
        num_envs: B.
        config: rules of the episode.
        grid_size: n.
        predict_direction: ``(B, n, n) -> (B, 2)`` unit vectors, frozen: ``rover.load("default").direction`` is the trained
            one. None takes :func:`least_squares_direction`.
        modalities: kinds of surfaces.
        noise: ``full``, ``mixed`` or ``none``, see :func:`rover.landscapes.prototypes.sample_prototypes`.
        context: whether direction and context are observed beside the grid.
        autoreset_mode: ``NextStep`` (the step after the last one ignores its action and begins a new episode) or
            ``SameStep`` (the last step returns the first observation of the new episode; the last one of the old is
            ``info["final_obs"]``).
    """

    def __init__(
        self,
        num_envs: int = 64,
        config: NavigationConfig | None = None,
        *,
        grid_size: int = 15,
        predict_direction: Callable[[Tensor], Tensor] | None = None,
        modalities: Sequence[str] = MODALITIES,
        noise: str = "full",
        context: bool = False,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"`num_envs` must be at least 1, got {num_envs}")
        mode = AutoresetMode(autoreset_mode)
        if mode == AutoresetMode.DISABLED:
            raise ValueError("`autoreset_mode` must be NextStep or SameStep: all episodes end together")
        self.num_envs = num_envs
        self.config = NavigationConfig() if config is None else config
        self.grid_size = grid_size
        self.predict_direction = predict_direction or least_squares_direction
        self.modalities = tuple(modalities)
        self.noise = noise
        self.context = context
        self.autoreset_mode = mode
        self.metadata = {"render_modes": [], "autoreset_mode": mode}
        self.single_observation_space = observation_space(grid_size, context=context)
        self.single_action_space = spaces.Box(-0.5, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.navigation: Navigation | None = None
        self._generator: torch.Generator | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray | dict[str, np.ndarray], dict[str, Any]]:
        """Begin B episodes on fresh surfaces.

        Args:
            seed: from here on everything (surfaces, starts, noise) follows from it; None goes on with the last one.
            options: there are none.

        Raises:
            ValueError: if there is an option.
        """
        if options:
            raise ValueError(f"`options` must be empty, got {sorted(options)}")
        super().reset(seed=seed)
        if seed is not None or self._generator is None:
            self._generator = torch.Generator().manual_seed(int(self.np_random.integers(2**63)))
        return self._begin()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray | dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move all rovers: ``actions (B, 2)``.

        Raises:
            ValueError: if an action has another shape or lies outside [-0.5, 1].
            RuntimeError: before the first :meth:`reset`.
        """
        if self.navigation is None:
            raise RuntimeError("call reset() before step()")
        action = self._log2_factors(actions)
        never = np.zeros(self.num_envs, dtype=bool)
        if self.navigation.time == self.config.horizon:  # NextStep
            observation, info = self._begin()
            return observation, np.zeros(self.num_envs), never, never.copy(), info
        with torch.no_grad():
            reward, seen = self.navigation.step(action)
        observation, info = self._plain(seen), self._info()
        over = self.navigation.time == self.config.horizon
        if over and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final_observation, final_info = observation, info
            observation, info = self._begin()
            info |= _masked(final_obs=_rows(final_observation, self.num_envs)) | _masked(final_info=final_info)
        return observation, reward.numpy(), np.full(self.num_envs, over), never, info

    def _begin(self) -> tuple[np.ndarray | dict[str, np.ndarray], dict[str, Any]]:
        assert self._generator is not None
        surfaces = _draw(self.num_envs, self._generator, self.modalities, self.noise)
        self.navigation = Navigation(surfaces, self.config, self.grid_size, self.predict_direction, self._generator)
        with torch.no_grad():
            seen = self.navigation.reset()
        return self._plain(seen), self._info()

    def _log2_factors(self, actions: np.ndarray) -> Tensor:
        rates = np.asarray(actions, dtype=np.float64)
        if rates.shape != (self.num_envs, 2):
            raise ValueError(f"`actions` must have shape ({self.num_envs}, 2), got {rates.shape}")
        if not ((rates >= -0.5 - _ROUNDING) & (rates <= 1 + _ROUNDING)).all():
            raise ValueError(f"`actions` must lie in [-0.5, 1], got {rates.min()} to {rates.max()}")
        return torch.from_numpy(np.log2(1 + rates).clip(-1, 1)).float()

    def _plain(self, seen: Observation) -> np.ndarray | dict[str, np.ndarray]:
        if not self.context:
            return seen.grid.numpy()
        return {name: getattr(seen, name).float().numpy() for name in ("grid", "direction", "context")}

    def _info(self) -> dict[str, Any]:
        assert self.navigation is not None
        rover, surfaces = self.navigation.rover, self.navigation.landscape
        gap = self.navigation.window[:, -1] - surfaces.minimum
        numbers = {"alpha": rover.alpha, "delta": rover.delta, "gap": gap, "modality": surfaces.modality}
        return _masked(**{name: value.numpy() for name, value in numbers.items()})


class RoverEnv(gymnasium.Env):
    """One rover: a :class:`RoverVectorEnv` of one, whose arguments it takes (but for the autoreset)."""

    metadata = {"render_modes": []}

    def __init__(self, config: NavigationConfig | None = None, **options: Any) -> None:
        self.batch = RoverVectorEnv(1, config, autoreset_mode=AutoresetMode.NEXT_STEP, **options)
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray | dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode on a fresh surface, see :meth:`RoverVectorEnv.reset`."""
        super().reset(seed=seed)
        observation, info = self.batch.reset(seed=seed, options=options)
        return _rows(observation, 1)[0], _first(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray | dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move: ``action (2,)``.

        Raises:
            RuntimeError: after the end of the episode, or before the first :meth:`reset`.
        """
        navigation = self.batch.navigation
        if navigation is not None and navigation.time == self.batch.config.horizon:
            raise RuntimeError("the episode is over: call reset() before step()")
        observation, reward, over, _, info = self.batch.step(np.asarray(action)[None])
        return _rows(observation, 1)[0], float(reward[0]), bool(over[0]), False, _first(info)


def observation_space(grid_size: int, *, context: bool) -> spaces.Space:
    """Of one rover."""
    grid = spaces.Box(0.0, 1.0, (grid_size, grid_size), np.float32)
    if not context:
        return grid
    direction = spaces.Box(-1.0, 1.0, (2,), np.float32)
    numbers = spaces.Box(-_CONTEXT_BOUND, _CONTEXT_BOUND, (NUM_CONTEXT,), np.float32)
    return spaces.Dict({"grid": grid, "direction": direction, "context": numbers})


def _draw(count: int, generator: torch.Generator, modalities: Sequence[str], noise: str) -> Prototypes:
    """A batch in which every modality is as likely, in the order in which surfaces are evaluated fastest."""
    kinds = len(set(modalities))
    whole = -(-count // kinds) * kinds
    surfaces = sample_prototypes(whole, generator, modalities, noise=noise)
    if whole == count:
        return surfaces
    return surfaces.select(torch.randperm(whole, generator=generator)[:count].sort().values)


def _masked(**values: Any) -> dict[str, Any]:
    """Gymnasium's vector info: beside each array a mask of the sub-environments that it speaks of (here: all)."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        array = next(iter(value.values())) if isinstance(value, dict) else value
        found |= {name: value, f"_{name}": np.ones(len(array), dtype=bool)}
    return found


def _rows(observation: np.ndarray | dict[str, np.ndarray], count: int) -> np.ndarray:
    """One object for each sub-environment."""
    rows = np.empty(count, dtype=object)
    for k in range(count):
        rows[k] = (
            {name: value[k] for name, value in observation.items()} if isinstance(observation, dict) else observation[k]
        )
    return rows


def _first(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value[0].item() for name, value in info.items() if not name.startswith("_")}
