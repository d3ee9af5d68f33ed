"""The three networks: direction (3.2.2), actor and critic (3.2.3). All start with two convolutions over the grid.

The paper's networks see the grid and nothing else. Three switches, each measured in ``docs/results.md``, go further:

- `canonical`: the grid is mirrored and transposed so that its slope points into one octant, and the answer is turned
  back: exact equivariance under the symmetries of the square, and an eighth of the cases to learn (Deviation D6);
- `features`: fixed least-squares filters (slope, curvature, Newton's direction) beside the learnt ones: curvature is a
  tiny signal in a small window, and a convolution has to find it first (Deviation D7);
- `context`: the actor also sees its previous action, log(alpha / delta), whether the last move paid, and the profile of
  the grid along the direction and across it (Deviation D8). All are invariant under translation, scaling and a f + b.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rover.navigation.moves import NUM_CONTEXT
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic

NUM_FEATURES = 10

ACTIONS = ("log2", "linear")


@dataclass
class NetworkConfig:
    """Sizes and switches shared by the three networks."""

    grid_size: int = 15
    channels: tuple[int, int] = (16, 32)
    hidden_size: int = 128
    canonical: bool = True
    features: bool = True
    context: bool = True
    layer_norm: bool = True
    """Of actor and critic: LayerNorm after the convolutions; False is the paper, which names none."""
    action: str = "log2"
    """Of the actor: what the tanh is. ``log2``: the logarithm of the factor (D3); ``linear``: the paper's rate, affine."""

    def __post_init__(self) -> None:
        self.channels = (int(self.channels[0]), int(self.channels[1]))
        if self.grid_size < 2:
            raise ValueError(f"`grid_size` must be at least 2, got {self.grid_size}: one point shows no slope")
        if self.features and self.grid_size < 3:
            raise ValueError("`features` need `grid_size` of at least 3: a quadratic has six coefficients")
        if self.action not in ACTIONS:
            raise ValueError(f"`action` must be one of {ACTIONS}, got {self.action!r}")
        if min(self.channels) < 1 or self.hidden_size < 1:
            raise ValueError("`channels` and `hidden_size` must be positive")


def polynomial_features(grid: Tensor) -> Tensor:
    """Slope, curvature, their share, the fit's quality and its direction: ``(..., n, n) -> (..., 10)``."""
    fit = fit_quadratic(grid)
    slope = torch.linalg.vector_norm(fit.gradient, dim=-1, keepdim=True)
    upper = torch.stack([fit.hessian[..., 0, 0], fit.hessian[..., 0, 1], fit.hessian[..., 1, 1]], -1)
    bend = torch.linalg.vector_norm(upper, dim=-1, keepdim=True)
    size = (slope + bend).clamp(min=1e-6)
    return torch.cat(
        [
            fit.gradient / slope.clamp(min=1e-6),
            upper / bend.clamp(min=1e-6),
            (bend - slope) / size,
            fit.explained[..., None],
            torch.log10(1.0001 - fit.explained)[..., None] / 4,
            fit_direction(fit),
        ],
        -1,
    )


@lru_cache(maxsize=32)
def _orientations(grid_size: int, device: torch.device) -> Tensor:
    """Row-major index permutations of the eight mirrored and transposed grids: ``(8, n * n)``."""
    index = torch.arange(grid_size**2, device=device).view(grid_size, grid_size)
    result = []
    for code in range(8):
        turned = index.T if code & 4 else index
        turned = turned.flip(0) if code & 1 else turned
        turned = turned.flip(1) if code & 2 else turned
        result.append(turned.flatten())
    return torch.stack(result)


