"""Defaults < YAML < command line, typed: from words on the command line to a validated dataclass.

Everything that can be wrong with a key is found here, before anything is built, and becomes a
:class:`conf.errors.ConfigError` with one line that names the key and the nearest valid one.

Interpolation (``${...}``) is refused as a whole: OmegaConf's resolvers could read the environment (``oc.env``) and any
resolver that a library registers could run code. A config here is data.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.errors import ConfigError
from conf.schema import EXPERIMENTS, TRAININGS, import_object, resolved_yaml

CONFIG_FOLDER = Path(__file__).parent
_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")


class Loaded(NamedTuple):
    """A validated configuration.

    Attributes:
        task: which entry of the registry it is for.
        config: an instance of that task's dataclass.
        resolved: the same as YAML text, complete.
    """

    task: str
    config: Any
    resolved: str


def load_config(name: str, overrides: Sequence[str], tasks: Mapping[str, Any]) -> Loaded:
    """Read ``name``, apply ``key=value`` words, validate.

    Args:
        name: a path, or the name of a YAML in ``conf/``.
        overrides: words like ``trainer.devices=2``; the value is read as YAML.
        tasks: the registry that ``task:`` is looked up in; its values have a ``schema()``.

    Raises:
        ConfigError: for anything wrong with the file, a key or a value.
    """
    path = find_config(name)
    layers = [(f"{path.name}: ", read_yaml(path))] + [("", parse_override(word)) for word in overrides]
    task = _task(layers, tasks, path.name)
    schema = tasks[task].schema()
    has_task = any(field.name == "task" for field in dataclasses.fields(schema))

    merged = OmegaConf.structured(schema)
    for origin, layer in layers:
        if not has_task:
            layer = {key: value for key, value in layer.items() if key != "task"}
        try:
            _check_keys(layer, schema, schema)
            merged = OmegaConf.merge(merged, OmegaConf.create(layer))
        except OmegaConfBaseException as error:
            reason = str(error.msg or error).splitlines()[0]
            raise ConfigError(f"{origin}`{error.full_key or _dotted(layer)}`: {reason}") from error
        except (TypeError, ValueError, AttributeError) as error:  # a mapping where a list belongs, and the like
            raise ConfigError(f"{origin}`{_dotted(layer)}`: {' '.join(str(error).split())}") from error
        except ConfigError as error:
            raise ConfigError(f"{origin}{error}") from error
    assert isinstance(merged, DictConfig)
    if missing := OmegaConf.missing_keys(merged):
        raise ConfigError(f"{path.name}: `{min(missing)}` has no value; give it in the YAML or as {min(missing)}=...")
    config = _instantiate(merged)
    resolved = resolved_yaml(config)
    return Loaded(task, config, resolved if has_task else f"task: {task}\n{resolved}")


def find_config(name: str) -> Path:
    """The file that ``--config NAME`` means: a path, or a name in ``conf/`` (``.yaml`` may be left out)."""
    for candidate in (Path(name), CONFIG_FOLDER / name, CONFIG_FOLDER / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = sorted(path.name for path in CONFIG_FOLDER.glob("*.yaml"))
    raise ConfigError(f"config {name!r} does not exist, here or in conf/{_nearest(Path(name).name, known)}")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, without interpolation."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {getattr(error, 'problem', None) or str(error)}") from error
    except (OSError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, got a {type(content).__name__}")
    _refuse_interpolation(content, path.name)
    return typing.cast("dict[str, Any]", content)


def parse_override(word: str) -> dict[str, Any]:
    """``"a.b=1"`` -> ``{"a": {"b": 1}}``."""
    key, equals, text = word.partition("=")
    if not equals:
        raise ConfigError(f"`{word}` has no value: overrides are written key=value, without spaces ({word}=...)")
    if key.startswith("-"):
        raise ConfigError(f"`{key}`: overrides take no dashes: {key.lstrip('-')}={text}")
    if not _KEY.fullmatch(key):
        raise ConfigError(f"`{key}` is not a key: keys are names joined by dots, like trainer.devices")
    if not text:
        raise ConfigError(f"`{key}` has no value: write {key}=null for none, or {key}='\"\"' for an empty text")
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)["value"]  # type: ignore[index, call-overload]
    except (yaml.YAMLError, OmegaConfBaseException, RecursionError, ValueError) as error:
        raise ConfigError(f"`{key}`: {text!r} is not a YAML value: {' '.join(str(error).split())}") from error
    _refuse_interpolation(value, f"`{key}`")
    for name in reversed(key.split(".")):
        value = {name: value}
    return value  # type: ignore[return-value]


def _task(layers: list[tuple[str, dict[str, Any]]], tasks: Mapping[str, Any], file: str) -> str:
    chosen = [layer["task"] for _, layer in layers if "task" in layer]
    if not chosen:
        raise ConfigError(f"{file}: `task` is missing; it is one of {', '.join(sorted(tasks))}")
    for command, others in (("train.py", TRAININGS), ("evaluate.py", EXPERIMENTS)):
        if tasks is not others and isinstance(chosen[-1], str) and chosen[-1] in others and chosen[-1] not in tasks:
            raise ConfigError(
                f"{file}: `task` {chosen[-1]!r} belongs to the other command: python {command} --config {file}"
            )
    if not isinstance(chosen[-1], str) or chosen[-1] not in tasks:
        raise ConfigError(
            f"{file}: `task` {str(chosen[-1])!r} is not known here{_nearest(str(chosen[-1]), list(tasks))}"
        )
    return chosen[-1]


def _refuse_interpolation(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_interpolation(key, where)
            _refuse_interpolation(item, where if where.startswith("`") else f"{where}: `{key}`")
    elif isinstance(value, list):
        for item in value:
            _refuse_interpolation(item, where)
    elif isinstance(value, str) and "${" in value:
        raise ConfigError(
            f"{where}: {value!r}: interpolation is refused, a config may not read the environment or run code"
        )


def _dotted(layer: Mapping[Any, Any]) -> str:
    """The key that an override sets, or the path down to the first branching of a YAML."""
    path = []
    node: Any = layer
    while isinstance(node, Mapping) and len(node) == 1:
        key, node = next(iter(node.items()))
        path.append(str(key))
    return ".".join(path) or next(iter(map(str, layer)), "")


def _check_keys(values: Mapping[Any, Any], schema: type, root: type, path: str = "") -> None:
    """Every key must be a field of the dataclass (or an argument of the class named in ``keys_of``)."""
    sections = _sections(schema)
    hints = typing.get_type_hints(schema)
    for key, value in values.items():
        dotted = f"{path}{key}"
        if key not in sections:
            raise ConfigError(f"unknown key `{dotted}`{_suggest(str(key), path, list(sections), root)}")
        inner = sections[key]
        if isinstance(inner, frozenset) and isinstance(value, dict):
            for name in value:
                if name not in inner:
                    hint = _suggest(str(name), f"{dotted}.", sorted(inner), root)
                    raise ConfigError(f"unknown key `{dotted}.{name}`{hint}")
        elif isinstance(inner, type) and isinstance(value, dict):
            _check_keys(value, inner, root, f"{dotted}.")
        elif hints[key] is bool and not isinstance(value, (bool, str)):  # OmegaConf would take 3 for true
            raise ConfigError(f"`{dotted}` must be true or false, got {value!r}")


def _sections(schema: type) -> dict[str, type | frozenset[str] | None]:
    """Field -> its dataclass, or the set of keys that a free mapping takes, or None for a plain value."""
    hints = typing.get_type_hints(schema)
    found: dict[str, type | frozenset[str] | None] = {}
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            found[field.name] = hints[field.name]
        elif "keys_of" in field.metadata:
            names = inspect.signature(import_object(field.metadata["keys_of"])).parameters
            found[field.name] = frozenset(names) - set(field.metadata.get("except", ()))
        else:
            found[field.name] = None
    return found


def _all_keys(schema: type, path: str = "") -> Iterator[str]:
    for name, inner in _sections(schema).items():
        yield f"{path}{name}"
        if isinstance(inner, frozenset):
            yield from (f"{path}{name}.{key}" for key in sorted(inner))
        elif inner is not None:
            yield from _all_keys(inner, f"{path}{name}.")


def _suggest(key: str, path: str, siblings: list[str], root: type) -> str:
    """The nearest valid key: a sibling that looks alike, the same name elsewhere, else whatever is nearest."""
    if near := difflib.get_close_matches(key, siblings, n=1, cutoff=0.7):
        return f", did you mean `{path}{near[0]}`?"
    everywhere = list(_all_keys(root))
    if same := [dotted for dotted in everywhere if dotted.rpartition(".")[2] == key]:
        return f", did you mean `{same[0]}`?"
    return _nearest(path + key, [path + name for name in siblings] if path else everywhere)


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.0)
    return f", did you mean `{near[0]}`?" if near else ""


def _instantiate(node: DictConfig, path: str = "") -> Any:
    """Build the dataclasses from the innermost outwards, so that a range error can name the section it is in."""
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(child)):
            _instantiate(child, f"{path}{key!s}.")
    try:
        return OmegaConf.to_object(node)
    except ValueError as error:
        message = " ".join(str(error).split())
        named = re.match(r"`(\w+)`", message)
        if named and named[1] in node:
            message = f"`{path}{named[1]}`{message[named.end() :]}"
        elif path:
            message = f"`{path.rstrip('.')}`: {message}"
        raise ConfigError(message) from error
