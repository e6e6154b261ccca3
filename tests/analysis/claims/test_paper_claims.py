"""What claims say of the paper is what is kept of it, and the suites they name exist."""

from __future__ import annotations

from math import log2
from pathlib import Path
from typing import get_args

import pytest

from harness.analysis.claims import distance, scaling, thinking
from harness.analysis.claims.deciding import SECTIONS
from harness.analysis.claims.judging import CLAIMS
from harness.analysis.exhibits.equal_quality import HUNDRED
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.paper.reading import load_paper
from harness.planning.sections import PaperExhibit

ROOT = Path(__file__).parents[3]


def numbers(exhibit: str, quantity: str, **wanted: object) -> list[PaperNumber]:
    return [
        number
        for number in load_paper(ROOT / "results").of(exhibit)
        if number.quantity == quantity
        and all(getattr(number, name) == value for name, value in wanted.items())
    ]


def value(exhibit: str, quantity: str, **wanted: object) -> float:
    (number,) = numbers(exhibit, quantity, **wanted)
    assert number.value is not None
    return number.value


def test_headline_numbers_are_those_of_the_paper() -> None:
    abstract = "Abstract"
    rate, video = value(abstract, "scaling rate"), numbers("Fig 9", "scaling rate")
    assert scaling.CLAIM.paper.startswith(f"up to {rate:g} % faster on text, ")
    assert max(number.value or 0.0 for number in video) == pytest.approx(34, abs=0.5)
    assert scaling.CLAIM.paper.endswith("34 % on video")
    assert value(abstract, "perplexity gain") == pytest.approx(100 * thinking.PAPER)
    assert value(abstract, "passes saved") == pytest.approx(100 * (1 - 1 / HUNDRED))
    best = numbers(abstract, "perplexity gain")[0].setting
    assert best == f"best of {thinking.PAPER_SAMPLES}"
    assert value("Fig 6a", "perplexity gain", setting=best) == pytest.approx(100 * thinking.PAPER)


def test_the_slope_over_distance_is_that_of_the_line_s_ends() -> None:
    near, far = (value("Fig 7", "perplexity gain", x=x) for x in (1.0, 4.4))
    assert pytest.approx((far - near) / 100 / log2(4.4)) == distance.PAPER


def test_table_3_and_4_are_quoted_as_they_are() -> None:
    said = {claim.name: claim.paper for claim in CLAIMS}
    for model in ("ebt", "transformer++"):
        shown = f"{value('Table 3', 'perplexity', model=model, data='pretraining'):.2f}"
        assert shown in said["downstream"]
    sets = ("gsm8k", "squad", "math_qa", "dyck")
    pairs = [
        [value("Table 3", "perplexity", model=m, data=data) for m in ("ebt", "transformer++")]
        for data in sets
    ]
    better = sum(ours < theirs for ours, theirs in pairs)
    assert f"better on {better} of {len(sets)} sets" in said["downstream"]
    for model in ("ebt", "dit"):
        assert f"{value('Table 4', 'top-1', model=model):.2f} %" in said["features"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_suites_and_exhibits_that_a_claim_names_exist(claim: object) -> None:
    for name in claim.suites.split(", "):  # type: ignore[attr-defined]
        assert (ROOT / name).exists()
    assert set(claim.exhibits) <= set(get_args(PaperExhibit))  # type: ignore[attr-defined]


def test_every_claim_knows_the_sections_that_bear_on_it() -> None:
    assert set(SECTIONS) == {claim.name for claim in CLAIMS}
