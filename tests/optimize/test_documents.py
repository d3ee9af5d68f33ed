"""Every block of Python in the guide and in the README runs, and its results are as good as the text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name: str) -> dict[str, Any]:
    """The names that the document's blocks leave behind."""
    text = (ROOT / name).read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "document"}
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        line = text[: match.start()].count("\n") + 1
        exec(compile("\n" * line + match.group(1), name, "exec"), names)
    return names


def test_the_readme() -> None:
    assert run("README.md")["result"].fun < 1e-4


@pytest.mark.slow
def test_the_guide() -> None:
    names = run("docs/guide.md")
    assert names["rosenbrock"](names["whole"].x) < 1e-2
    assert names["trained"].fun < 0.75 * names["before"]
    assert -names["tuned"].fun > 0.97
    assert float(names["loss_value"]) < 1e-3


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "docs/guide.md"):
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        headings = {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("#")
        }
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in headings, f"{name}: {target}"
            elif "://" not in target:
                assert (path.parent / target.split("#")[0]).exists(), f"{name}: {target}"
