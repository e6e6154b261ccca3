"""The index of the paper's exhibits: what stands for each, how far it is, and how to make it."""

from __future__ import annotations

from pathlib import Path

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.paper.index import paper_index
from harness.analysis.paper.numbers import EXHIBITS
from harness.analysis.tables.table import Table
from harness.planning.suite import load_suite
from tests.analysis.records_factory import write_run
from tests.analysis.test_exhibits import IMAGE, TEXT, text_losses


def shown(folder: Path, name: str, text: str, *, runs: int = 0) -> SuiteExhibits:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    suite = load_suite(path)
    for run in suite.runs[:runs]:
        write_run(run, folder, text_losses)
    return suite_exhibits(suite, folder)


def index_of(folder: Path) -> Table:
    text = TEXT.replace("candidate: ebt}", "candidate: ebt, paper: [Fig 5a, Fig 5b]}")
    image = IMAGE.replace("evaluation: denoising}", "evaluation: denoising, paper: [Table 4]}")
    some = shown(folder, "some", text, runs=5)
    whole = text.replace("suite: text", "suite: whole").replace("seeds: [0, 1]", "seeds: [7]")
    return paper_index([some, shown(folder, "whole", whole, runs=6), shown(folder, "image", image)])


def test_every_exhibit_has_a_row_in_the_papers_order(tmp_path: Path) -> None:
    table = index_of(tmp_path)
    assert list(dict.fromkeys(row[0].text for row in table.rows)) == list(EXHIBITS)
    assert [(row["exhibit"], row.get("suite")) for row in table.data][3:8] == [
        ("Fig 5a", "text"), ("Fig 5a", "whole"), ("Fig 5b", "text"), ("Fig 5b", "whole"),
        ("Fig 5c", None),
    ]  # fmt: skip
    assert all(row["shows"] for row in table.data)
    assert "Fig 4a, Fig 4b, Fig 4c, Fig 5c, Fig 6a" in table.notes[-1]
    assert "Table 4" not in table.notes[-1]


def test_a_row_says_how_far_it_is_and_how_to_make_the_rest(tmp_path: Path) -> None:
    rows = {(row[0].text, row[2].text): row for row in index_of(tmp_path).rows}
    part, whole, nothing = (
        rows[key] for key in (("Fig 5a", "text"), ("Fig 5a", "whole"), ("Table 4", "image"))
    )
    assert part[3].text == (
        "1.84 k to 29.1 k non-embedding parameters, 1.28 k training tokens, trained on builtin/docs"
    )
    assert part[4].text == "text/scaling-parameters"
    assert [part[5].text, part[5].bold] == ["5 of 12", False]
    assert part[6].text == f"harness run {tmp_path / 'some.yaml'}"
    assert [whole[5].text, whole[5].bold, whole[6].text] == ["6 of 6", True, ""]
    assert nothing[5].text == "0 of 4"


def test_without_suites_all_is_open() -> None:
    table = paper_index([])
    assert len(table.rows) == len(EXHIBITS)
    assert {row[2].text for row in table.rows} == {"none given"}
    assert "Fig 4a" in table.csv()
    assert r"\begin{tabular}{lllllrr}" in table.latex()
