"""The paper's numbers as files: against the notes on the paper, identities, and malformed files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from math import log10
from pathlib import Path
from typing import get_args

import pytest

from harness.analysis.paper.beside import shown
from harness.analysis.paper.gains import papers_gains
from harness.analysis.paper.numbers import EXHIBITS, PaperNumber, PaperNumbers, cited
from harness.analysis.paper.reading import load_paper
from harness.analysis.paper.trends import papers_slope
from harness.planning.sections import PaperExhibit

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "results" / "paper"
NOTES = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared")) / "paper.md"
NUMBER = re.compile(r"(?<![\w.])[−-]?\d+(?:\.\d+)?(?![\d.]*\d)")


@pytest.fixture(scope="module")
def paper() -> PaperNumbers:
    return load_paper(ROOT / "results")


def one(paper: PaperNumbers, exhibit: str, **given: object) -> PaperNumber:
    (found,) = [n for n in paper.of(exhibit) if all(getattr(n, k) == v for k, v in given.items())]
    return found


# --- against the notes -------------------------------------------------------------------------


def notes() -> str:
    if not NOTES.exists():
        pytest.skip("the notes on the paper are not on this machine")
    return NOTES.read_text(encoding="utf-8")


def reported() -> dict[tuple[str, ...], str]:
    """Exhibits of each row of section 4 -> its cells on setting and result."""
    section = notes().split("## 4.")[1].split("## 5.")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {_exhibits(row[1]): row[2] + " | " + row[3] for row in rows[2:]}


def _exhibits(cell: str) -> tuple[str, ...]:
    """`Table 4, Figs 10, 12` -> `Table 4`, `Fig 10`, `Fig 12`."""
    found, kind = [], ""
    for part in re.split(r",\s*|\s/\s", cell.strip()):
        words = part.replace("Figs", "Fig").split()
        kind = words[0] if len(words) > 1 else kind
        found.append(f"{kind} {words[-1]}")
    return tuple(found)


def _numbers(text: str) -> set[float]:
    return {float(found.replace("−", "-")) for found in NUMBER.findall(text)}


def _values(numbers: Iterable[PaperNumber]) -> set[float]:
    """Values, ranges, places and settings of numbers, tokens in billions."""
    found: set[float] = set()
    for number in numbers:
        scale = 1e9 if number.unit == "tokens" else 1.0
        bounds = (number.value, number.high)
        found |= {v / scale for v in bounds if v is not None}
        found |= {number.x} if number.x is not None else set()
        found |= _numbers(number.setting)
    return found


def test_every_result_of_the_notes_is_in_the_files(paper: PaperNumbers) -> None:
    rows = reported()
    assert {e for exhibits in rows for e in exhibits} == set(EXHIBITS)
    for exhibits, cells in rows.items():
        result = cells.split("|")[1].replace("T++", "")
        missing = _numbers(result) - _values(paper.of(*exhibits))
        assert not missing, f"{exhibits}: {missing} of {result!r}"


#: What the files know of a place that the notes do not write as a number.
PLACES = {("Fig 6b",): {0.0, 1.0}, ("Fig 6a",): {1.0}}


def test_no_number_of_the_files_is_beyond_the_notes(paper: PaperNumbers) -> None:
    known: dict[tuple[str, ...], set[float]] = {}
    for exhibits, cells in reported().items():
        known.setdefault(exhibits, set()).update(_numbers(cells))
    for exhibits in known:
        # Rows share exhibits (Table 4's denoising and its probe), so all that name one count.
        allowed = set().union(*(v for e, v in known.items() if set(e) & set(exhibits)))
        invented = _values(paper.of(*exhibits)) - allowed - PLACES.get(exhibits, set())
        assert not invented, f"{exhibits}: {invented}"


def test_sources_say_no_more_than_the_notes(paper: PaperNumbers) -> None:
    """Where in the paper a number stands they tell of those of tables alone."""
    for number in paper.numbers:
        in_table = number.exhibit.startswith("Table ")
        in_abstract = number.exhibit == "Abstract" and number.value in (29, 35)
        assert (number.source == "table") is in_table, number
        assert (number.source == "text") is in_abstract, number
    assert [n.source for n in paper.of("Abstract")] == ["text", "text", "worked out"]
    assert "about equal" in notes()
    data = {s.exhibit: s.data for s in paper.settings.values() if s.data}
    assert data == {"Fig B.3": "FineWeb"}
    assert "| FineWeb, small, ctx 1024" in notes()


def test_what_the_notes_tell_of_several_exhibits_is_in_each(paper: PaperNumbers) -> None:
    worse = {n.setting for n in paper.of("Fig 9") if n.quantity == "worse at each point"}
    assert worse == {"width", "parameters"}
    hard = [n.exhibit for n in paper.numbers if n.quantity == "hard tokens end high"]
    assert sorted(hard) == ["Fig 11", "Fig 8", "Fig B.2"]
    random = [n.exhibit for n in paper.numbers if n.quantity == "random text ends higher"]
    assert sorted(random) == ["Fig 8", "Fig B.2"]
    assert not [n for n in paper.of("Fig C.1") if n.quantity == "worse at each point"]


def test_only_ten_samples_tell_their_nfe(paper: PaperNumbers) -> None:
    """Of Fig 6a's NFE one alone is ten samples of whole steps; which the others are is not said."""
    nfe = [
        int(v) for v in re.findall(r"\d+", reported()[("Fig 6a",)].split("NFE")[1].split("|")[0])
    ]
    assert nfe == [2, 3, 6, 15, 30]
    assert [v for v in nfe if v % 10 == 0] == [30]
    known = {n.setting: n.x for n in paper.of("Fig 6a") if n.model == "ebt"}
    assert known == {"trained": None, "longer": None, "best of 10": 30}


