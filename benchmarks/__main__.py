"""``python -m benchmarks [name ...]``: measure, write ``results/benchmarks.json`` and the table of ``docs/performance.md``.

Without a name all of them run, under ten minutes on two idle cores. With names only their rows are replaced.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

from benchmarks.measure import met  # noqa: E402
from conf.run_folder import provenance  # noqa: E402

NAMES = ("landscapes", "tuples", "environment", "updates", "overhead", "slices", "startup", "processes")
ROOT = Path(__file__).resolve().parent.parent
RESULTS, DOCUMENT = ROOT / "results" / "benchmarks.json", ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks: written by `make bench` -->", "<!-- end of benchmarks -->"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(NAMES)}")
    names = parser.parse_args(argv).names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(NAMES)}")
    torch.set_num_threads(1)
    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() and tuple(names) != NAMES else {}
    for name in names:
        begin = time.perf_counter()
        kept[name] = importlib.import_module(f"benchmarks.{name}").rows()
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
        for found in kept[name]:
            print(line(found))
        write({"machine": machine(), "rows": {name: kept[name] for name in NAMES if name in kept}})
    return 0


def machine() -> dict[str, Any]:
    """Processor, cores, versions and commit: what the absolute figures belong to."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    models = [entry.partition(":")[2].strip() for entry in text.splitlines() if entry.startswith("model name")]
    return {"processor": models[0] if models else "unknown", "cores": os.cpu_count(), **provenance(0)}


def line(found: dict[str, Any]) -> str:
    """One row of the Markdown table."""
    kept = met(found)
    mark = "" if kept is None else "yes" if kept else "**no**"
    median = f"{found['median_ratio']:.3g}" if "median_ratio" in found else ""
    numbers = f"{found['ours']:.3g} | {found['theirs']:.3g} | **{found['ratio']:.3g}** | {median}"
    return f"| {found['name']} | {numbers} | {found['asked']} | {mark} |"


def write(results: dict[str, Any]) -> None:
    """The JSON, and the part of the document between the two markers."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    facts = results["machine"]
    head = f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}, PyTorch {facts['torch']}."
    table = ["| what | ours | theirs | ratio | of medians | asked | met |", "|---|---|---|---|---|---|---|"]
    table += [line(found) for rows in results["rows"].values() for found in rows]
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(before + BEGIN + "\n" + "\n".join([head, "", *table]) + "\n" + END + after)


if __name__ == "__main__":
    sys.exit(main())
