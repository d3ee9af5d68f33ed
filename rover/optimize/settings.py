"""The options of a run, checked before anything is evaluated."""

from __future__ import annotations

import copy
import difflib
import operator
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rover.optimize.rules import EngineRules
from rover.optimize.slices import check_fit, default_slices
from rover.optimize.stopping import StoppingRules, number, whole_number
from rover.policy import Policy, load


@dataclass
class Settings:
    """Options of :class:`rover.Optimizer`, which are also the keyword arguments of :func:`rover.minimize`.

    Attributes:
        bounds: SciPy ``Bounds`` or d pairs ``(low, high)`` with None for none; never violated. A variable whose bounds
            are equal is kept fixed (slices then count the others).
        policy: a shipped name (see :func:`rover.available`), a path, or a policy.
        seed: of everything random (slices, restarts); an int, a ``torch.Generator``, or None for a fresh one each time.
        initial_step: first step size in units of x. Left out, it follows from `initial_resolution`, from `bounds` or
            from a probing round (see `probe`).
        initial_resolution: first distance between neighbouring grid points, in units of x.
        probe: whether the first round samples the whole box, or without one many scales around x0, to find where to begin
            and how large the first grid should be; ``"ladder"``: box and scales both. None: if no initial length is
            given, except that the faithful policy in a box starts at x0 with a step of 0.1 and a half-window of 0.14
            box widths.
        restarts: how often a converged rover starts again elsewhere.
        noisy: f is noisy: candidates are evaluated again in every round, and the result is the one with the best mean.
        slices: strategy of slices for d > 2, see :mod:`rover.optimize.slices`.
        grid_size: only checked against the weights.
        memory_limit: bytes of points handed to a batched objective in one call; larger rounds come in pieces.
        stopping: `maxiter`, `maxfev`, `xatol`, `fatol`, `ftarget`, `maxtime`, see
            :class:`rover.optimize.stopping.StoppingRules`.
        engine: `anchor`, `at_bounds`, `combine`, `inherit`, `recall` and `focus`, see
            :class:`rover.optimize.rules.EngineRules`.
    """

    bounds: Any = None
    policy: Any = "default"
    seed: Any = 0
    initial_step: float | None = None
    initial_resolution: float | None = None
    probe: bool | str | None = None
    restarts: int = 0
    noisy: bool = False
    slices: Any = None
    grid_size: int | None = None
    memory_limit: int = 2**30
    stopping: StoppingRules = field(default_factory=StoppingRules)
    engine: EngineRules = field(default_factory=EngineRules)
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """Check the options.

        Raises:
            ValueError: for an unknown name (with the nearest known one) or a value out of range.
        """
        refuse_unknown(options, OPTIONS)
        rest = dict(options)
        stopping = StoppingRules(**{k: rest.pop(k) for k in _names(StoppingRules) if k in rest})
        engine = EngineRules(**{k: rest.pop(k) for k in _names(EngineRules) if k in rest})
        settings = cls(**rest, stopping=stopping, engine=engine, options=dict(options))
        for name in ("initial_step", "initial_resolution"):
            value = getattr(settings, name)
            if value is not None:
                value = number(name, value)
                if not 0 < value < float("inf"):
                    raise ValueError(f"`{name}` must be positive and finite, got {value!r}")
                setattr(settings, name, value)
        settings.restarts = whole_number("restarts", settings.restarts) or 0
        for name in ("noisy", "probe"):
            value = getattr(settings, name)
            ladder = name == "probe" and isinstance(value, str) and value == "ladder"
            if not (ladder or isinstance(value, (bool, np.bool_, type(None)))):
                raise ValueError(f"`{name}` must be True or False, got {value!r}")
        settings.grid_size = whole_number("grid_size", settings.grid_size)
        settings.memory_limit = whole_number("memory_limit", settings.memory_limit) or 2**62
        return settings

    def load_policy(self) -> Policy:
        """The policy, whose grid size must be the one asked for."""
        policy = load(self.policy)
        weights = next(policy.parameters())
        if weights.device.type != "cpu" or weights.dtype != torch.float32:
            policy = copy.deepcopy(policy).to(
                "cpu", torch.float32
            )  # the networks are small: not worth the way to a GPU
        if self.grid_size is not None and self.grid_size != policy.grid_size:
            raise ValueError(
                f"`grid_size` must be {policy.grid_size} for this policy, got {self.grid_size}; choose a policy that "
                "was trained for it"
            )
        return policy

    def seed_number(self) -> int:
        """A seed for this run's own generators."""
        if self.seed is None:
            return secrets.randbits(62)
        if isinstance(self.seed, torch.Generator):
            return int(torch.randint(2**62, (1,), generator=self.seed, device=self.seed.device))
        try:
            if isinstance(self.seed, bool):
                raise TypeError
            return operator.index(self.seed) % 2**63
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"`seed` must be an int, a torch.Generator or None, got {self.seed!r}") from None

    def slices_for(self, dim: int) -> Any:
        """The strategy: a copy of its own, since strategies have a state (an iterator is used as it is)."""
        if self.slices is None:
            return default_slices(dim)
        if isinstance(self.slices, Iterator):
            return self.slices
        if not callable(self.slices):
            raise ValueError(
                f"`slices` must be a strategy such as rover.optimize.Partners(2), a function of (dim, generator) that "
                f"returns pairs, or an iterator of pairs, got {self.slices!r}"
            )
        check_fit(self.slices, dim)
        return copy.deepcopy(self.slices)


def _names(cls: Any) -> list[str]:
    return [f.name for f in fields(cls)]


OPTIONS = tuple(
    name for name in _names(Settings) if name not in ("stopping", "engine", "options")
) + tuple(_names(StoppingRules) + _names(EngineRules))  # fmt: skip
"""Names of all options of an :class:`rover.Optimizer`."""


def refuse_unknown(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise a ``ValueError`` that names the nearest known option."""
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"unknown option `{name}`; {hint}")


def parse_start(x0: Any) -> NDArray[Any]:
    """Starts as ``(S, d)`` float64.

    Raises:
        ValueError: if they are not finite real numbers of shape (d,) or (starts, d).
    """
    start = np.atleast_1d(parse_values(x0, "x0"))
    if start.ndim > 2 or start.size == 0:
        raise ValueError(f"`x0` must have shape (d,) or (starts, d) with at least one variable, got {start.shape}")
    if not np.isfinite(start).all():
        raise ValueError("`x0` must be finite, it holds NaN or infinity")
    return np.atleast_2d(start).copy()


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor of any device and type as a NumPy array; NumPy has no bfloat16, which becomes float32."""
    tensor = tensor.detach().cpu().resolve_conj()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def parse_values(values: Any, name: str) -> NDArray[Any]:
    """Anything numeric (NumPy, torch, nested lists) as float64.

    Raises:
        ValueError: if it is ragged, complex, or not numbers.
    """
    if isinstance(values, torch.Tensor):
        values = as_array(values)
    elif isinstance(values, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in values):
        values = [v.detach().cpu().tolist() if isinstance(v, torch.Tensor) else v for v in values]
    elif isinstance(values, Iterator):
        values = list(values)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "OUSV" or array.dtype.kind in "mMc":
            if array.dtype.kind != "O":
                raise TypeError(f"got {array.dtype}")
            array = np.array(
                [[_real(v) for v in row] for row in array] if array.ndim == 2 else [_real(v) for v in array]
            )
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"`{name}` must be real numbers ({str(error).splitlines()[0]})") from None


def _real(value: Any) -> float:
    if value is None or isinstance(value, (str, bytes, complex)):
        raise TypeError(f"got {value!r}")
    return float(value)