def test_numbers_of_tables_belong_to_whom_the_notes_give_them(paper: PaperNumbers) -> None:
    cells = {exhibits[0]: text.split("|")[1] for exhibits, text in reported().items()}

    def listed(exhibit: str, after: str) -> list[float]:
        part = cells[exhibit].partition(f"{after} ")[2].partition(";")[0]
        return [float(v.replace("−", "-")) for v in NUMBER.findall(part)]

    def values(exhibit: str, *quantities: str, **given: object) -> list[float | None]:
        return [
            n.value
            for n in paper.of(exhibit)
            if n.quantity in quantities and all(getattr(n, k) == v for k, v in given.items())
        ]

    for model, name in (("transformer++", "T++"), ("ebt", "EBT")):
        assert values("Table 3", "perplexity", model=model) == listed("Table 3", name)
    for model in ("full", "no random alpha", "no random steps", "no Langevin", "no replay"):
        found = [n.value for n in paper.of("Table 2") if n.model.startswith(model)]
        assert found == listed("Table 2", model)
    cells["Table 4"] = next(t.split("|")[1] for e, t in reported().items() if "Fig 10" in e)
    for model, name in (("dit", "DiT"), ("ebt", "EBT")):
        assert values("Table 4", "PSNR", "MSE", model=model) == listed("Table 4", name)[:4]
    cells["Table 4"] = reported()[("Table 4",)].split("|")[1]
    for model, name in (("dit", "DiT"), ("ebt", "EBT")):
        assert values("Table 4", "top-1", "top-5", model=model) == listed("Table 4", name)
    width, parameters = (one(paper, "Fig 9", quantity="scaling rate", setting=s).value
                         for s in ("width", "parameters"))  # fmt: skip
    assert f"{width} % / {parameters} %" in cells["Fig 9"]


def test_what_the_notes_read_off_a_plot_is_marked_as_such(paper: PaperNumbers) -> None:
    approximate = {
        (exhibits, float(found))
        for exhibits, cells in reported().items()
        for found in re.findall(r"≈(\d+(?:\.\d+)?)", cells.split("|")[1])
    }
    assert len(approximate) >= 5
    for exhibits, value in approximate:
        own = [n for n in paper.of(*exhibits) if n.value == value]
        assert own, f"{exhibits} {value}"
        assert all(n.approximate and shown(n).startswith("≈ ") for n in own)


def test_sizes_are_those_of_the_notes(paper: PaperNumbers) -> None:
    section = notes().split("## 3.")[1].split("## 4.")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    sizes = {row[0].strip(): row[1:] for row in rows[1:] if "*" not in row[0]}
    assert list(sizes) == ["xxs", "xs", "small", "medium", "large", "xl"]
    quantities = ("layers", "width", "heads", "non-embedding parameters", "learning rate")
    for size, cells in sizes.items():
        for quantity, cell in zip(quantities, cells, strict=True):
            (stated, *_) = re.findall(r"[\d.]+", cell)
            scale = 1e6 if " M" in cell else 1.0
            value = one(paper, "Sizes", setting=size, quantity=quantity).value
            assert value == pytest.approx(scale * float(stated)), (size, quantity)


def test_costs_are_those_of_the_notes(paper: PaperNumbers) -> None:
    section = notes().split("## 5.")[1].split("## 6.")[0]
    flops = {n.model: n.value for n in paper.of("Costs") if n.quantity == "FLOPs per token"}
    assert f"T++ training: {flops['transformer++']:.0f}N per token" in section
    assert f"= {flops['ebt']:.0f}N per token per step" in section
    for number in paper.of("Costs"):
        if number.quantity == "cost ratio":
            assert number.written in section


