"""The frame of the benchmarks: what counts as met, what is written where."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as suite
from benchmarks.measure import Timing, interleaved, met, rate_row, row


@pytest.mark.parametrize(
    ("ours", "asked", "kept"),
    [(20.0, ">= 20", True), (19.9, ">= 20", False), (0.5, "< 0.1", False), (1.0, "<= 1", True), (3.0, "", None)],
)
def test_a_bound_is_kept_or_not(ours: float, asked: str, kept: bool | None) -> None:
    assert met(row("x", ours, 1.0, asked)) is kept


def test_rates_are_work_over_the_least_time() -> None:
    found = rate_row("x", Timing(0.5, 1.0), Timing(2.0, 2.0), work=10, their_work=5)
    assert (found["ours"], found["theirs"], found["ratio"], found["median_ratio"]) == (20.0, 2.5, 8.0, 4.0)


def test_rivals_take_turns() -> None:
    calls: list[str] = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4 and all(0 <= t.least <= t.median for t in seconds.values())


def test_the_table_replaces_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, results = tmp_path / "performance.md", tmp_path / "results" / "benchmarks.json"
    document.write_text(f"# Performance\n\n{suite.BEGIN}\nold\n{suite.END}\nprose\n")
    monkeypatch.setattr(suite, "DOCUMENT", document)
    monkeypatch.setattr(suite, "RESULTS", results)
    found = {"machine": suite.machine(), "rows": {"landscapes": [row("speed", 8.0, 2.0, ">= 5")]}}
    suite.write(found)
    text = document.read_text()
    assert "old" not in text and text.endswith("prose\n") and text.count(suite.BEGIN) == 1
    assert "| speed | 8 | 2 | **4** |  | >= 5 | **no** |" in text
    assert json.loads(results.read_text()) == found


def test_every_benchmark_can_be_found() -> None:
    for name in suite.NAMES:
        assert callable(importlib.import_module(f"benchmarks.{name}").rows)
    with pytest.raises(SystemExit):
        suite.main(["nonesuch"])
