"""A trained rover: direction net + actor + how they are to be run + where they came from, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rover.navigation.frame import FRAME_RULES, update_frame
from rover.navigation.grid import Sight, look
from rover.navigation.moves import Decision, RoverState, context_of, initial_state, transition
from rover.networks import Actor, AngleNet, NetworkConfig, Seen, see, turn

_FORMAT = "rover-descent-policy-1"
_ANGLE_FORMAT = "rover-descent-direction-1"
_DAMAGE = (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError)


@dataclass
class PolicyConfig:
    """How the networks are built and run."""

    angle: NetworkConfig = field(default_factory=NetworkConfig)
    actor: NetworkConfig = field(default_factory=NetworkConfig)
    memory_size: int = 64
    frame: str = "quadratic"
    """``none`` (the paper) or ``quadratic``, see :mod:`rover.navigation.frame`."""
    act_first: bool = True
    """Whether the step size chosen from a grid serves the move out of that grid (Deviation D4); False is the paper."""

    def __post_init__(self) -> None:
        if self.frame not in FRAME_RULES:
            raise ValueError(f"`frame` must be one of {FRAME_RULES}, got {self.frame!r}")
        if self.angle.grid_size != self.actor.grid_size:
            raise ValueError(
                f"`grid_size` of the direction net ({self.angle.grid_size}) and of the actor ({self.actor.grid_size}) differ"
            )


class Policy(nn.Module):
    """The chained predictors of Figure 1: direction, then step size and resolution.

    Attributes:
        config: how it is run.
        provenance: JSON-able mapping: configs, seeds, versions and figures of the training that made the weights.
    """

    def __init__(self, config: PolicyConfig, provenance: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.config = config
        self.provenance = dict(provenance or {})
        self.angle_net = AngleNet(config.angle)
        self.actor = Actor(config.actor, config.memory_size)
        self.eval()

    @property
    def grid_size(self) -> int:
        """n: the policy looks at n x n points a round."""
        return self.config.angle.grid_size

    @torch.no_grad()
    def direction(self, grid: Tensor) -> Tensor:
        """Unit vectors ``Delta(s)``: ``(B, n, n)`` in [0, 1] -> ``(B, 2)``, float32; row index i is the first coordinate.

        Raises:
            ValueError: if the grid has another shape than the weights were trained for.
        """
        grid = torch.as_tensor(grid, dtype=torch.float32)
        n = self.grid_size
        if grid.ndim != 3 or grid.shape[1:] != (n, n):
            raise ValueError(f"`grid` must have shape (B, {n}, {n}) for this policy, got {tuple(grid.shape)}")
        return self.angle_net.direction(grid)

    def initial_state(self, theta: Tensor, alpha: Tensor, delta: Tensor) -> RoverState:
        """A rover that has seen nothing: ``theta (B, 2)``, ``alpha (B,)``, ``delta (B,)``."""
        return initial_state(theta, alpha, delta, self.config.memory_size)

    @torch.no_grad()
    def decide(self, sight: Sight, state: RoverState) -> Decision:
        """Direction, rates, next frame and memory of B rovers from what they see."""
        angle, actor = self.config.angle, self.config.actor
        turned = turn(sight.grid, angle)
        direction = self.angle_net.direction_of(turned)
        alike = (angle.canonical, angle.features) == (actor.canonical, actor.features)
        seen = see(sight.grid, direction, context_of(state, sight), actor, turned if alike else None)
        logits, memory = self.actor(Seen(seen.grid[:, None], seen.extra[:, None]), state.memory)
        frame = update_frame(state.frame, sight.grid, self.config.frame)
        return Decision(direction, self.actor.squash(logits[:, 0]), memory, frame)

    def advance(self, state: RoverState, values: Tensor) -> tuple[RoverState, Decision]:
        """One round of B rovers that have sampled ``values (B, n * n)``: see, decide, move."""
        sight = look(values, self.grid_size)
        decision = self.decide(sight, state)
        return transition(state, decision, sight, act_first=self.config.act_first), decision

    def save(self, path: str | Path) -> None:
        """Write weights, configuration and provenance as safetensors (no code in the file)."""
        header = {
            "format": _FORMAT,
            "config": json.dumps(asdict(self.config)),
            "provenance": json.dumps(self.provenance),
        }
        _write(path, self, header)


def available() -> list[str]:
    """Names of the policies that ship with the package."""
    folder = resources.files("rover") / "pretrained"
    return sorted(
        item.name.removesuffix(".safetensors") for item in folder.iterdir() if item.name.endswith(".safetensors")
    )


def load(policy: str | Path | Policy = "default") -> Policy:
    """Load a trained policy.

    Args:
        policy: a shipped name (see :func:`available`), a path to a ``.safetensors`` file, or a policy (returned as is).

    Raises:
        ValueError: if there is no such policy, or the file is damaged or not a policy.
    """
    if isinstance(policy, Policy):
        return policy
    if not isinstance(policy, (str, Path)):
        raise ValueError(f"`policy` must be a name of {available()}, a path, or a rover.Policy, got {policy!r}")
    path = Path(policy)
    if path.suffix != ".safetensors":
        name = str(policy)
        if name not in available():
            raise ValueError(f"`policy` must be one of {available()} or a path to a .safetensors file, got {name!r}")
        path = Path(str(resources.files("rover") / "pretrained" / f"{name}.safetensors"))
    if not path.is_file():
        raise ValueError(f"`policy` file {path} does not exist; shipped policies are {available()}")
    try:
        header, tensors = _read(path, _FORMAT)
        raw = json.loads(header["config"])
        raw["angle"], raw["actor"] = NetworkConfig(**raw["angle"]), NetworkConfig(**raw["actor"])
        result = Policy(PolicyConfig(**raw), json.loads(header["provenance"]))
        result.load_state_dict(tensors)
    except _DAMAGE as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path} is not a whole rover policy ({reason}); export it again or use a shipped one"
        ) from error
    return result


def save_angle_net(path: str | Path, net: AngleNet, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a direction net alone (before there is a policy to go with it) as safetensors."""
    header = {
        "format": _ANGLE_FORMAT,
        "config": json.dumps(asdict(net.config)),
        "provenance": json.dumps(dict(provenance or {})),
    }
    _write(path, net, header)


