"""Reads the paper's numbers from CSV files; what does not fit is one error that names the place."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from math import isfinite
from pathlib import Path

from harness.analysis.paper.numbers import (
    EXHIBITS,
    MODELS,
    PLACES,
    QUANTITIES,
    SOURCES,
    UNITS,
    PaperNumber,
    PaperNumbers,
    PaperSetting,
)
from harness.errors import HarnessError

PAPER = "paper"
_MODEL = re.compile(r"(\d+)x(\d+)")
#: The results that come with the source code.
_BESIDE = Path(__file__).parents[3] / "results"
#: What every exhibit shows; every other file of the folder holds numbers.
SETTINGS_FILE = "exhibits.csv"
NUMBER_COLUMNS = tuple(field.name for field in fields(PaperNumber) if field.name != "written")
SETTING_COLUMNS = (
    *("exhibit", "shows", "models", "tokens_low", "tokens_high"),
    *("data", "tokenizer", "setting"),
)


def load_paper(results: Path) -> PaperNumbers:
    """The CSV files of `results`/paper, else those beside the source code, else none with a note.

    HarnessError with file, line and column for a malformed one.
    """
    for folder in (results / PAPER, _BESIDE / PAPER):
        paths = sorted(folder.glob("*.csv"))
        if paths:
            return _read(paths)
    note = (
        "The paper's numbers are not shown: there is no CSV file in "
        f"{results / PAPER}, nor in {PAPER} of the results beside the source code"
    )
    return PaperNumbers(note=note)


def _read(paths: Sequence[Path]) -> PaperNumbers:
    numbers: dict[tuple[object, ...], tuple[PaperNumber, str]] = {}
    settings: dict[str, PaperSetting] = {}
    for path in paths:
        if path.name == SETTINGS_FILE:
            for line in _lines(path, SETTING_COLUMNS):
                found = _setting(line)
                if found.exhibit in settings:
                    raise line.error("exhibit", "the exhibit has a line already")
                settings[found.exhibit] = found
            continue
        for line in _lines(path, NUMBER_COLUMNS):
            number = _number(line)
            key = _key(number)
            if key in numbers:
                raise line.error("quantity", f"the same number is in {numbers[key][1]} already")
            numbers[key] = number, line.where
    return PaperNumbers(tuple(number for number, _ in numbers.values()), settings)


def _key(number: PaperNumber) -> tuple[object, ...]:
    """What no two numbers share."""
    return (
        *(number.exhibit, number.model, number.against, number.setting),
        *(number.data, number.quantity, number.x, number.x_unit),
    )


class _Line:
    """One line of a file, by column; its errors say where."""

    def __init__(self, path: Path, number: int, cells: dict[str, str]) -> None:
        self._path, self._number, self._cells = path, number, cells

    @property
    def where(self) -> str:
        return f"{self._path}:{self._number}"

    def error(
        self, column: str, problem: str, allowed: Sequence[str] | None = None
    ) -> HarnessError:
        where, given = f"{self.where} {column}", self._cells.get(column)
        return HarnessError(problem, where=where, given=given, allowed=allowed)

    def text(self, column: str) -> str:
        return self._cells[column]

    def needed(self, column: str) -> str:
        if not self._cells[column]:
            raise self.error(column, "needs a value")
        return self._cells[column]

    def one_of(self, column: str, allowed: Sequence[str]) -> str:
        if self._cells[column] not in allowed:
            raise self.error(column, "is none of the values that this column has", allowed)
        return self._cells[column]

    def number(self, column: str) -> float | None:
        written = self._cells[column]
        if not written:
            return None
        try:
            value = float(written)
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            raise self.error(column, "is not a number", ["a number such as 35.98 or 3e9", "empty"])
        return value

    def range(self, low: str, high: str) -> tuple[float, float] | None:
        """Both bounds in order, or neither."""
        first, last = self.number(low), self.number(high)
        if first is None and last is None:
            return None
        if first is None or last is None or last < first:
            raise self.error(high, f"{low} and {high} are given together, the lower one first")
        return first, last

    def models(self, column: str) -> tuple[tuple[int, int], ...]:
        """`6x384 12x768` as pairs of depth and width."""
        found = [_MODEL.fullmatch(word) for word in self._cells[column].split()]
        if not all(found):
            raise self.error(column, "is no list of depth x width", ["6x384", "6x384 12x768"])
        return tuple((int(model[1]), int(model[2])) for model in found if model)


def _lines(path: Path, columns: Sequence[str]) -> Iterator[_Line]:
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            reader = csv.reader(handle, strict=True)
            header = next(reader, [])
            if tuple(header) != tuple(columns):
                wrong = next((name for name in header if name not in columns), None)
                raise HarnessError(
                    "the first line names other columns than a file of the paper's numbers has",
                    where=f"{path}:1",
                    given=wrong or ",".join(header),
                    allowed=columns,
                )
            for cells in reader:
                if len(cells) != len(columns):
                    raise HarnessError(
                        f"the line has {len(cells)} cells, and the file {len(columns)} columns",
                        where=f"{path}:{reader.line_num}",
                        hint="a text with a comma stands in quotes",
                    )
                stripped = [cell.strip() for cell in cells]
                yield _Line(path, reader.line_num, dict(zip(columns, stripped, strict=True)))
    except csv.Error as error:
        raise HarnessError(f"is no CSV: {error}", where=f"{path}:{reader.line_num}") from error
    except UnicodeDecodeError as error:
        raise HarnessError("is not UTF-8 text", where=str(path)) from error
    except OSError as error:
        raise HarnessError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _number(line: _Line) -> PaperNumber:
    number = PaperNumber(
        exhibit=line.one_of("exhibit", PLACES),
        model=line.one_of("model", ("", *MODELS)),
        against=line.one_of("against", ("", *MODELS)),
        setting=line.text("setting"),
        data=line.text("data"),
        quantity=line.one_of("quantity", QUANTITIES),
        x=line.number("x"),
        x_unit=line.text("x_unit"),
        value=line.number("value"),
        high=line.number("high"),
        unit=line.one_of("unit", UNITS),
        source=line.one_of("source", SOURCES),
        page=line.text("page"),
        note=line.text("note"),
        written=line.text("value"),
    )
    if number.x is not None:
        line.needed("x_unit")
    if number.value is None:
        if number.high is not None:
            raise line.error("value", "a range needs its lower end")
        if not number.note:
            raise line.error("value", "needs a number, or a note that says what is stated instead")
    elif number.high is not None and number.high <= number.value:
        raise line.error("high", "a range's upper end lies above its lower one")
    return number


def _setting(line: _Line) -> PaperSetting:
    return PaperSetting(
        exhibit=line.one_of("exhibit", EXHIBITS),
        shows=line.needed("shows"),
        models=line.models("models"),
        tokens=line.range("tokens_low", "tokens_high"),
        data=line.text("data"),
        tokenizer=line.text("tokenizer"),
        setting=line.text("setting"),
    )
