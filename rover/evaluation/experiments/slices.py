"""What the experiments beyond two dimensions share: settings, drawing, tables of final losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest, wilcoxon

from rover.evaluation.comparison import ComparisonConfig, Problem, Runs, details, hyper_of, medians
from rover.evaluation.curves import AXES
from rover.evaluation.figures import Shade, convergence_figure, label, save
from rover.evaluation.high_dimensional import ProblemSet
from rover.evaluation.report import Plot, Report, Table, provenance, write_report
from rover.evaluation.runs import Run


@dataclass
class SlicesConfig(ComparisonConfig):
    """Settings of an experiment on slices; see :class:`ComparisonConfig`.

    Attributes:
        starts: judged runs on each problem.
        tuning_starts: runs on each problem on which hyper-parameters are tuned.
        panels: file name of a figure -> the entrants it shows; none named: all that are ``drawn``.
        pairs: pairs of entrants, the first expected to end lower, for :func:`paired_table`.
    """

    rounds: int = 100
    starts: int = 20
    tuning_starts: int = 10
    panels: dict[str, list[str]] = field(default_factory=dict)
    pairs: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        for name in ("starts", "tuning_starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for file, names in self.panels.items():
            if unknown := [name for name in names if name not in self.entrants]:
                raise ValueError(f"`panels.{file}` names no entrant: {unknown}; entrants are {list(self.entrants)}")
        for pair in self.pairs:
            if len(pair) != 2 or not set(pair) <= set(self.entrants):
                raise ValueError(f"`pairs` holds pairs of {list(self.entrants)}, got {pair}")
        if self.smoke:
            self.starts, self.tuning_starts = 1, 1

    def with_starts(self, problem: ProblemSet, purpose: int) -> Problem:
        """The runs of a set and where they begin; judged (purpose 0) and tuning runs (1) never share a start."""
        return problem, problem.sample_starts(torch.Generator().manual_seed(2 * self.seed + purpose))

    def run_all(self, judged: Mapping[str, Problem], tuning: Mapping[str, Problem]) -> tuple[Runs, list[str]]:
        """Every entrant on every problem by rounds, and notes on who is missing."""
        entrants, notes = self.able_entrants()
        return self.compare(judged, tuning, entrants, "by rounds", rounds=self.rounds), notes

    def draw(self, runs: Runs, title: str, shade: Shade) -> list[Plot]:
        """Save one figure, or one for each of the ``panels``."""
        plots, folder = [], Path(self.output_dir)
        for file, names in (self.panels or {"curves": []}).items():
            shown = {
                p: {n: r for n, r in self.to_draw(of).items() if not names or n in names} for p, of in runs.items()
            }
            if not any(shown.values()):
                continue
            file = file if file.endswith(".png") else f"{file}.png"
            columns = {problem: dict.fromkeys(AXES, of) for problem, of in shown.items()}
            save(convergence_figure(columns, title=title, shade=shade), folder / file)
            plots.append(Plot(file, f"{title}. Thick: median, dotted: geometric mean, shaded: {shade}."))
        return plots

    def run_network(self, problem: Any, name: str, *, heading: str, title: str, opening: str) -> dict[str, Any]:
        """A whole experiment on one network: run, draw, report; returns the headline numbers.

        Args:
            problem: the loss over the weights, see :mod:`rover.landscapes.problems`.
            name: of the problem in tables and figures.
            heading: of the report.
            title: of the figures.
            opening: the first sentences of the report.
        """
        judged = {name: self.with_starts(ProblemSet(name, [problem], self.starts), 0)}
        tuning = {name: self.with_starts(ProblemSet(name, [problem], self.tuning_starts), 1)}
        runs, notes = self.run_all(judged, tuning)
        tables = [loss_table(runs, judged, f"Cross-entropy after {self.rounds} rounds, median and quartiles")]
        if self.pairs:
            tables.append(paired_table(runs, self.pairs, f"The order of the strategies after {self.rounds} rounds"))
        tables.append(cost_table(runs, f"What {self.rounds} rounds cost"))
        text = (
            f"{opening} A round is one call of the objective. Gradient descent and Adam see exact gradients and are tuned "
            f"on {self.tuning_starts} other initialisations; the rover is not tuned."
        )
        return self.report(heading, [text, *notes], tables, self.draw(runs, title, "envelope"), runs)

    def report(
        self, title: str, paragraphs: list[str], tables: list[Table], plots: list[Plot], runs: Runs
    ) -> dict[str, Any]:
        """Write the summary; returns the headline numbers."""
        folder = Path(self.output_dir)
        detailed = [details(of, f"{problem}, {self.rounds} rounds", seed=self.seed) for problem, of in runs.items()]
        write_report(
            Report(
                name=folder.name,
                title=title,
                command=self.command,
                paragraphs=paragraphs,
                tables=[*tables, *detailed],
                plots=plots,
                provenance=provenance(seed=self.seed, rounds=self.rounds, starts=self.starts),
                numbers={"hyper": hyper_of(runs)},
            ),
            folder,
        )
        return medians(runs)


def loss_table(runs: Runs, problems: Mapping[str, Problem], title: str, note: str = "") -> Table:
    """Final loss (not gap) of every entrant on every problem, median and quartiles."""
    return _final_table(runs, {p: landscape.minimum.numpy() for p, (landscape, _) in problems.items()}, title, note)


def gap_table(runs: Runs, title: str, note: str = "") -> Table:
    """Final gap of every entrant on every problem, median and quartiles."""
    return _final_table(runs, dict.fromkeys(runs, np.zeros(1)), title, note)


def _final_table(runs: Runs, least: Mapping[str, Any], title: str, note: str) -> Table:
    rows = []
    for name in next(iter(runs.values())):
        cells = []
        for problem, of in runs.items():
            low, middle, high = np.quantile(of[name].best[:, -1] + least[problem], [0.25, 0.5, 0.75])
            cells.append(f"{middle:.4g} [{low:.3g}, {high:.3g}]")
        rows.append([label(name), *cells])
    return Table(title, ["optimiser", *runs], rows, note)


def paired_table(runs: Runs, pairs: Sequence[Sequence[str]], title: str) -> Table:
    """Which of two entrants ends lower from the same start, with one-sided p-values over the starts.

    The size of a difference is that of the logarithms of the gaps, as final losses differ by orders of magnitude.

    Args:
        runs: problem -> entrant -> its runs; those of two entrants on a problem begin at the same starts.
        pairs: names of entrants, (expected lower, expected higher); a pair with an absent one is left out.
        title: of the table.
    """
    rows: list[list[Any]] = []
    for lower, higher in pairs:
        for problem, of in runs.items():
            if lower in of and higher in of:
                a, b = (np.log10(np.maximum(of[name].best[:, -1], 1e-16)) for name in (lower, higher))
                wins, losses = int((a < b).sum()), int((a > b).sum())
                sign = binomtest(wins, wins + losses, alternative="greater").pvalue if wins + losses else 1.0
                rank = wilcoxon(a, b, alternative="less").pvalue if wins + losses else 1.0
                counts = f"{wins} / {len(a) - wins - losses} / {losses}"
                rows.append([problem, label(lower), label(higher), counts, float(np.median(a - b)), sign, float(rank)])
    columns = ["problem", "lower", "higher", "lower / equal / higher", "median decades", "p, sign test", "p, Wilcoxon"]
    return Table(title, columns, rows, "One-sided tests over the starts; gaps below 1e-16 count as equal.")


def cost_table(runs: Runs, title: str) -> Table:
    """Median evaluations and seconds of a whole run of every entrant."""
    rows: list[list[Any]] = []
    for name in next(iter(runs.values())):
        cells = [
            f"{_median(of[name], 'evaluations'):,.0f} / {_median(of[name], 'seconds'):.2g} s" for of in runs.values()
        ]
        rows.append([label(name), *cells])
    return Table(title, ["optimiser", *runs], rows, "Function evaluations / wall-clock seconds, medians over the runs.")


def _median(run: Run, column: str) -> float:
    return float(np.median(getattr(run, column)[:, -1]))
