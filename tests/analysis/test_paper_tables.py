"""The paper's scaling rates beside ours, and the table of any section: what it holds and says."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.exhibits.gather import Gathered, gather
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.frame import load_frame
from harness.analysis.paper import rates
from harness.analysis.paper.beside import Scale, differences, shown
from harness.analysis.paper.numbers import PaperNumbers, PaperSetting
from harness.analysis.paper.rates import papers_rates, scaling_rows
from harness.analysis.paper.tables import paper_tables, paper_words
from harness.analysis.paper.variants import variant_of
from harness.analysis.rates.equal_loss import Crossover
from harness.analysis.rates.points import Estimate
from harness.analysis.tables.sections import section_tables
from harness.planning.budget import axis_value
from harness.planning.planned import PlannedRun
from harness.planning.suite import load_suite
from harness.records import Measurement
from tests.analysis import downstream_factory
from tests.analysis.paper_rows import PAPER, of
from tests.analysis.records_factory import measured, write_run, write_suite
from tests.analysis.test_exhibits import TEXT, suite_of, text_losses

SUITES = Path(__file__).parents[2] / "suites"


def gathered_text(folder: Path, paper: str, *, write: bool = True, x: str = "") -> Gathered:
    text = TEXT.replace("candidate: ebt}", f"candidate: ebt, paper: [{paper}]}}")
    suite = suite_of(text.replace("x: parameters", f"x: {x}") if x else text, folder)
    if write:
        write_suite(suite, folder, text_losses)
    return gather(suite, load_frame(suite, folder), PAPER)[0]


# --- scaling -----------------------------------------------------------------------------------


def test_a_rate_stands_beside_the_papers_kind_of_rate(tmp_path: Path) -> None:
    gathered = gathered_text(tmp_path, "Fig 5a, Fig 4a")
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ScalingExhibit)
    assert exhibit.rate is not None
    rows = scaling_rows(exhibit, gathered.paper)
    rate = of(rows, "scaling rate, along parameters")
    assert rate.number.value == 2.91, "that of the axis, though Fig 4a is named too"
    assert rate.value == pytest.approx(100 * (exhibit.rate.apparent.value or 0))
    assert (rate.n, rate.counted, rate.seeds) == (3, "points", 2)
    assert "as defined here: not identified, undecided: 3 points × 2 seeds" in rate.note
    worse = of(rows, "worse at each point")
    assert worse.said == "worse at 3 of 3"
    # + 0.5 for EBT in every seed: no scatter, so the whole interval lies above 0.
    assert "3 worse and 0 better" in worse.note
    assert len(rows) == 2


def test_points_are_compared_by_place_and_seed(tmp_path: Path) -> None:
    """EBT's x is a little larger at the same size, and one of its runs is missing."""
    text = TEXT.replace("candidate: ebt}", "candidate: ebt, paper: [Fig 5a]}")
    suite = suite_of(text, tmp_path)
    for run in suite.runs:
        if run.name != "text/ebt size=a seed 0":
            write_run(run, tmp_path, text_losses)
    (found, _) = gather(suite, load_frame(suite, tmp_path), PAPER)
    row = of(scaling_rows(found.exhibit, found.paper), "worse at each point")  # type: ignore[arg-type]
    assert (row.said, row.seeds) == ("worse at 3 of 3", 1)


def test_at_equal_flops_the_baseline_is_read_between_its_points(tmp_path: Path) -> None:
    """EBT is better at each size, for three times the FLOPs, and a tenth worse at equal FLOPs."""
    suite = suite_of(TEXT.replace("x: parameters", "x: flops"), tmp_path)

    def evaluator(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        if spec.kind != "likelihood":
            return text_losses(run, spec, folder)
        loss = 1e4 * xs[run.run_id] ** -0.4 * (1.1 if run.adapter_label == "ebt" else 1.0)
        return [measured(run, "loss", loss), measured(run, "bits_per_byte", loss / log(2))]

    xs = {run.run_id: axis_value(run, "flops") or 0.0 for run in suite.runs}
    write_suite(suite, tmp_path, evaluator)
    exhibit = gather(suite, load_frame(suite, tmp_path), PAPER)[0].exhibit
    assert isinstance(exhibit, ScalingExhibit)
    ebt, plain = ({r.x for r in exhibit.runs if r.adapter == a} for a in ("ebt", "transformer++"))
    inside = [x for x in ebt if x <= max(plain)]
    assert 0 < len(inside) < 3
    row = of(scaling_rows(exhibit, PAPER.of("Fig 5b")), "worse at each point")
    by_place = {(r.adapter, r.label, r.seed): r.loss for r in exhibit.runs}
    assert by_place["ebt", "b", 0] < by_place["transformer++", "b", 0]
    assert row.said == f"worse at {len(inside)} of {len(inside)}"
    assert "transformer++ between its points" in row.note


@pytest.mark.parametrize("paper", ["Fig 4b", "Fig C.1", "Table 3"])
def test_numbers_of_another_axis_model_or_kind_are_not_compared(tmp_path: Path, paper: str) -> None:
    gathered = gathered_text(tmp_path, paper)
    assert gathered.paper
    assert paper_tables(gathered) == []
    assert paper_words(gathered) == ""


def test_a_variant_is_compared_with_a_variant(tmp_path: Path) -> None:
    gathered = gathered_text(tmp_path, "Fig C.1")
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ScalingExhibit)
    two = replace(exhibit, families=("ebt", "ebt"), variants=("s1", "s2"))
    rows = scaling_rows(two, gathered.paper)
    assert of(rows, "scaling rate").number.value == 3.30
    assert [n.value for n in papers_rates(two, gathered.paper)] == [3.30]
    stated = of(rows, "higher intercept")
    assert shown(stated.number) == "S2 has the higher intercept"
    assert not stated.measured, "of single points it says nothing"
    assert len(rows) == 2