# --- identities --------------------------------------------------------------------------------


def test_psnr_is_that_of_the_mean_squared_error(paper: PaperNumbers) -> None:
    pairs = [(n.model, n.x) for n in paper.of("Table 4") if n.quantity == "PSNR"]
    assert len(pairs) == 4
    for model, x in pairs:
        psnr, mse = (
            one(paper, "Table 4", model=model, x=x, quantity=q).value for q in ("PSNR", "MSE")
        )
        assert mse is not None
        assert 10 * log10(255**2 / mse) == pytest.approx(psnr, abs=0.006)


def test_the_headline_gain_is_that_over_ebts_own_point(paper: PaperNumbers) -> None:
    trained, longer, best = (
        one(paper, "Fig 6a", model="ebt", setting=s, quantity="perplexity").value
        for s in ("trained", "longer", "best of 10")
    )
    assert trained
    assert longer
    assert best
    assert round(100 * (1 - best / trained)) == 29
    gains = {n.setting: (n.value, derived) for n, derived in papers_gains(paper.of("Fig 6a"))}
    assert gains["best of 10"] == (29, False)
    assert gains["longer"] == (pytest.approx(100 * (1 - longer / trained)), True)
    claims = {n.quantity: n.value for n in paper.of("Abstract")}
    assert claims == {"scaling rate": 35, "perplexity gain": 29, "passes saved": 99}


def test_what_is_worked_out_keeps_its_source(paper: PaperNumbers) -> None:
    slope = papers_slope(paper.of("Fig 7"))
    assert slope is not None
    assert slope.value == pytest.approx((23 - 11.8) / 2.1375, rel=1e-3)  # log2 of 4.4
    assert slope.approximate
    assert "its points at 1 and 4.4" in slope.note


def test_sizes_have_seven_weights_per_layer_and_squared_width(paper: PaperNumbers) -> None:
    sizes = {n.setting for n in paper.of("Sizes")}
    for size in sizes:
        layers, width, parameters = (
            one(paper, "Sizes", setting=size, quantity=q).value
            for q in ("layers", "width", "non-embedding parameters")
        )
        assert layers
        assert width
        assert parameters == pytest.approx(7 * layers * width**2, rel=0.02)
    known = {
        tuple(
            int(one(paper, "Sizes", setting=s, quantity=q).value or 0) for q in ("layers", "width")
        )
        for s in sizes
    }
    for setting in paper.settings.values():
        assert set(setting.models) <= known, setting.exhibit


def test_every_exhibit_says_what_it_shows(paper: PaperNumbers) -> None:
    assert set(paper.settings) == set(EXHIBITS) == set(get_args(PaperExhibit))
    assert paper.settings["Fig 4b"].tokens == pytest.approx(
        (105_000 * 16 * 256, 105_000 * 256 * 256), rel=0.01
    )
    assert not any(number.page for number in paper.numbers), "the notes give no pages"


def test_exhibits_are_cited_by_kind() -> None:
    assert cited(["Fig 4a"]) == "Fig 4a"
    assert cited(["Table 4", "Fig 10", "Fig 12"]) == "Table 4, Figs 10 and 12"
    assert cited(["Fig 8", "Fig 11", "Fig B.2"]) == "Figs 8, 11 and B.2"


@pytest.mark.parametrize(
    ("exhibit", "given", "text"),
    [
        ("Fig 4a", {"quantity": "scaling rate"}, "+35.98 %"),
        ("Fig 4a", {"quantity": "crossover"}, "≈ 3 G tokens"),
        ("Fig B.3", {"quantity": "scaling rate on the tail"}, "+51.70 %"),
        ("Fig 6b", {"x": 0.0}, "≈ 4 to 8 %"),
        ("Table 2", {"model": "no random alpha", "setting": "longer"}, "−1.47 %"),
        ("Table 2", {"model": "no random steps", "setting": "longer"}, "0.00 %"),
        ("Table 3", {"model": "ebt", "data": "dyck"}, "125.3"),
        ("Table 4", {"model": "ebt", "quantity": "PSNR", "x": 0.1}, "27.25 dB"),
        ("Table 4", {"model": "dit", "quantity": "top-1"}, "0.31 %"),
        ("Fig 5a", {"quantity": "worse at each point"}, "EBT is worse at each size"),
    ],
)
def test_numbers_are_shown_as_the_paper_has_them(
    paper: PaperNumbers, exhibit: str, given: dict[str, object], text: str
) -> None:
    assert shown(one(paper, exhibit, **given)) == text
