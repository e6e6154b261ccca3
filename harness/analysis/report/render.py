"""The page as one HTML file: templates filled, pictures and data packed until the file is small."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.analysis.claims.claim import STATUSES
from harness.analysis.rates import power_law, verdict
from harness.analysis.report.assemble import Assembled
from harness.analysis.report.details import DETAILS, packed, run_details
from harness.analysis.report.disclosure import GIVEN, QUESTIONS
from harness.analysis.report.page import Page
from harness.analysis.report.pictures import Picture, fitted
from harness.analysis.tables.table import Table
from harness.quantities import si

#: The file is to be smaller.
LIMIT = 5_000_000
#: Of what is left beside the words, so much at most is for what is packed of runs.
_FOR_RUNS = 0.45
#: Numbers of at most so many bytes are a link, which works without scripts; others are packed.
_SMALL_CSV = 1_500
_FOR_CSV = 0.2
#: Bytes of a picture per character of its base64, less a little for what is not counted.
_OF_BASE64 = 0.74
_ROOM = files("harness.analysis.report")
_BREAKS = re.compile(r"(?<=\w)([_/])(?=\w)")
#: Characters that turn what follows them around, up to its paragraph's end, are seen instead.
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_NOT_IN_AN_ANCHOR = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class _Packed:
    """Small CSV files in base64 by key; runs and large CSV files packed; the keys of the latter."""

    small: Mapping[str, str]
    runs: str = ""
    csv: str = ""
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rendered:
    """The file's text, and what had to be left out or shrunk for its size, in words."""

    html: str
    spared: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return len(self.html.encode())


def render(assembled: Assembled) -> Rendered:
    """Fill the templates; what is too much is held back in this order: runs, data, pictures."""
    page = assembled.page
    csv = _csv(page)
    small = {key: _base64(text.encode()) for key, text in csv.items() if _is_small(text)}
    left = LIMIT - len(_fill(_without_pictures(page), _Packed(small)).encode())
    runs, spared = _packed_runs(assembled, int(left * _FOR_RUNS))
    large = {key: text for key, text in csv.items() if len(text.encode()) > _SMALL_CSV}
    held = _held(large, int(left * _FOR_CSV))
    parts = _Packed(small, runs, packed(held), frozenset(held))
    if len(held) < len(large):
        spared.append(
            f"Of {len(large)} larger CSV files {len(held)} are in this page; `harness table` and "
            "`harness figures` write all."
        )
    before = [figure.picture for figure in page.figures]
    left -= len(parts.runs) + len(parts.csv)
    pictures = fitted(before, int(left * _OF_BASE64))
    if pictures != before:
        spared.append("Figures are smaller than drawn; `harness figures` writes them whole.")
    page = replace(_with_pictures(page, pictures), notes=[*page.notes, *spared])
    return Rendered(_fill(page, parts), tuple(spared))


# --- what is packed --------------------------------------------------------------------------


def _packed_runs(assembled: Assembled, budget: int) -> tuple[str, list[str]]:
    """As much of every run as fits, and what was held back, in words."""
    exhibits = [anchor(part.anchor) for suite in assembled.page.suites for part in suite.exhibits]
    text = ""
    for detail in DETAILS:
        text = packed(run_details(assembled.runs, assembled.measured, exhibits, detail))
        if len(text) <= budget:
            break
    if detail is DETAILS[0]:
        return text, []
    return text, [
        f"Of each run the curve has {detail.points} points here, and an evaluation "
        f"{detail.measurements} measurements; its record has all."
    ]


def _csv(page: Page) -> dict[str, str]:
    """The data of every table with rows and of every figure, by key."""
    tables = [claim.findings for claim in page.claims] + list(page.overview)
    tables += [shown for suite in page.suites for part in suite.exhibits for shown in part.tables]
    found = [(shown.csv, shown.table.csv()) for shown in tables if shown.table.rows]
    found += [(figure.csv, figure.picture.csv) for figure in page.figures]
    by_key = dict(found)
    assert len(by_key) == len(found), "two CSV files of the page share a key"
    return by_key


