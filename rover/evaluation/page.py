"""The page ``results/index.html``: figures, tables, and where each came from, of all the summaries there are.

It stands alone (figures are inside the file) and needs no script.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rover.evaluation.report import format_cell, from_json, inline

ORDER = (
    "table1",
    "direction",
    "navigator",
    "prototypes",
    "meta_test",
    "linear",
    "iris",
    "digits",
    "suite",
    "suite_ablation",
    "suite_noise",
    "checks",
)
"""Sections of the page, by folder."""


def build_index(results: str | Path) -> Path:
    """Gather every ``*/summary.json`` below a folder into its ``index.html``; returns the file.

    Raises:
        FileNotFoundError: if there is no summary yet.
    """
    results = Path(results)
    summaries = sorted(results.glob("*/summary.json"), key=lambda path: (_place(path.parent.name), path))
    if not summaries:
        raise FileNotFoundError(f"no summary.json below {results}: run an experiment first, for example `make results`")
    reports = [(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in summaries]
    links = " · ".join(f'<a href="#{html.escape(r["name"])}">{html.escape(r["title"])}</a>' for _, r in reports)
    body = "\n".join(_section(folder, report) for folder, report in reports)
    page = _PAGE.replace("{links}", links).replace("{body}", body)
    path = results / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _place(name: str) -> int:
    """The paper's order, then whatever is beyond the paper."""
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _section(folder: Path, report: Mapping[str, Any]) -> str:
    parts = [f'<section id="{html.escape(report["name"])}"><h2>{html.escape(report["title"])}</h2>']
    parts += [f"<p>{html.escape(text)}</p>" for text in report["paragraphs"]]
    for plot in report["plots"]:
        data = base64.b64encode((folder / plot["file"]).read_bytes()).decode()
        caption = html.escape(plot["caption"])
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    parts += [_html_table(table) for table in report["tables"] if not table.get("detail")]
    if folded := [_html_table(table) for table in report["tables"] if table.get("detail")]:
        parts.append(f"<details><summary>{len(folded)} more tables</summary>{''.join(folded)}</details>")
    origin = "".join(
        f"<dt>{html.escape(k)}</dt><dd>{html.escape(inline(v))}</dd>" for k, v in report["provenance"].items()
    )
    command = html.escape(report["command"])
    parts.append(f"<details><summary>Provenance: <code>{command}</code></summary><dl>{origin}</dl></details></section>")
    return "\n".join(parts)


def _html_table(table: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{html.escape(c)}</th>" for c in table["columns"])
    rows = ""
    for row in table["rows"]:
        cells = "".join(f"<td>{html.escape(format_cell(from_json(c)))}</td>" for c in row)
        rows += f"<tr{' class=rover' if str(row[0]).startswith('rover') else ''}>{cells}</tr>"
    note = f"<p class=note>{html.escape(table['note'])}</p>" if table["note"] else ""
    title = html.escape(table["title"])
    return f"<h3>{title}</h3><div class=wide><table><tr>{head}</tr>{rows}</table></div>{note}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rover Descent: results</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { border-top: 2px solid #d55e00; padding-top: 1rem; margin-top: 3rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption, .note { color: #555; font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { background: #f6f6f6; } tr.rover { background: #fdf1e7; }
details { margin: 1rem 0; color: #444; } dt { font-weight: 600; } code { font-size: .9em; }
</style></head><body>
<h1>Rover Descent: results</h1>
<nav>{links}</nav>
{body}
</body></html>
"""
