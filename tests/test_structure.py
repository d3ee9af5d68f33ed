"""Imports run one way (DESIGN section 2), read from the syntax tree so that nothing needs importing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ("train", "evaluate", "conf", "lit_modules", "datamodules", "benchmarks", "tests", "rover")

# Who may import whom; a package may always import itself.
ALLOWED = {
    "rover": set(),
    "lit_modules": {"rover"},
    "datamodules": {"rover"},
    "conf": {"rover", "lit_modules", "datamodules"},
    "train": {"rover", "lit_modules", "datamodules", "conf"},
    "evaluate": {"rover", "lit_modules", "datamodules", "conf", "train"},
}

# Inside rover, the layers from the bottom up; one imports only what is listed.
ROVER = {
    "landscapes": set(),
    "navigation": {"landscapes"},
    "networks": {"navigation", "landscapes"},
    "policy": {"networks", "navigation", "landscapes"},
    "learning": {"policy", "networks", "navigation", "landscapes"},
    "optimize": {"policy", "networks", "navigation", "landscapes"},
    "evaluation": {"optimize", "learning", "policy", "networks", "navigation", "landscapes"},
}
FORBIDDEN_IN_ROVER = {"lightning", "pytorch_lightning", "omegaconf", "torchmetrics", "tensorboard"}
# Extras: imported inside functions (or guarded), so that the four core dependencies are enough for `import rover`.
CORE = {"torch", "numpy", "scipy", "safetensors", "typing_extensions"}
EXTRAS = {"matplotlib", "gymnasium", "cma", "sklearn", "rich", "tqdm", "distributed", "dask"}


def python_files(name: str) -> list[Path]:
    path = ROOT / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports(source: str, path: Path, *, top_level_only: bool = False) -> set[str]:
    """Absolute dotted names of everything imported; relative imports are resolved against the file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    tree = ast.parse(source)
    found: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def imports_of(path: Path, **options: bool) -> set[str]:
    return imports(path.read_text(encoding="utf-8"), path, **options)


@pytest.mark.parametrize("name", ALLOWED)
def test_top_level_imports_run_one_way(name: str) -> None:
    for path in python_files(name):
        ours = {module.split(".")[0] for module in imports_of(path)} & set(TOP)
        assert ours <= ALLOWED[name] | {name}, f"{path.relative_to(ROOT)} imports {ours - ALLOWED[name] - {name}}"


@pytest.mark.parametrize("layer", ROVER)
def test_layers_of_rover_import_downwards(layer: str) -> None:
    path = ROOT / "rover" / layer
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
        if not file.exists():
            continue
        used = {module.split(".")[1] for module in imports_of(file) if module.startswith("rover.")} & set(ROVER)
        assert used <= ROVER[layer] | {layer}, (
            f"{file.relative_to(ROOT)} imports rover's {used - ROVER[layer] - {layer}}"
        )


def test_rover_never_imports_the_training_stack() -> None:
    for path in python_files("rover"):
        used = {module.split(".")[0] for module in imports_of(path)}
        assert not used & FORBIDDEN_IN_ROVER, path.relative_to(ROOT)


def test_rover_imports_extras_only_where_they_are_used() -> None:
    for path in python_files("rover"):
        used = {module.split(".")[0] for module in imports_of(path, top_level_only=True)}
        assert not used & EXTRAS, f"{path.relative_to(ROOT)} imports {used & EXTRAS} when it is imported itself"


def test_there_is_no_utils_file() -> None:
    names = [path.name for top in ALLOWED for path in python_files(top)]
    assert not {"utils.py", "helpers.py", "misc.py", "common.py"} & set(names)


def test_the_reader_of_imports_sees_all_forms() -> None:
    path = ROOT / "rover" / "learning" / "example.py"
    lines = ["import a.b", "from c import d", "from . import e", "from ..policy import f", "from .. import networks"]
    source = "\n".join([*lines, "def g():", "    import h"])
    assert imports(source, path) == {
        "a.b", "c.d", "rover.learning.e", "rover.policy.f", "rover.networks", "h",
    }  # fmt: skip
    assert "h" not in imports(source, path, top_level_only=True)
