"""Replay of whole episodes: a recurrent policy is learnt from sequences that start with an empty memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rover.navigation.moves import NUM_CONTEXT


class Episodes(NamedTuple):
    """B episodes of T steps. Observations have T + 1 entries (the last follows the last action)."""

    grid: Tensor  # (B, T + 1, n, n)
    direction: Tensor  # (B, T + 1, 2)
    context: Tensor  # (B, T + 1, 5)
    state: Tensor  # (B, T + 1, S): the full state, for critics that may see it
    action: Tensor  # (B, T, 2): log2 factors
    reward: Tensor  # (B, T)


class EpisodeReplay:
    """A preallocated ring of episodes on one device.

    Args:
        capacity: episodes kept.
        horizon: T.
        grid_size: n.
        num_state: S.
        device: where the ring lies.
    """

    def __init__(
        self, capacity: int, horizon: int, grid_size: int, num_state: int, device: torch.device | str = "cpu"
    ) -> None:
        if capacity < 1:
            raise ValueError(f"`capacity` must be at least 1 episode, got {capacity}")

        def room(*shape: int) -> Tensor:
            return torch.zeros(capacity, *shape, device=device)

        seen = horizon + 1
        self.data = Episodes(
            room(seen, grid_size, grid_size),
            room(seen, 2),
            room(seen, NUM_CONTEXT),
            room(seen, num_state),
            room(horizon, 2),
            room(horizon),
        )
        self.capacity = capacity
        self.added = 0

    def __len__(self) -> int:
        """Episodes that can be sampled."""
        return min(self.added, self.capacity)

    def add(self, episodes: Episodes) -> None:
        """Append B episodes, over the oldest ones where the ring is full."""
        count = len(episodes.reward)
        if count > self.capacity:
            raise ValueError(f"`episodes` holds {count}, more than the capacity of {self.capacity}")
        index = (torch.arange(count, device=self.data.reward.device) + self.added) % self.capacity
        for room, new in zip(self.data, episodes, strict=True):
            if new.shape[1:] != room.shape[1:]:
                raise ValueError(
                    f"episode tensors must have shape (B, {tuple(room.shape[1:])}), got {tuple(new.shape)}"
                )
            room[index] = new.to(room.dtype)
        self.added += count

    def sample(self, count: int, generator: torch.Generator) -> Episodes:
        """Draw `count` episodes uniformly with replacement."""
        if len(self) == 0:
            raise ValueError("the replay is empty: add episodes before sampling")
        index = torch.randint(len(self), (count,), generator=generator, device=self.data.reward.device)
        return Episodes(*(room[index] for room in self.data))

    def check_valid(self) -> None:
        """Raise ValueError where a stored episode breaks what the learner relies on (an oracle for tests)."""
        kept = Episodes(*(room[: len(self)] for room in self.data))
        for name, value in kept._asdict().items():
            if not value.isfinite().all():
                raise ValueError(f"replay field `{name}` holds values that are not finite")
        if len(self) and ((kept.grid < 0) | (kept.grid > 1)).any():
            raise ValueError("replay field `grid` leaves [0, 1]")
        if len(self) and (kept.action.abs() > 1).any():
            raise ValueError("replay field `action` leaves [-1, 1]")
        if len(self) and (kept.context[:, 0, :2] != 0).any():
            raise ValueError("an episode does not start with an empty previous action")

    def state_dict(self) -> dict[str, Tensor]:
        """Only what is filled, and the position in the ring."""
        state = {name: value[: len(self)].clone() for name, value in self.data._asdict().items()}
        return {**state, "added": torch.tensor(self.added)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore :meth:`state_dict` of a ring of the same shape."""
        self.added = int(state["added"])
        for name, room in self.data._asdict().items():
            kept = state[name]
            if len(kept) > self.capacity or kept.shape[1:] != room.shape[1:]:
                raise ValueError(f"replay field `{name}` has shape {tuple(kept.shape)}, expected {tuple(room.shape)}")
            room[: len(kept)] = kept.to(room.device)
