"""Results kept by what made them: a hash of the settings and of the code, so that a rerun redoes only what changed.

A key is any JSON-able description of the computation. To it is added a digest of the source files that the result
depends on: an edited landscape or baseline makes its old results unreachable, not wrong.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rover.evaluation.runs import COLUMNS, Run


def digest(description: Any) -> str:
    """Sixteen hexadecimal digits that depend on every value of a JSON-able description, not on the order of keys."""
    text = json.dumps(description, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a cache key must be made of JSON values, dataclasses and arrays, got {type(value).__name__}")


@functools.lru_cache(maxsize=64)
def source_digest(*parts: str) -> str:
    """Digest of source files of the package: names of files or folders relative to ``rover/``, e.g. ``"landscapes"``.

    Raises:
        FileNotFoundError: if a part does not exist.
    """
    root = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for part in parts:
        path = root / part
        if not path.exists():
            raise FileNotFoundError(f"there is no source file or folder {part!r} in the package")
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return total.hexdigest()[:16]


class RunCache:
    """Runs as ``.npz`` files in a folder; ``folder=None`` keeps nothing.

    A file that cannot be read is computed again, because a cache must never be the reason why an experiment fails.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)
        self.hits = 0
        self.misses = 0

    def get(self, key: Any, compute: Callable[[], Run]) -> Run:
        """The run stored under ``key``, or ``compute()``, stored."""
        path = None if self._folder is None else self._folder / f"{digest(key)}.npz"
        if path is not None and path.exists():
            stored = load_run(path)
            if stored is not None:
                self.hits += 1
                return stored
        self.misses += 1
        run = compute()
        if path is not None:
            save_run(run, path)
        return run


def save_run(run: Run, path: Path) -> None:
    """Write a run; readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"method": run.method, "hyper": run.hyper}, default=_plain)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, header=np.array(header), **{name: getattr(run, name) for name in COLUMNS})
    os.replace(partial, path)


def load_run(path: Path) -> Run | None:
    """Read a run, or ``None`` if the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            header = json.loads(str(data["header"]))
            return Run(**header, **{name: data[name] for name in COLUMNS})
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
        return None