def _held(large: Mapping[str, str], budget: int) -> dict[str, str]:
    """As many as fit, the shortest first."""
    held: dict[str, str] = {}
    for key in sorted(large, key=lambda key: (len(large[key]), key)):
        budget -= len(packed({key: large[key]}))
        if budget < 0:
            break
        held[key] = large[key]
    return held


def _is_small(text: str) -> bool:
    return 0 < len(text.encode()) <= _SMALL_CSV


def _without_pictures(page: Page) -> Page:
    empty = [replace(figure.picture, png=b"") for figure in page.figures]
    return _with_pictures(page, empty)


def _with_pictures(page: Page, pictures: Sequence[Picture]) -> Page:
    """The page with these instead, in order."""
    left = iter(pictures)
    suites = [
        replace(
            suite,
            exhibits=[
                replace(part, figures=[replace(f, picture=next(left)) for f in part.figures])
                for part in suite.exhibits
            ],
        )
        for suite in page.suites
    ]
    return replace(page, suites=suites)


# --- templates -------------------------------------------------------------------------------


def anchor(text: str) -> str:
    """A name as a fragment of an address."""
    return _NOT_IN_AN_ANCHOR.sub("-", text)


def _short_id(run_id: str) -> str:
    """The hash, which alone names the run."""
    return run_id.rpartition("-")[2]


def _words_by_column(table: Table) -> list[bool]:
    """Whether each column holds words, which are read from the left."""
    columns = zip(*([cell.text for cell in row] for row in table.rows), strict=True)
    return [
        index < table.text_columns or sum(text[:1].isalpha() for text in texts) * 2 > len(texts)
        for index, texts in enumerate([text for text in column if text] for column in columns)
    ]


def _breaking(text: str) -> Markup:
    """A name that may break behind `_` and `/`, as in `registered_tuning` and `builtin/docs`."""
    return Markup(_BREAKS.sub(r"\1<wbr>", str(escape(text))))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _file(name: str) -> str:
    return (_ROOM / name).read_text(encoding="utf-8")


def _fill(page: Page, parts: _Packed) -> str:
    environment = Environment(
        loader=FunctionLoader(lambda name: _file(f"templates/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": anchor,
        "short_id": _short_id,
        "words_by_column": _words_by_column,
        "base64": _base64,
        "breaking": _breaking,
        "si": si,
        "capital": lambda text: text[:1].upper() + text[1:],
    }
    environment.globals |= {"small_csv": parts.small, "packed_keys": parts.keys}
    html = environment.get_template("page.html").render(_words(page, parts))
    return html if html.isascii() else html.translate(_TURNING)


def _words(page: Page, parts: _Packed) -> dict[str, Any]:
    newest = next((text for name, text in page.head.facts if name == "newest record"), "")
    return {
        "page": page,
        "css": Markup(_file("report.css")),
        "theme_js": Markup(_file("theme.js")),
        "js": Markup(_file("report.js") + _file("runs.js")),
        "packed_runs": parts.runs,
        "packed_csv": parts.csv,
        "models": sorted({name for run in page.runs for name in run.models}),
        "states": list(dict.fromkeys(run.state for run in page.runs)),
        "statuses": STATUSES,
        "givens": GIVEN,
        "questions": QUESTIONS,
        "gate": {
            "points": verdict.MIN_POINTS,
            "seeds": verdict.MIN_SEEDS,
            "decades": f"{verdict.MIN_DECADES:g}",
            "half_width": f"{100 * verdict.MAX_HALF_WIDTH:g}",
            "small": f"{100 * verdict.SMALL_RATE:g}",
            "fit_points": power_law.MIN_FIT_POINTS,
        },
        "footer": f"Made from records up to {newest}." if newest else "No record yet.",
    }