@pytest.mark.parametrize("variants", [("s2", "s1"), ("s1", "s1"), ("", "s2"), ("s1", ""), ()])
def test_the_rate_of_s2_over_s1_is_of_no_other_two(
    tmp_path: Path, variants: tuple[str, ...]
) -> None:
    gathered = gathered_text(tmp_path, "Fig C.1", write=False)
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ScalingExhibit)
    two = replace(exhibit, families=("ebt", "ebt"), variants=variants)
    assert papers_rates(two, gathered.paper) == []
    assert scaling_rows(two, gathered.paper) == []


def test_a_variant_is_known_by_its_settings_and_not_by_its_label() -> None:
    suite = load_suite(SUITES / "cpu" / "thinking_ablation.yaml")
    found = {run.adapter_label: variant_of(run.spec.config) for run in suite.runs}
    assert found.pop("full") == "s2"
    assert set(found.values()) == {""}, "without one of its regularizers it is neither"
    both = load_suite(SUITES / "paper" / "s1_vs_s2.yaml")
    assert {f"ebt {variant_of(r.spec.config)}" for r in both.runs} == {"ebt s1", "ebt s2"}
    (gathered,) = gather(both, load_frame(both, SUITES), PAPER)
    assert isinstance(gathered.exhibit, ScalingExhibit)
    assert gathered.exhibit.variants == ("s1", "s2")
    assert variant_of({"depth": 2}) == ""


@pytest.mark.parametrize(
    ("at", "above", "value", "said"),
    [
        (2e9, "candidate", 2e9, ""),
        (2e9, "baseline", None, "the other way: transformer++ lower beyond 2 G"),
        (None, "baseline", None, "none: transformer++ lower throughout"),
        (None, "candidate", None, "none: ebt lower throughout"),
    ],
)
def test_a_crossover_stands_beside_the_papers_where_it_is_the_same_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: Any, above: Any, value: Any, said: str
) -> None:
    gathered = gathered_text(tmp_path, "Fig 4a")
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ScalingExhibit)
    found = Crossover(Estimate(at, None, 5, 3, "", ""), above, None)
    monkeypatch.setattr(rates, "crossover", lambda rate: found)
    section = exhibit.section.model_copy(update={"x": "data"})
    row = of(scaling_rows(replace(exhibit, section=section), gathered.paper), "crossover")
    assert (row.value, row.said, row.n, row.seeds) == (value, said, 5, 3)
    assert "EBT is below from here on" in row.number.note


def test_the_tail_has_no_counterpart_and_says_why(tmp_path: Path) -> None:
    gathered = gathered_text(tmp_path, "Fig B.3", write=False)
    section = gathered.section.model_copy(update={"x": "data"})
    exhibit = replace(gathered.exhibit, section=section)  # type: ignore[type-var, arg-type]
    row = of(scaling_rows(exhibit, PAPER.of("Fig B.3")), "on the tail")  # type: ignore[arg-type]
    assert (row.measured, row.note) == (False, "where the tail begins is not said")


# --- the table ---------------------------------------------------------------------------------


def test_the_table_says_what_differs(tmp_path: Path) -> None:
    gathered = gathered_text(tmp_path, "Fig 5a")
    table = section_tables(gathered)[-1]
    assert table.name == "scaling-parameters-paper"
    assert table.title == "Scaling (cf. paper Fig 5a): the paper's numbers and ours"
    cells = [cell.text for cell in table.rows[0]]
    assert cells[1:4] == ["Fig 5a", "ebt over transformer++", "+2.91 %"]
    assert cells[6:8] == ["3 points", "2"]
    assert cells[8].startswith("no: size, training tokens, tokenizer, data differ; ")
    row = table.data[0]
    assert (row["paper"], row["exhibit"], row["source"]) == (2.91, "Fig 5a", "notes")
    assert row["value"] == pytest.approx(float(cells[4].replace("−", "-").split()[0]), abs=0.005)
    notes = " ".join(table.notes)
    assert "Here: 1.84 k to 29.1 k non-embedding parameters, 1.28 k training tokens" in notes
    assert "The paper has one training seed and gives no interval" in notes


