"""The wheel: `rover` alone, small, quick to import, offline, with its weights, without the training stack."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import rover

ROOT = Path(__file__).resolve().parents[2]

# Run in a fresh interpreter, in which only the wheel and its four dependencies can be imported, and nothing reaches a network.
USE = """
import socket, sys, time

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"lightning", "pytorch_lightning", "omegaconf", "torchmetrics", "matplotlib", "sklearn",
                                  "rich", "cma", "gymnasium", "distributed", "conf", "datamodules", "lit_modules"}:
            raise ModuleNotFoundError(name)

def no_network(*args, **kwargs):
    raise OSError("offline")

sys.meta_path.insert(0, Refuse())
socket.socket.connect = socket.create_connection = no_network
import torch
began = time.perf_counter()
import rover
seconds = time.perf_counter() - began
assert rover.__file__.startswith(sys.argv[1]), rover.__file__
for name in rover.available():
    result = rover.minimize(lambda x: (x[0] - 1) ** 2 + (x[1] + 2) ** 2, [3.0, 3.0], policy=name, maxiter=3)
    assert result.fun < 29
print(seconds, *rover.available())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the source tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "rover", source / "rover", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr[-2000:]
    return next(out.glob("rover_descent-*.whl"))


@pytest.mark.slow
def test_it_holds_rover_and_the_weights_and_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 5e6
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"rover", "rover_descent"}
    for policy in rover.available():
        assert f"rover/pretrained/{policy}.safetensors" in names
    assert "rover/py.typed" in names


@pytest.mark.slow
def test_it_works_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "use.py"), str(tmp_path / "site")]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")}
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    seconds, *names = ran.stdout.split()
    assert names == rover.available()
    assert float(seconds) < 10  # two on a machine that has nothing else to do
