"""Scaling rates of every section of every suite, with what they mean in cost at equal loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.paper.beside import shown
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.paper.rates import papers_rates
from harness.analysis.rates.equal_loss import Crossover, EqualLoss, crossover, equal_loss
from harness.analysis.rates.points import Estimate
from harness.analysis.tables.equal_loss import (
    amount,
    gain_reason,
    ratio_range,
    ratio_text,
)
from harness.analysis.tables.scaling import axis_name
from harness.analysis.tables.table import Cell, Table, percent, percent_range
from harness.quantities import counted

NAME = "rates"


@dataclass(frozen=True)
class RateRow:
    """One scaling section that has losses; `at` and `crossed` are None where it has no rate."""

    suite: str
    title: str
    exhibit: ScalingExhibit
    at: EqualLoss | None
    crossed: Crossover | None
    paper: tuple[PaperNumber, ...]

    @property
    def comparison(self) -> str:
        return f"{self.exhibit.section.candidate} over {self.exhibit.section.baseline}"

    @property
    def along(self) -> tuple[str, str]:
        return axis_name(self.exhibit), self.comparison

    @property
    def points(self) -> int:
        """Points of the family that has fewer."""
        return min(len(xs) for xs in self._xs)

    @property
    def decades(self) -> float | None:
        """Of the family that spans fewer; None without two points of each."""
        if self.points < 2:
            return None
        return min(log10(max(xs) / min(xs)) for xs in self._xs)

    @property
    def seeds(self) -> int:
        """Training seeds of the point that has the fewest."""
        return min(len(row.seeds) for row in self.exhibit.rows)

    @property
    def _xs(self) -> list[set[float]]:
        section = self.exhibit.section
        names = (section.candidate, section.baseline)
        return [{row.x for row in self.exhibit.rows if row.adapter == name} for name in names]


def rate_rows(shown: Sequence[SuiteExhibits]) -> list[RateRow]:
    """Every scaling section with losses, in the order of suites and sections."""
    rows = []
    for each in shown:
        for section, gathered in zip(each.suite.report, each.gathered, strict=True):
            exhibit = gathered.exhibit
            if not isinstance(exhibit, ScalingExhibit) or not exhibit.rows:
                continue
            rate = exhibit.rate
            rows.append(
                RateRow(
                    each.suite.name,
                    section.title,
                    exhibit,
                    None if rate is None else equal_loss(rate),
                    None if rate is None else crossover(rate),
                    tuple(papers_rates(exhibit, gathered.paper)),
                )
            )
    return rows


def rates_table(shown: Sequence[SuiteExhibits]) -> Table:
    """One row per section: what it stands on, rate, verdict, gain, crossover, paper's number."""
    rows = rate_rows(shown)
    compared = list(dict.fromkeys(row.comparison for row in rows))
    several = len(compared) > 1
    return Table(
        name=NAME,
        title=f"Scaling rates of {'all suites' if several or not rows else compared[0]}",
        header=(
            *("suite", *(["comparison"] * several), "along", "points × seeds", "decades"),
            *("scaling rate [interval]", "slope ratio [95 %]", "verdict"),
            *("gain at equal loss [95 %]", "crossover", "paper"),
        ),
        rows=[_cells(row, rows, several=several) for row in rows],
        data=[_data(row) for row in rows],
        notes=_notes(rows, shown),
        text_columns=2 + several,
    )


def _cells(row: RateRow, rows: Sequence[RateRow], *, several: bool) -> list[Cell]:
    exhibit, rate = row.exhibit, row.exhibit.rate
    along = axis_name(exhibit).removeprefix("non-embedding ")
    alike = [r for r in rows if (r.suite, r.along) == (row.suite, row.along)]
    cells = [
        row.suite,
        *([row.comparison] * several),
        f"{along} ({row.title})" if len(alike) > 1 else along,
        f"{row.points} × {row.seeds}",
        "" if row.decades is None else f"{row.decades:.2f}",
    ]
    if rate is None or row.at is None or row.crossed is None:
        cells += ["no rate yet", "", "", "", ""]
    else:
        gain = f"{ratio_text(row.at.ratio)} {ratio_range(row.at.ratio)}".strip()
        cells += [
            _estimate(rate.rho) or "not identified",
            _estimate(rate.apparent),
            rate.verdict.status + ("" if rate.gate.passed else ", exploratory"),
            gain or "not known",
            _crossover(row.crossed, exhibit),
        ]
    return [Cell(text) for text in (*cells, paper_text(row.paper))]