def load_angle_net(path: str | Path) -> AngleNet:
    """Read what :func:`save_angle_net` wrote; the net is in evaluation mode and knows its ``provenance``.

    Raises:
        ValueError: if there is no such file, or it is damaged or not a direction net.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"direction net {path} does not exist; train one with `python train.py --config angle.yaml`")
    try:
        header, tensors = _read(path, _ANGLE_FORMAT)
        net = AngleNet(NetworkConfig(**json.loads(header["config"])))
        net.load_state_dict(tensors)
        net.provenance = json.loads(header["provenance"])
    except _DAMAGE as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a whole direction net ({reason}); train it again") from error
    return net.eval()


def _write(path: str | Path, module: nn.Module, header: dict[str, str]) -> None:
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    partial = Path(path).with_name(f".{Path(path).name}.partial")  # renamed when whole: the old file stays until then
    try:
        save_file(tensors, str(partial), metadata={**header, "sha256": _checksum(header, tensors)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _checksum(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Of all that is in the file: without it a flipped bit would be a wrong weight."""
    digest = hashlib.sha256(json.dumps(sorted(header.items())).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, wanted: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a safetensors file of ours."""
    with safe_open(str(path), framework="pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if header.get("format") != wanted:
        raise ValueError(f"its format is {header.get('format')!r}, not {wanted!r}")
    kept = header.pop("sha256", None)
    if kept is not None and kept != _checksum(header, tensors):
        raise ValueError("its checksum differs from what was written")
    return header, tensors