def canonicalise(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror and transpose grids so that the mean slope g has ``g_1 >= g_2 >= 0``.

    Args:
        grid: ``(B, n, n)``.

    Returns:
        the turned grids ``(B, n, n)`` and the maps ``(B, 2, 2)`` that turn a vector *back* into the original axes.
    """
    n = grid.shape[-1]
    axis = torch.linspace(-1, 1, n, dtype=grid.dtype, device=grid.device)
    first, second = grid.sum(-1) @ axis, grid.sum(-2) @ axis  # slope along rows i and columns j, up to a factor
    swap = second.abs() > first.abs()
    low, high = torch.where(swap, second, first) < 0, torch.where(swap, first, second) < 0
    code = low.long() + 2 * high.long() + 4 * swap.long()
    turned = grid.flatten(1).gather(1, _orientations(n, grid.device)[code]).view_as(grid)
    signs = 1 - 2 * torch.stack([low, high], -1).to(grid.dtype)  # of the canonical axes
    plain, swapped = torch.eye(2, device=grid.device), torch.eye(2, device=grid.device).flip(0)
    back = torch.where(swap[:, None, None], swapped, plain).to(grid.dtype) * signs[:, None, :]
    return turned, back


def profiles(grid: Tensor, direction: Tensor) -> Tensor:
    """Values along the direction and across it, through the centre: ``(B, n, n), (B, 2) -> (B, 2 n)``."""
    n = grid.shape[-1]
    axis = torch.linspace(-1, 1, n, dtype=grid.dtype, device=grid.device)[:, None]
    along = axis * direction[:, None]  # (B, n, 2)
    across = along.flip(-1) * direction.new_tensor([-1.0, 1.0])
    where = torch.stack([along, across], 1).flip(-1)  # grid_sample wants (column, row)
    return F.grid_sample(grid[:, None], where, align_corners=True).flatten(1)


class Turned(NamedTuple):
    """Grids as the convolutions want them; what :func:`turn` makes of them takes no weights."""

    grid: Tensor  # (B, n, n)
    back: Tensor | None  # (B, 2, 2), turns a vector back into the original axes; None: nothing was turned
    features: Tensor | None  # (B, 10)


def turn(grid: Tensor, config: NetworkConfig) -> Turned:
    """Canonical grids and their features, as far as the config has them: ``(B, n, n)``."""
    back = None
    if config.canonical:
        grid, back = canonicalise(grid)
    return Turned(grid, back, polynomial_features(grid) if config.features else None)


class Seen(NamedTuple):
    """All that actor and critics are shown, before any weight: computed once, read by every one of them."""

    grid: Tensor  # (..., n, n)
    extra: Tensor  # (..., E): profiles, context, features

    def at(self, when: slice) -> Seen:
        """Some times of episodes ``(B, T, ...)``."""
        return Seen(self.grid[:, when], self.extra[:, when])


def see(grid: Tensor, direction: Tensor, context: Tensor, config: NetworkConfig, turned: Turned | None = None) -> Seen:
    """What actor and critics read.

    Args:
        grid: ``(..., n, n)``.
        direction: ``(..., 2)``.
        context: ``(..., 5)``, see :func:`rover.navigation.moves.context_of`.
        config: which of it they read.
        turned: :func:`turn` of the grids, if it is there already.
    """
    leading = grid.shape[:-2]
    flat = grid.flatten(0, -3)
    turned = turn(flat, config) if turned is None else turned
    parts = [profiles(flat, direction.flatten(0, -2)), context.flatten(0, -2)] if config.context else []
    if turned.features is not None:
        parts.append(turned.features)
    extra = torch.cat(parts, -1) if parts else flat.new_empty(len(flat), 0)
    return Seen(turned.grid.view(grid.shape), extra.view(*leading, extra.shape[-1]))


class Encoder(nn.Module):
    """Two convolutions over the grid, normalised; strided where the grid is large enough to be redundant.

    Args:
        config: sizes.
        norm: ``batch`` (the direction net, as in the paper), ``layer`` (actor and critic: no statistics to go stale
            between a rollout and a replayed batch) or ``none``.
    """

    def __init__(self, config: NetworkConfig, norm: str) -> None:
        super().__init__()
        kernel, stride = (5, 2) if config.grid_size >= 9 else (3, 1)
        first, second = config.channels
        self.conv1 = nn.Conv2d(1, first, kernel, stride, kernel // 2)
        self.conv2 = nn.Conv2d(first, second, 3, stride, 1)
        side = (config.grid_size - 1) // stride + 1
        side = (side - 1) // stride + 1
        self.out_features = second * side**2
        if norm == "batch":
            self.norm1: nn.Module = nn.BatchNorm2d(first)
            self.norm2: nn.Module = nn.BatchNorm2d(second)
        else:
            self.norm1 = nn.Identity()
            self.norm2 = nn.LayerNorm(self.out_features) if norm == "layer" else nn.Identity()
        self.batch_norm = norm == "batch"

    def forward(self, grid: Tensor) -> Tensor:
        """``(B, n, n) -> (B, out_features)``."""
        x = F.relu(self.norm1(self.conv1(2 * grid[:, None] - 1)))
        x = self.conv2(x)
        return F.relu(self.norm2(x).flatten(1) if self.batch_norm else self.norm2(x.flatten(1)))


class AngleNet(nn.Module):
    """y(omega, s): two convolutions with batch norm and two fully connected layers (3.2.2)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.provenance: dict[str, Any] = {}
        self.encoder = Encoder(config, norm="batch")
        self.fc1 = nn.Linear(self.encoder.out_features + NUM_FEATURES * config.features, config.hidden_size)
        self.fc2 = nn.Linear(config.hidden_size, 4 if config.features else 2)

    def forward(self, grid: Tensor) -> Tensor:
        """Grids in [0, 1], ``(B, n, n)`` -> unnormalised directions y, ``(B, 2)``."""
        return self.read(turn(grid, self.config))

    def read(self, turned: Turned) -> Tensor:
        """The same from grids that are turned already."""
        grid, back, features = turned
        x = self.encoder(grid)
        if features is not None:
            x = torch.cat([x, features], -1)
        y = self.fc2(F.relu(self.fc1(x)))
        if features is not None:  # a correction of what the slope and the quadratic fit propose, each trusted as learnt
            y = y[:, :2] + y[:, 2:3] * features[:, :2] + y[:, 3:] * features[:, -2:]
        return y if back is None else (back @ y[..., None])[..., 0]

    def direction(self, grid: Tensor) -> Tensor:
        """``Delta(s) = y / |y|``: unit vectors ``(B, 2)``; the first axis should y vanish."""
        return self.direction_of(turn(grid, self.config))

    def direction_of(self, turned: Turned) -> Tensor:
        """The same from grids that are turned already."""
        y = self.read(turned)
        norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
        return torch.where(norm > 0, y / norm.clamp(min=1e-30), y.new_tensor([1.0, 0.0]))


class Trunk(nn.Module):
    """What actor and critic make of each grid before memory and action enter."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, norm="layer" if config.layer_norm else "none")
        extra = NUM_FEATURES * config.features + (2 * config.grid_size + NUM_CONTEXT) * config.context
        self.out_features = config.hidden_size
        self.fc = nn.Linear(self.encoder.out_features + extra, config.hidden_size)

    def forward(self, seen: Seen) -> Tensor:
        """``(B, T, ...) -> (B, T, hidden_size)``."""
        grid, extra = seen.grid.flatten(0, 1), seen.extra.flatten(0, 1)
        x = self.encoder(grid)
        if extra.shape[-1]:
            x = torch.cat([x, extra], -1)
        return F.relu(self.fc(x)).unflatten(0, seen.grid.shape[:2])


class Actor(nn.Module):
    """mu(eta, .): two convolutions, an LSTM, two hidden layers (3.2.3); its output is a log2 factor in [-1, 1]^2."""

    def __init__(self, config: NetworkConfig, memory_size: int = 64) -> None:
        super().__init__()
        self.memory_size = memory_size
        self.trunk = Trunk(config)
        self.lstm = nn.LSTM(config.hidden_size, memory_size, batch_first=True)
        self.fc1 = nn.Linear(memory_size + config.hidden_size * config.context, 64)
        self.fc2 = nn.Linear(64, 64)
        self.out = nn.Linear(64, 2)
        self.skip = config.context
        self.linear = config.action == "linear"
        nn.init.uniform_(self.out.weight, -3e-3, 3e-3)
        nn.init.zeros_(self.out.bias)

    def forward(self, seen: Seen, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A sequence of grids to a sequence of *pre-tanh* outputs.

        Args:
            seen: ``(B, T, ...)``, see :func:`see`.
            memory: ``(B, 2, H)``; zero if None.

        Returns:
            ``(B, T, 2)``, whose tanh is the action, and the memory ``(B, 2, H)`` after the last step.
        """
        x = self.trunk(seen)
        state = None if memory is None else (memory[:, 0][None].contiguous(), memory[:, 1][None].contiguous())
        y, (h, c) = self.lstm(x, state)
        y = torch.cat([y, x], -1) if self.skip else y
        return self.out(F.relu(self.fc2(F.relu(self.fc1(y))))), torch.stack([h[0], c[0]], 1)

    def squash(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pre-tanh outputs to actions, log2 factors in [-1, 1] whatever the parametrisation; exploration is added between.

        ``log2``: the tanh itself. ``linear``: the rate is ``0.25 + 0.75 tanh`` in [-0.5, 1], hence ``log2(1.25 + 0.75 tanh)``.
        """
        inner = logits.tanh()
        inner = inner if noise is None else (inner + noise).clamp(-1, 1)
        return torch.log2(1.25 + 0.75 * inner).clamp(-1, 1) if self.linear else inner


class Critic(nn.Module):
    """Q(omega, ., a): as the actor, with the action (and, during training, the full state where `num_state` > 0)."""

    def __init__(self, config: NetworkConfig, *, recurrent: bool, num_state: int, memory_size: int = 64) -> None:
        super().__init__()
        self.trunk = Trunk(config)
        width = config.hidden_size
        self.lstm = nn.LSTM(width, memory_size, batch_first=True) if recurrent else None
        width = (memory_size if recurrent else width) + num_state + 2
        self.fc1 = nn.Linear(width, 128)
        self.fc2 = nn.Linear(128, 128)
        self.out = nn.Linear(128, 1)

    def forward(self, seen: Seen, state: Tensor, action: Tensor) -> Tensor:
        """Values of actions along whole episodes.

        Args:
            seen: ``(B, T, ...)``, see :func:`see`.
            state: ``(B, T, num_state)``, the part of the full state that the critic may see.
            action: ``(B, T, 2)``.

        Returns:
            ``(B, T)``.
        """
        x = self.trunk(seen)
        if self.lstm is not None:
            x, _ = self.lstm(x)
        x = torch.cat([x, state, action], -1)
        return self.out(F.relu(self.fc2(F.relu(self.fc1(x)))))[..., 0]