def _estimate(estimate: Estimate) -> str:
    between = estimate.interval
    ends = "" if between is None else percent_range((between.low, between.high)).removesuffix(" %")
    return f"{percent(estimate.value)} {ends}".strip()


def _crossover(crossed: Crossover, exhibit: ScalingExhibit) -> str:
    """`4.94 G: ebt lower beyond`, `none: ebt lower`."""
    if crossed.above is None:
        return "not known"
    lower = getattr(exhibit.section, crossed.above)
    if crossed.budget.value is None:
        return f"none: {lower} lower"
    x, between = exhibit.section.x, crossed.budget.interval
    ends = "" if between is None else f" [{amount(between.low, x)}, {amount(between.high, x)}]"
    return f"{amount(crossed.budget.value, x)}{ends}: {lower} lower beyond"


def paper_text(numbers: Sequence[PaperNumber]) -> str:
    """`+35.98 % (Fig 4a)`."""
    return ", ".join(f"{shown(number)} ({number.exhibit})" for number in numbers)


def _data(row: RateRow) -> dict[str, object]:
    exhibit, rate = row.exhibit, row.exhibit.rate
    section = exhibit.section
    known: dict[str, object] = {
        "suite": row.suite,
        "section": row.title,
        "axis": section.x,
        "candidate": section.candidate,
        "baseline": section.baseline,
        "points": row.points,
        "seeds": row.seeds,
        "decades": row.decades,
        "data": exhibit.data,
        "device": "; ".join(exhibit.device),
        "paper": row.paper[0].value if row.paper else None,
        "paper_exhibit": row.paper[0].exhibit if row.paper else None,
    }
    if rate is None or row.at is None or row.crossed is None:
        return known | {"verdict": "", "reason": exhibit.no_rate}
    return known | {
        **_numbers("rate", rate.rho),
        "p": rate.p,
        "p_adjusted": rate.p_adjusted,
        "label": rate.rho.label,
        "verdict": rate.verdict.status,
        "reason": rate.verdict.reason,
        **_numbers("apparent", rate.apparent),
        **_numbers("gain", row.at.ratio),
        "gain_at_loss": row.at.loss,
        "gain_reason": gain_reason(row.at, exhibit),
        **_numbers("crossover", row.crossed.budget),
        "lower_beyond": row.crossed.above,
        "crossover_reason": row.crossed.budget.reason,
    }


def _numbers(name: str, estimate: Estimate) -> dict[str, object]:
    between = estimate.interval
    return {
        name: estimate.value,
        f"{name}_low": None if between is None else between.low,
        f"{name}_high": None if between is None else between.high,
        f"{name}_level": None if between is None else between.level,
    }


def _notes(rows: Sequence[RateRow], shown: Sequence[SuiteExhibits]) -> list[str]:
    notes = []
    if rows:
        notes = [
            "Scaling rate: a(candidate) / a(baseline) − 1 of L(x) = E + A·x^(−a). Its interval is "
            "at the level that Holm's step-down gives it among the axes of its own suite, never "
            "over suites. Exploratory designs, of fewer than 5 points or 3 seeds, or too narrow "
            "(the CSV says which), have 95 % and decide nothing. Slope ratio: the same of raw "
            "log-log slopes, the paper's kind of number, biased by E and A.",
            "Gain: the baseline's cost over the candidate's, in the axis' own unit, at the lowest "
            "loss both fitted curves reach (along training FLOPs: compute-equivalent gain); "
            "crossover: where the fitted curves cross last, within the points of both.",
            f"Trained on {', '.join(sorted({d for row in rows for d in row.exhibit.device}))}.",
        ]
    empty = [
        each.suite.name
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ScalingExhibit) and not gathered.exhibit.rows
    ]
    if empty:
        names = ", ".join(dict.fromkeys(empty))
        notes.append(f"{counted(len(empty), 'section')} without results, of {names}.")
    return notes
