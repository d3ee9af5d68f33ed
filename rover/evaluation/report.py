"""What an experiment leaves behind: ``summary.json`` for programs, ``summary.md`` for a repository, a page for people.

The page, ``results/index.html``, is built from all the summaries there are: figures, tables, and where each came from.
It stands alone (figures are inside the file) and needs no script.
"""

from __future__ import annotations

import base64
import html
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
    """A title, a header and rows of cells."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""


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
    parts.append("## Provenance\n\n" + "\n".join(f"- {key}: {_inline(v)}" for key, v in report.provenance.items()))
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """A table as GitHub Markdown."""
    lines = [_row(table.columns), _row(["---"] * len(table.columns))]
    lines += [_row([format_cell(cell).replace("|", "\\|") for cell in row]) for row in table.rows]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def build_index(results: str | Path) -> Path:
    """Gather every ``*/summary.json`` below a folder into its ``index.html``; returns the file.

    Raises:
        FileNotFoundError: if there is no summary yet.
    """
    results = Path(results)
    summaries = sorted(results.glob("*/summary.json"))
    if not summaries:
        raise FileNotFoundError(f"no summary.json below {results}: run an experiment first, for example `make results`")
    reports = [(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in summaries]
    links = " · ".join(f'<a href="#{html.escape(r["name"])}">{html.escape(r["title"])}</a>' for _, r in reports)
    body = "\n".join(_section(folder, report) for folder, report in reports)
    page = _PAGE.replace("{links}", links).replace("{body}", body)
    path = results / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _section(folder: Path, report: Mapping[str, Any]) -> str:
    parts = [f'<section id="{html.escape(report["name"])}"><h2>{html.escape(report["title"])}</h2>']
    parts += [f"<p>{html.escape(text)}</p>" for text in report["paragraphs"]]
    for plot in report["plots"]:
        data = base64.b64encode((folder / plot["file"]).read_bytes()).decode()
        caption = html.escape(plot["caption"])
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    for table in report["tables"]:
        head = "".join(f"<th>{html.escape(c)}</th>" for c in table["columns"])
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(format_cell(_cell(c)))}</td>" for c in row) + "</tr>"
            for row in table["rows"]
        )
        note = f"<p class=note>{html.escape(table['note'])}</p>" if table["note"] else ""
        parts.append(
            f"<h3>{html.escape(table['title'])}</h3><div class=wide><table><tr>{head}</tr>{rows}</table></div>{note}"
        )
    origin = "".join(
        f"<dt>{html.escape(k)}</dt><dd>{html.escape(_inline(v))}</dd>" for k, v in report["provenance"].items()
    )
    command = html.escape(report["command"])
    parts.append(f"<details><summary>Provenance: <code>{command}</code></summary><dl>{origin}</dl></details></section>")
    return "\n".join(parts)


def _cell(cell: Any) -> Cell:
    """Back from JSON."""
    if isinstance(cell, dict):
        return Estimate(*(math.inf if cell[k] is None else cell[k] for k in ("value", "low", "high")))
    return math.inf if cell == "inf" else cell


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_inline(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_inline(v) for v in value)
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


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rover Descent: results</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { border-top: 2px solid #d55e00; padding-top: 1rem; margin-top: 3rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption, .note { color: #555; font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { background: #f6f6f6; } details { margin: 1rem 0; color: #444; } dt { font-weight: 600; } code { font-size: .9em; }
</style></head><body>
<h1>Rover Descent: results</h1>
<nav>{links}</nav>
{body}
</body></html>
"""
