"""What a downstream section writes, and what is refused of one."""

from __future__ import annotations

import csv
from math import exp
from pathlib import Path

import pytest

from harness.analysis.figures.downstream import downstream_figure, labels
from harness.analysis.figures.page import write_figure
from harness.errors import HarnessError
from harness.show.figures import write_figures
from harness.show.tables import print_tables
from tests.analysis.downstream_factory import (
    SUITE,
    exhibit_of,
    planted,
    suite_of,
)
from tests.analysis.records_factory import write_suite


def test_files_hold_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, planted(noise=0.5))
    print_tables([suite], tmp_path, lambda _: tmp_path / "tables", as_json=False)
    write_figures([suite], tmp_path, lambda _: tmp_path / "figures", as_json=False)
    printed = capsys.readouterr().out
    assert "every model on every set" in printed
    with (tmp_path / "tables" / "downstream.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    dyck = [r for r in rows if (r["data"], r["model"]) == ("builtin/dyck", "ebt")]
    assert {(r["metric"], r["tokens"]) for r in dyck} == {
        ("perplexity", "all"),
        ("perplexity", "answer"),
        ("bits per byte", "all"),
        ("bits per byte", "answer"),
    }
    assert dyck[0]["windows"] == "rolling"
    assert (dyck[0]["nfe"], dyck[0]["flops"]) == ("2.0", "10.0")
    with (tmp_path / "tables" / "downstream-differences.csv").open(newline="") as file:
        verdicts = {(r["data"], r["tokens"], r["metric"]): r for r in csv.DictReader(file)}
    assert verdicts["builtin/docs", "all", "perplexity"]["verdict"] == "worse"
    with (tmp_path / "figures" / "downstream.csv").open(newline="") as file:
        dots = list(csv.DictReader(file))
    assert dots[0]["set"] == "home (pretraining)"
    by_set = {(d["set"], d["tokens"]): float(d["value"]) for d in dots}
    assert by_set["questions", "all"] == pytest.approx(exp(-0.2))
    first = (tmp_path / "figures" / "downstream.png").read_bytes()
    drawing = downstream_figure(exhibit_of(suite, tmp_path))
    assert drawing is not None
    assert write_figure(drawing, tmp_path).png.read_bytes() == first, "the same each time"


def test_no_two_rows_have_one_label() -> None:
    tasks = [f"written: harness_{n}_generate, exact_match,stripped" for n in ("dyck", "copy")]
    assert labels(tasks) == [
        f"written: harness_{n}_generate,\nexact_match,stripped" for n in ("dyck", "copy")
    ]
    alike = [f"an evaluation with a long name: {n} of the sets in between them" for n in "ab"]
    assert labels(alike) == alike, "whole, rather than one for both"
    assert labels(["dyck", alike[0]]) == ["dyck", f"{alike[0][:16]}…{alike[0][-16:]}"]


def test_a_legend_says_all_tokens_only_beside_answers(tmp_path: Path) -> None:
    for evaluations, legend in (
        ("[more]", ["ebt"]),
        ("[questions, more]", ["ebt, all tokens", "ebt, answers"]),
    ):
        folder = tmp_path / legend[0]
        folder.mkdir()
        suite = suite_of(folder, SUITE.replace("[questions, more]", evaluations))
        write_suite(suite, folder, planted())
        drawing = downstream_figure(exhibit_of(suite, folder))
        assert drawing is not None
        texts = [t.get_text() for t in drawing.figure.legends[0].get_texts()]
        assert [t for t in texts if t.startswith("ebt")] == legend


@pytest.mark.parametrize(
    ("old", "new", "where", "problem"),
    [
        ("baseline: plain", "baseline: plan", "report[0].baseline", "no such adapter"),
        ("pretraining: home", "pretraining: hom", "report[0].pretraining", "no such evaluation"),
        (
            "home\n    evaluations: [questions, more]",
            "more\n    evaluations: [questions]",
            "report[0].pretraining",
            "one data set",
        ),
        ("[questions, more]", "[questions, mor]", "report[0].evaluations[1]", "no such evaluation"),
        (
            "baseline: plain",
            "baseline: plain\n    against: {mor: more}",
            "report[0].against.mor",
            "evaluations of the section, and this is none",
        ),
        (
            "baseline: plain",
            "baseline: plain\n    against: {questions: home}",
            "report[0].against.questions",
            "evaluations of the section, and this is none",
        ),
        (
            "baseline: plain",
            "baseline: plain\n    against: {questions: more}",
            "report[0].against.questions",
            "have data in common",
        ),
        ("[questions, more]", "[more, more]", "report[0].evaluations[1]", "given twice"),
        ("[questions, more]", "[home]", "report[0].evaluations[0]", "given twice"),
        ("[questions, more]", "[]", "report[0].evaluations", "must not be empty"),
        (
            "baseline: plain",
            "baseline: plain\n    only: {size: [a]}",
            "report[0].only.size",
            "no such axis",
        ),
        (
            "questions: {kind: likelihood, data: builtin/dyck, windows: rolling}",
            "questions: {kind: thinking, data: builtin/dyck, thinking: [{kind: single}], "
            "only: {adapter: [plain]}}",
            "report[0].evaluations[0]",
            "draws evaluations of kind likelihood or lm_task",
        ),
    ],
)
def test_mistakes(old: str, new: str, where: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=problem) as caught:
        suite_of(tmp_path, SUITE.replace(old, new))
    assert str(caught.value.where).endswith(where)
