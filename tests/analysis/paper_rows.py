"""What tests of the paper's numbers share: the numbers themselves, and how a row is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.analysis.paper.beside import Beside
from harness.analysis.paper.reading import load_paper

PAPER = load_paper(Path(__file__).parents[2] / "results")


def of(rows: Sequence[Beside], quantity: str, model: str = "") -> Beside:
    found = [r for r in rows if quantity in r.quantity and model in r.model]
    assert len(found) == 1, f"{len(found)} rows of {quantity!r}: {[r.quantity for r in rows]}"
    return found[0]