def test_before_anything_is_measured_no_row_replaces_one(tmp_path: Path) -> None:
    gathered = gathered_text(tmp_path, "Fig 5a", write=False)
    (table,) = paper_tables(gathered)
    assert not table.rows
    assert not table.data
    assert (
        "Nothing is measured here yet. The paper: scaling rate, along parameters +2.91 %"
        in (table.notes[-1])
    )


def test_a_number_without_a_counterpart_says_why(tmp_path: Path) -> None:
    text = downstream_factory.SUITE.replace(
        "    baseline: plain", "    baseline: plain\n    paper: [Table 3]"
    )
    suite = downstream_factory.suite_of(tmp_path, text)
    write_suite(suite, tmp_path, downstream_factory.planted())
    (gathered,) = gather(suite, load_frame(suite, tmp_path), PAPER)
    (table,) = paper_tables(gathered)
    cells = {row[0].text: [cell.text for cell in row[2:]] for row in table.rows}
    assert cells["perplexity of squad, ebt"] == [
        "", "53.1", "", "", "", "", "none here: no set named like squad"
    ]  # fmt: skip
    row = next(r for r in table.data if r["quantity"] == "perplexity of squad, ebt")
    assert (row["value"], row["n"], row["counted"], row["same_setting"]) == (None, None, "", "")
    assert row["paper"] == 53.1
    assert ",53.1," in table.csv()


def test_a_section_that_names_no_exhibit_has_no_such_table(tmp_path: Path) -> None:
    suite = suite_of(TEXT, tmp_path)
    write_suite(suite, tmp_path, text_losses)
    for gathered in gather(suite, load_frame(suite, tmp_path), PAPER):
        assert gathered.section.title in ("Scaling", "Thinking")
        assert not any(table.name.endswith("-paper") for table in section_tables(gathered))


def test_what_the_user_has_in_place_of_ours_is_shown(tmp_path: Path) -> None:
    number = replace(PAPER.of("Fig 5a")[0], value=7.0, written="7.0")
    suite = suite_of(TEXT.replace("candidate: ebt}", "candidate: ebt, paper: [Fig 5a]}"), tmp_path)
    write_suite(suite, tmp_path, text_losses)
    found = gather(suite, load_frame(suite, tmp_path), PaperNumbers((number,)))[0]
    table = section_tables(found)[-1]
    assert table.rows[0][3].text == "+7.0 %"
    assert table.rows[0][8].text.startswith("the paper's setting is not known; ")


SETTING = PaperSetting("Fig 4a", "", ((6, 384),), (5e8, 7e9), "FineWeb", "gpt-neox-20b", "")
SCALE = Scale(
    (6.2e6, 6.2e6),
    frozenset({(6, 384)}),
    (5.0e8, 7.0e9),
    ("hub:HuggingFaceFW/fineweb:sample-10BT#text",),
    ("gpt-neox-20b",),
)


@pytest.mark.parametrize(
    ("ours", "papers", "said"),
    [
        ({}, {}, "yes"),
        ({"tokens": (5.2e8, 6.9e9)}, {}, "yes"),
        ({"models": frozenset({(6, 256)})}, {}, "no: size differs"),
        ({"tokens": (5e8, 6e9)}, {}, "no: training tokens differ"),
        ({"data": ("builtin/docs",), "tokenizers": ("bytes",)}, {}, "no: tokenizer, data differ"),
        ({}, {"models": ()}, "not known (size: not said)"),
        ({"tokenizers": ("bytes",)}, {"models": ()}, "no: tokenizer differs (size: not said)"),
        (
            {"data": ("builtin/docs",)},
            {"models": (), "tokens": None},
            "no: data differs (size, training tokens: not said)",
        ),
        ({"tokens": None, "tokenizers": ()}, {"tokens": None, "tokenizer": ""}, "yes"),
        ({"data": ("builtin/docs",)}, {"data": ""}, "no: data differs"),
        ({}, {"data": "web text"}, "no: data differs"),
        ({"data": ("hub:Skylion007/openwebtext#text",)}, {"data": "web text"}, "no: data differs"),
        ({"data": ("hub:HuggingFaceFW/fineweb-edu#text",)}, {}, "no: data differs"),
        ({"data": ("file:data/Fine-Web?holdout=0.1",)}, {}, "yes"),
        ({}, {"data": ""}, "not known (data: not said)"),
        ({"data": ("file:data/coco2014/{split}2014?size=128",)}, {"data": "COCO 2014"}, "yes"),
    ],
)
def test_settings_differ_in_what_is_known_of_both(
    ours: dict[str, Any], papers: dict[str, Any], said: str
) -> None:
    assert differences(replace(SCALE, **ours), replace(SETTING, **papers)) == said
