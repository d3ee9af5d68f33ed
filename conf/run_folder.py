"""Where a run leaves what it made, and the notes from which it can be repeated.

``<log_dir>/version_<k>`` holds ``config.yaml`` (resolved, runs as it is), ``versions.json`` (packages, Python, commit,
seed), the TensorBoard events and ``checkpoints/``. Folders are numbered and never time-stamped: the DDP launcher runs
the command again for each rank. Only rank zero writes.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from conf.errors import UserError, one_line

LAST_CHECKPOINT = "checkpoints/last.ckpt"
_PACKAGES = ("rover-descent", "torch", "numpy", "scipy", "safetensors", "lightning", "torchmetrics", "omegaconf")


def versions_of(log_dir: str | Path) -> list[Path]:
    """The run folders in ``log_dir``, oldest first."""
    found = [(int(match[1]), path) for path in Path(log_dir).glob("version_*") if (match := _numbered(path))]
    return [path for _, path in sorted(found)]


def next_version(log_dir: str | Path) -> Path:
    """The first unused ``version_<k>``, so that a new run never overwrites an old one."""
    existing = versions_of(log_dir)
    number = int(existing[-1].name.removeprefix("version_")) + 1 if existing else 0
    return Path(log_dir) / f"version_{number}"


def find_checkpoint(resume: str, log_dir: str | Path) -> Path:
    """What ``resume=`` means: ``last`` is the newest ``last.ckpt`` in ``log_dir``, anything else a path.

    The file is read once (without executing anything in it), so that a damaged one is reported before a model is built.

    Raises:
        UserError: if there is none, or it is not a checkpoint that can be read.
    """
    if resume == "last":
        kept = [path / LAST_CHECKPOINT for path in versions_of(log_dir) if (path / LAST_CHECKPOINT).is_file()]
        if not kept:
            raise UserError(f"resume=last: no {LAST_CHECKPOINT} in any run of {log_dir}; start without resume first")
        checkpoint = kept[-1]
    else:
        checkpoint = Path(resume)
        if not checkpoint.is_file():
            raise UserError(f"resume={resume}: no such checkpoint; give the path of a .ckpt file, or last")
    read_checkpoint(checkpoint)
    return checkpoint


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a Lightning checkpoint with ``weights_only=True``, on the CPU.

    Its checksums are compared first, which PyTorch does not do: a flipped bit would be a wrong weight.

    Raises:
        UserError: if the file is truncated, damaged, foreign, or would execute code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (piece := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {piece} differs")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  (torch raises a dozen kinds for damaged files)
        reason = one_line(error).split(". ")[0][:160]
        raise UserError(f"checkpoint {path} cannot be read, it is damaged or not a checkpoint: {reason}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint of a training: it holds no state_dict")
    return content


def make_writable(folder: Path) -> None:
    """Create the folder and try to write in it.

    Raises:
        UserError: if it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"log folder {folder} cannot be written ({reason}); choose another with log_dir=...") from error


def write_provenance(folder: Path, resolved: str, seed: int) -> dict[str, Any]:
    """Write ``config.yaml`` and ``versions.json`` into ``folder`` and return the latter's content.

    A resumed run keeps the notes of its beginning and adds ``config_1.yaml``, ``versions_1.json`` and so on.
    """
    notes = provenance(seed)
    earlier = len(list(folder.glob("config*.yaml")))
    suffix = f"_{earlier}" if earlier else ""
    (folder / f"config{suffix}.yaml").write_text(resolved)
    (folder / f"versions{suffix}.json").write_text(json.dumps(notes, indent=2) + "\n")
    return notes


def provenance(seed: int) -> dict[str, Any]:
    """Versions, machine type, commit and seed: what a figure came from."""
    notes: dict[str, Any] = {"seed": seed, "python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            notes[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            notes[package] = None
    notes["commit"] = _commit()
    return notes


def _commit() -> str | None:
    """The commit of the source tree, marked ``-dirty`` where it differs; None outside a repository."""
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # looking must not lock the index of whoever is working
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _numbered(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"version_(\d+)", path.name) if path.is_dir() else None
