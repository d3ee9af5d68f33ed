"""Fresh tables and pictures for documents: ``python -m rover.evaluation.document [results [document ...]]``.

Without a name they are ``docs/results.md`` and those in ``docs/results/``.

A document says where they belong, and what stands between the two comments is replaced::

    <!-- table prototypes: Median gap after 30 rounds -->
    <!-- end -->

    <!-- figure prototypes: figure4.png -->
    <!-- end -->

The first word is a folder of the results; a table is found by the beginning of its title. Blocks whose results are not
there are left alone. Pictures are copied to ``images/`` beside the document.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rover.evaluation.page import build_index
from rover.evaluation.report import Table, from_json, markdown_table

_BLOCK = re.compile(r"(<!-- (table|figure) (\w+): (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def refresh(document: str | Path, results: str | Path) -> list[str]:
    """Put the tables and pictures of the summaries into a document; returns the names of the blocks left alone."""
    document, results = Path(document), Path(results)
    left: list[str] = []

    def fill(match: re.Match[str]) -> str:
        opening, kind, folder, name, closing = match.groups()
        path = results / folder / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"tables": [], "plots": []}
        body = _table(summary, name) if kind == "table" else _figure(summary, path.parent, document.parent, name)
        if body is None:
            left.append(f"{folder}: {name}")
            return match.group()
        return f"{opening}\n{body}\n\n{closing}"

    text = _BLOCK.sub(fill, document.read_text(encoding="utf-8"))
    document.write_text(text, encoding="utf-8")
    return left


def _table(summary: Mapping[str, Any], title: str) -> str | None:
    for table in summary["tables"]:
        if table["title"].startswith(title):
            rows = [[from_json(cell) for cell in row] for row in table["rows"]]
            return markdown_table(Table(table["title"], table["columns"], rows))
    return None


def _figure(summary: Mapping[str, Any], source: Path, folder: Path, file: str) -> str | None:
    for plot in summary["plots"]:
        if plot["file"] == file:
            target = folder / "images" / f"{summary['name']}_{file}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target)
            return f"![{plot['caption']}](images/{target.name})\n\n*{plot['caption']}*"
    return None


def main(argv: Sequence[str]) -> None:
    """Build the page of all results and refresh the documents."""
    results, *documents = argv or ["results"]
    print(f"page: {build_index(results)}")
    usual = [*Path("docs").glob("results.md"), *sorted(Path("docs").glob("results/*.md"))]
    for document in map(Path, documents) if documents else usual:
        for name in refresh(document, results):
            print(f"{document}: left alone, no results: {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
