"""What an experiment leaves behind: ``summary.json`` for programs, ``summary.md`` for a repository."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rover.evaluation.scores import Estimate

Cell = str | float | int | Estimate | None


@dataclass
class Table:
    """A title, a header and rows of cells; `detail` tables are folded up in the page."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""
    detail: bool = False


@dataclass
class Plot:
    """A file name, relative to the report's folder, and a caption."""

    file: str
    caption: str


@dataclass
class Report:
    """One experiment.

    Attributes:
        name: folder name and anchor.
        title: heading.
        command: how to make it again.
        paragraphs: what was done, in words.
        tables: numbers.
        plots: pictures.
        provenance: versions, seeds, weights, hardware.
        numbers: anything else that programs may want.
    """

    name: str
    title: str
    command: str
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)


def format_cell(cell: Cell) -> str:
    """Three significant digits; an estimate with its interval; ``–`` for nothing; ``> budget`` for infinity."""
    if cell is None:
        return "–"
    if isinstance(cell, Estimate):
        if math.isinf(cell.value):
            return "> budget"
        return f"{format_cell(cell.value)} [{format_cell(cell.low)}, {format_cell(cell.high)}]"
    if isinstance(cell, bool) or not isinstance(cell, float):
        return str(cell)
    if math.isinf(cell):
        return "> budget"
    return f"{cell:.3g}"


def provenance(**more: Any) -> dict[str, Any]:
    """Versions and hardware, and whatever else is given."""
    versions = {}
    for package in ("rover-descent", "torch", "numpy", "scipy", "cma"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"
    return {"versions": versions, "machine": machine, **more}


def write_report(report: Report, folder: str | Path) -> Path:
    """Write ``summary.json`` and ``summary.md`` into a folder; returns the JSON file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.md").write_text(markdown(report), encoding="utf-8")
    path = folder / "summary.json"
    path.write_text(json.dumps(_plain(asdict(report)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def markdown(report: Report) -> str:
    """The report as Markdown."""
    parts = [f"# {report.title}", *report.paragraphs, f"Made by `{report.command}`."]
    for table in report.tables:
        parts += [f"## {table.title}", markdown_table(table)]
        if table.note:
            parts.append(table.note)
    parts += [f"![{plot.caption}]({plot.file})\n\n{plot.caption}" for plot in report.plots]
    parts.append("## Provenance\n\n" + "\n".join(f"- {key}: {inline(v)}" for key, v in report.provenance.items()))
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """A table as GitHub Markdown."""
    lines = [_row(table.columns), _row(["---"] * len(table.columns))]
    lines += [_row([format_cell(cell).replace("|", "\\|") for cell in row]) for row in table.rows]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def from_json(cell: Any) -> Cell:
    """A cell as it was before it was written to ``summary.json``."""
    if isinstance(cell, dict):
        return Estimate(*(math.inf if cell[k] is None else cell[k] for k in ("value", "low", "high")))
    return math.inf if cell == "inf" else cell


def inline(value: Any) -> str:
    """Nested values as one line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {inline(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(inline(v) for v in value)
    return format_cell(value)


def _plain(value: Any) -> Any:
    """JSON has no infinity: ``null`` inside an estimate, the text ``inf`` elsewhere."""
    if isinstance(value, dict):
        is_estimate = set(value) == {"value", "low", "high"}
        return {str(k): None if is_estimate and math.isinf(v) else _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.item() if hasattr(value, "item") else value
