"""Where the paper's numbers are looked for, and what is said of malformed files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.frame import load_frame
from harness.analysis.paper import reading
from harness.analysis.paper.reading import NUMBER_COLUMNS, load_paper
from harness.errors import HarnessError
from harness.planning.suite import load_suite

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "results" / "paper"

# --- where they are looked for -----------------------------------------------------------------


def copied(folder: Path) -> Path:
    shutil.copytree(PAPER, folder / "paper")
    return folder / "paper"


def test_the_users_own_numbers_go_before_those_beside_the_code(tmp_path: Path) -> None:
    assert load_paper(tmp_path) == load_paper(ROOT / "results"), "there are none in the folder"
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "README.md").write_text("no numbers")
    assert load_paper(tmp_path).numbers, "no CSV file, no numbers of the user's"
    header = ",".join(NUMBER_COLUMNS)
    line = "Fig 4a,ebt,transformer++,data,,scaling rate,,,1.5,,%,text,12,"
    (tmp_path / "paper" / "mine.csv").write_text(f"{header}\n{line}\n")
    (number,) = load_paper(tmp_path).numbers
    assert (number.value, number.page, number.written) == (1.5, "12", "1.5")


def test_without_any_a_note_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BESIDE", tmp_path / "code")
    found = load_paper(tmp_path)
    assert not found.numbers
    assert "no CSV file in" in found.note
    assert str(tmp_path / "paper") in found.note
    for suite, said in (("text_data", True), ("thinking_ablation", False)):
        path = ROOT / "suites" / "cpu" / f"{suite}.yaml"
        text = path.read_text().replace(", paper: [Table 2]", "").replace("paper: [Table 2]", "")
        own = tmp_path / f"{suite}.yaml"
        own.write_text(text)
        loaded = load_suite(own)
        notes = SuiteExhibits(loaded, load_frame(loaded, tmp_path), (), found).notes
        assert any(note.startswith("The paper's numbers are not shown") for note in notes) is said


# --- malformed files ---------------------------------------------------------------------------

RATE = "Fig 4b,ebt,transformer++,batch,,scaling rate,,,28.46,,%,notes,,"
#: A line of rates.csv -> what it becomes, where that is, and what is said of it.
BROKEN = {
    "exhibit": (RATE.replace("Fig 4b", "Fig 4d"), "exhibit", ["'Fig 4d'", "allowed: ", "Fig 4a"]),
    "model": (RATE.replace("ebt,tr", "EBT,tr"), "model", ["'EBT'", "did you mean 'ebt'?"]),
    "against": (RATE.replace("transformer++", "gpt"), "against", ["'gpt'", "transformer++"]),
    "quantity": (RATE.replace("scaling rate", "speed"), "quantity", ["'speed'", "scaling rate"]),
    "unit": (RATE.replace("%", "percent"), "unit", ["'percent'", "%"]),
    "source": (RATE.replace("notes", "plot"), "source", ["'plot'", "read off the plot"]),
    "no number": (RATE.replace("28.46", "28,46"), "", ["15 cells", "14 columns", "quotes"]),
    "word": (RATE.replace("28.46", "about 28"), "value", ["is not a number", "35.98"]),
    "infinite": (RATE.replace("28.46", "inf"), "value", ["is not a number"]),
    "not a number": (RATE.replace("28.46", "nan"), "value", ["is not a number"]),
    "nothing": (RATE.replace("28.46", ""), "value", ["needs a number, or a note"]),
    "range": (RATE.replace("28.46,,", "28.46,28,"), "high", ["above its lower one"]),
    "only an upper end": (RATE.replace("28.46,,", ",28,"), "value", ["needs its lower end"]),
    "place": (RATE.replace("rate,,,", "rate,3,,"), "x_unit", ["needs a value"]),
    "few cells": (RATE.removesuffix(","), "", ["13 cells"]),
    "twice": (RATE.replace("Fig 4b", "Fig 4a").replace("batch", "data"), "quantity",
              ["the same number is in", "rates.csv:2 already"]),
    "blank": ("", "", ["0 cells"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_line_is_one_error_that_names_the_place(tmp_path: Path, name: str) -> None:
    line, column, said = BROKEN[name]
    path = copied(tmp_path) / "rates.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[3] == RATE
    lines[3] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(HarnessError) as caught:
        load_paper(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}:4" + (f" {column}" if column else "") + ":")
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("exhibit,shows", "exhibit,title", "exhibits.csv:1:", "'title'"),
        ("Fig 4a,loss", "Fig 4a,,loss", "exhibits.csv:2:", "9 cells"),
        ("Fig 4b,loss", "Fig 4a,loss", "exhibits.csv:3 exhibit:", "has a line already"),
        ("6x384,0.5e9", "6 by 384,0.5e9", "exhibits.csv:2 models:", "depth x width"),
        ("0.5e9,7e9", "7e9,0.5e9", "exhibits.csv:2 tokens_high:", "the lower one first"),
        ("0.5e9,7e9", ",7e9", "exhibits.csv:2 tokens_high:", "given together"),
        ("loss against depth", "", "exhibits.csv:4 shows:", "needs a value"),
        ("Fig 4c,loss", "Fig 4C,loss", "exhibits.csv:4 exhibit:", "did you mean 'Fig 4c'?"),
    ],
)
def test_so_is_one_of_the_settings(
    tmp_path: Path, old: str, new: str, where: str, said: str
) -> None:
    path = copied(tmp_path) / "exhibits.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(HarnessError) as caught:
        load_paper(tmp_path)
    assert f"{path.parent}/{where}" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names other columns"),
        (b"\xff\xfe", "is not UTF-8"),
        (f'{",".join(NUMBER_COLUMNS)}\n"Fig 4a"x,'.encode(), "is no CSV"),
        (f'{",".join(NUMBER_COLUMNS)}\n"Fig 4a,'.encode(), "is no CSV"),
    ],
)
def test_what_is_no_table_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = copied(tmp_path) / "more.csv"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match=said) as caught:
        load_paper(tmp_path)
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    (copied(tmp_path) / "more.csv").mkdir()
    with pytest.raises(HarnessError, match="cannot be read: Is a directory"):
        load_paper(tmp_path)
