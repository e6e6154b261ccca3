"""A table of cells with notes, and how it is written as Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.analysis.outputs import as_csv, written_to
from harness.records import write_text


@dataclass(frozen=True)
class Cell:
    """What a reader sees; `bold` marks the best of its group."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """`header` and `rows` are for reading; `data` holds the full numbers that the CSV gets.

    `notes` say the definitions, n, seeds and what is missing; they go wherever the table goes.
    """

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    data: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = field(default_factory=tuple)
    text_columns: int = 1

    def markdown(self) -> str:
        """GitHub Markdown, numbers right-aligned, notes below."""
        widths = [
            max(len(h), *(len(_marked(row[i])) for row in self.rows), 3)
            for i, h in enumerate(self.header)
        ]
        lines = [
            f"### {self.title}",
            "",
            self._line(self.header, widths),
            "| " + " | ".join(self._rule(i, w) for i, w in enumerate(widths)) + " |",
        ]
        lines += [self._line([_marked(c) for c in row], widths) for row in self.rows]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([*lines, "", *notes, ""])

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = [
            c.ljust(w) if i < self.text_columns else c.rjust(w)
            for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    def _rule(self, index: int, width: int) -> str:
        return "-" * width if index < self.text_columns else "-" * (width - 1) + ":"

    def latex(self) -> str:
        """A `tabular` with booktabs rules; notes as comments above it."""
        columns = "l" * self.text_columns + "r" * (len(self.header) - self.text_columns)
        body = [
            " & ".join(rf"\textbf{{{escape(c.text)}}}" if c.bold else escape(c.text) for c in row)
            + r" \\"
            for row in self.rows
        ]
        return "\n".join(
            [
                f"% {self.title}",
                *(f"% {note}" for note in self.notes),
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                " & ".join(escape(h) for h in self.header) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )

    def csv(self) -> str:
        """The numbers behind the cells, to the digits of `as_csv`."""
        return as_csv(self.data)

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.md, NAME.tex and NAME.csv."""
        written = []
        forms = ((".md", self.markdown()), (".tex", self.latex()), (".csv", self.csv()))
        for suffix, text in forms:
            path = folder / (self.name + suffix)
            with written_to(path):
                write_text(path, text, durable=False)
            written.append(path)
        return written


def _marked(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.bold else cell.text


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "−": "$-$",
    "≈": r"$\approx$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∞": r"$\infty$",
    "σ": r"$\sigma$",
}


def escape(text: str) -> str:
    """Text that LaTeX sets as written."""
    return "".join(_LATEX.get(character, character) for character in text)


def minus(text: str) -> str:
    """A formatted number with a true minus sign, as readers are shown it."""
    return text.replace("-", "−")


def plus_minus(value: float, half_width: float | None, digits: int) -> str:
    """`2.257 ± 0.012`, or the value alone where there is no interval."""
    shown = minus(f"{value:.{digits}f}")
    return shown if half_width is None else f"{shown} ± {half_width:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a signed percentage; empty where missing."""
    return "" if value is None else minus(f"{100 * value:+.{digits}f} %")


def percent_range(interval: tuple[float, float] | None, digits: int = 1) -> str:
    """`[+1.0, +2.5] %`; empty where missing."""
    if interval is None:
        return ""
    low, high = (f"{100 * bound:+.{digits}f}" for bound in interval)
    return minus(f"[{low}, {high}] %")
