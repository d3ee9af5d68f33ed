"""Reports survive JSON, the page stands alone, and every experiment runs from start to end on a small scale."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from rover.evaluation.baselines_gradient import gradient_and_hessian
from rover.evaluation.curves import AXES
from rover.evaluation.document import main as refresh_all
from rover.evaluation.document import refresh
from rover.evaluation.experiments import checks, meta_test, prototypes, suite
from rover.evaluation.experiments.slices import paired_table
from rover.evaluation.figures import convergence_figure, label, profile_figure, save
from rover.evaluation.page import build_index
from rover.evaluation.protocol import Entrant, meta_test_starts
from rover.evaluation.report import Plot, Report, Table, format_cell, markdown_table, write_report
from rover.evaluation.runs import Run
from rover.evaluation.scores import Estimate

ENTRANTS = {
    "newton": Entrant("newton", grid={"lr": [0.5, 1.0]}),
    "nelder_mead": Entrant("nelder_mead"),
    "rover": Entrant("navigator", {"policy": "no such policy"}),
}


def fake_run(method="m", scale=1.0, rows=5):
    best = scale * np.array([[10.0**-i for i in range(rows)], [2 * 10.0**-i for i in range(rows)]])
    steps = np.broadcast_to(np.arange(rows), best.shape)
    return Run(method, best, best, 3 * steps + 1, 0 * steps, 0.01 * steps)


def small(config, tmp_path, **kwargs):
    common = {"output_dir": str(tmp_path / "out"), "cache_dir": None, "smoke": True, "entrants": dict(ENTRANTS)}
    return config(**{**common, **kwargs})


def check_output(folder, figures):
    summary = json.loads((folder / "summary.json").read_text())
    assert {plot["file"] for plot in summary["plots"]} == set(figures)
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in figures)
    assert any("no such policy" in text for text in summary["paragraphs"]), "who was left out must be said"
    assert "Newton" in (folder / "summary.md").read_text()
    assert "no such policy" in build_index(folder.parent).read_text()


def test_prototypes(tmp_path):
    config = small(prototypes.PrototypesConfig, tmp_path, modalities=["quadratic", "plateau"])
    headline = prototypes.run(config)
    assert headline["quadratic"]["newton"] < 1e-3 < headline["quadratic"]["nelder_mead"]
    check_output(tmp_path / "out" / "smoke", ["figure4.png", "statistics.png", "found.png"])


def test_meta_test(tmp_path):
    headline = meta_test.run(small(meta_test.MetaTestConfig, tmp_path, functions=["beale", "mccormick"]))
    assert set(headline) == {"perturbed", "uniform"} and set(headline["uniform"]) == {"beale", "mccormick"}
    check_output(tmp_path / "out" / "smoke", ["figure5.png", "uniform.png", "found_perturbed.png", "found_uniform.png"])


def test_suite(tmp_path):
    names = ["booth", "leon"]
    headline = suite.run(small(suite.SuiteConfig, tmp_path, functions=names, noise=[0.0, 0.1], reference="newton"))
    assert headline["0"]["newton"] > headline["0"]["nelder_mead"] > 0
    titles = [t["title"] for t in json.loads((tmp_path / "out/smoke/summary.json").read_text())["tables"]]
    assert sum(title.startswith("True gap after 6 rounds") for title in titles) == 2
    check_output(tmp_path / "out" / "smoke", ["profiles_0.png", "profiles_0.1.png"])


def test_checks(tmp_path):
    headline = checks.run(small(checks.ChecksConfig, tmp_path))
    assert headline["free"]["quadratic"]["newton"] < 1e-8 < headline["free"]["quadratic"]["nelder_mead"]
    check_output(tmp_path / "out" / "smoke", [])


def test_a_protocol_may_be_left_out(tmp_path):
    entrants = {"newton": Entrant("newton")}
    config = small(meta_test.MetaTestConfig, tmp_path, functions=["beale"], uniform=0, entrants=entrants)
    assert list(meta_test.run(config)) == ["perturbed"]


@pytest.mark.parametrize("boxed", [True, False])
def test_rotated_bowls_have_their_condition_their_minimiser_and_their_start(boxed):
    problem, start = checks.rotated("quadratic", 6, boxed=boxed, condition=1e4, seed=3)
    _, hessian = gradient_and_hessian(problem, start)
    assert np.linalg.cond(hessian.numpy()) == pytest.approx(1e4, rel=1e-6)
    assert (problem.minimizer - 3).abs().max() < 1e-12
    assert len(set(start[:, 0].tolist())) == 6
    if boxed:
        place = (problem.minimizer - problem.lower) / (problem.upper - problem.lower)
        assert ((place > 0.05) & (place < 0.95)).all() and ((place - 0.5).abs() > 0.05).all()
        assert ((start >= problem.lower) & (start <= problem.upper)).all()


def test_judged_and_tuning_starts_differ():
    judged = meta_test_starts("ackley", "perturbed", 4, seed=1, purpose="judged")[1]
    again = meta_test_starts("ackley", "perturbed", 4, seed=1, purpose="judged")[1]
    tuning = meta_test_starts("ackley", "perturbed", 4, seed=1, purpose="tuning")[1]
    uniform = meta_test_starts("ackley", "uniform", 4, seed=1, purpose="judged")[1]
    assert (judged == again).all() and (judged != tuning).any() and (judged != uniform).any()
    assert (judged - judged.mean(0)).abs().max() < 0.5


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (prototypes.PrototypesConfig, {"modalities": ["hill"]}, "`modalities`"),
        (prototypes.PrototypesConfig, {"instances": 0}, "`instances`"),
        (meta_test.MetaTestConfig, {"functions": ["rosenbrok"]}, "`functions`"),
        (suite.SuiteConfig, {"noise": []}, "`noise`"),
        (suite.SuiteConfig, {"functions": ["well"]}, "`functions`"),  # in the evaluation half only
        (suite.SuiteConfig, {"drawn": ["nobody"]}, "`drawn`"),
        (suite.SuiteConfig, {"rounds": 0}, "`rounds`"),
        (checks.ChecksConfig, {"runs": 0}, "`runs`"),
        (checks.ChecksConfig, {"checks": {"bowl": checks.Check(1, 1.0)}}, "`checks`"),
    ],
)
def test_settings_out_of_range_are_named(tmp_path, config, wrong, message):
    with pytest.raises(ValueError, match=message):
        small(config, tmp_path, **wrong)


def test_smoke_never_overwrites_results(tmp_path):
    assert small(suite.SuiteConfig, tmp_path).output_dir.endswith("out/smoke")
    nested = small(suite.SuiteConfig, tmp_path, output_dir="results/suite/smoke")
    assert nested.output_dir == "results/suite/smoke"


def test_cells():
    assert format_cell(0.00012345) == "0.000123" and format_cell(7) == "7" and format_cell(None) == "–"
    assert format_cell(Estimate(0.5, 0.25, 1.0)) == "0.5 [0.25, 1]"
    assert format_cell(Estimate(12, 10, math.inf)) == "12 [10, > budget]"
    assert format_cell(Estimate(math.inf, 1, math.inf)) == "> budget"
    assert markdown_table(Table("t", ["a", "b"], [["x|y", 1.0]])).splitlines()[-1] == "| x\\|y | 1 |"


def test_a_report_survives_json_and_html(tmp_path):
    save(convergence_figure({"p": {"rounds": {"rover": fake_run()}}}, title="t"), tmp_path / "one" / "f.png")
    rows = [["<b>", Estimate(1.0, 0.5, math.inf), math.inf]]
    report = Report("one", "A & B", "python x", ["text"], [Table("T", ["a", "b", "c"], rows)], [Plot("f.png", "cap")])
    path = write_report(report, tmp_path / "one")
    json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    page = build_index(tmp_path).read_text()
    assert "A &amp; B" in page and "&lt;b&gt;" in page and "<b>" not in page
    assert "1 [0.5, &gt; budget]" in page and "data:image/png;base64," in page and 'src="f.png' not in page
    with pytest.raises(FileNotFoundError, match="make results"):
        build_index(tmp_path / "empty")


def test_a_document_gets_its_tables_and_pictures(tmp_path):
    save(profile_figure({"rounds": {"rover": (np.arange(2), np.arange(2))}}, title="t"), tmp_path / "results/one/f.png")
    table = Table("Median after 30 rounds", ["a", "b"], [["x", Estimate(1.0, 0.5, math.inf)], ["y", math.inf]])
    write_report(Report("one", "A", "c", [], [table], [Plot("f.png", "cap")]), tmp_path / "results" / "one")
    document = tmp_path / "docs" / "results.md"
    document.parent.mkdir()
    blocks = (
        "table one: Median -->\nold\n<!-- end -->\nkept\n<!-- figure one: f.png -->\n<!-- end -->\n<!-- table two: T"
    )
    document.write_text(f"<!-- {blocks} -->\nold two\n<!-- end -->\n")
    assert refresh(document, tmp_path / "results") == ["two: T"]
    text = document.read_text()
    assert "| x | 1 [0.5, > budget] |" in text and "| y | > budget |" in text
    assert "old\n" not in text and "old two" in text and "\nkept\n" in text and "![cap](images/one_f.png)" in text
    assert (document.parent / "images" / "one_f.png").read_bytes().startswith(b"\x89PNG")
    assert refresh(document, tmp_path / "results") and document.read_text() == text, "the second time changes nothing"
    document.write_text("<!-- table one: Mean -->\n<!-- end -->\n<!-- figure one: g.png -->\n<!-- end -->\n")
    assert refresh(document, tmp_path / "results") == ["one: Mean", "one: g.png"]


def test_every_document_is_refreshed_unless_one_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_report(Report("one", "A", "c", [], [Table("T", ["a"], [["x"]])], []), tmp_path / "results" / "one")
    documents = [tmp_path / "docs" / "results.md", tmp_path / "docs" / "results" / "more.md"]
    documents[1].parent.mkdir(parents=True)
    for document in documents:
        document.write_text("<!-- table one: T -->\n<!-- end -->\n<!-- table two: T -->\n<!-- end -->\n")
    refresh_all(["results", "docs/results/more.md"])
    assert ["| x |" in document.read_text() for document in documents] == [False, True]
    refresh_all([])
    assert all("| x |" in document.read_text() for document in documents)
    assert capsys.readouterr().out.count("left alone, no results: two: T") == 3


def test_pairs_are_compared_start_by_start():
    low = replace(fake_run(), best=np.array([[1e-9], [1e-20], [1.0]]))
    high = replace(fake_run(), best=np.array([[1e-6], [1e-18], [0.1]]))
    table = paired_table({"p": {"low": low, "high": high}}, [["low", "high"], ["low", "absent"]], "order")
    ((*_, counts, decades, sign, rank),) = table.rows
    assert counts == "1 / 1 / 1" and decades == 0 and sign == 0.75 and 0 < rank < 1


def test_figures_show_every_entrant_and_survive_what_ran_away(tmp_path):
    away = fake_run("newton")
    away.best[:, 1:] = np.inf
    runs = {"a": {"newton": away, "rover": fake_run()}, "b": {"newton": fake_run(), "cma_es": fake_run(scale=0)}}
    figure = convergence_figure({p: dict.fromkeys(AXES, r) for p, r in runs.items()}, title="t", shade="quartiles")
    assert len(figure.axes) == 6
    assert {line.get_label() for line in figure.axes[0].lines} >= {"Newton", "rover"}
    assert save(figure, tmp_path / "f.png").stat().st_size > 10_000
    x = np.arange(3)
    profile = profile_figure({"rounds": {"rover": (x, x / 3), "newton": (x, x / 4)}}, title="t")
    assert [line.get_label() for line in profile.axes[0].lines] == ["rover", "Newton"]
    assert label("rover_grid5") == "rover, grid5"
