"""Tables of a scaling section: losses with reference lines, and the rate with its verdict."""

from __future__ import annotations

from math import exp

from harness.analysis.exhibits.scaling import (
    COPY_LAST,
    FINAL_CHECKPOINT,
    NATS,
    SMOOTH_L1,
    LossUnit,
    ScalingExhibit,
    ScalingRow,
)
from harness.analysis.paper.beside import shown
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.paper.rates import papers_rates
from harness.analysis.rates.points import Estimate
from harness.analysis.tables.rate_checks import rate_checks
from harness.analysis.tables.table import Cell, Table, percent, percent_range, plus_minus
from harness.planning.sections import Axis
from harness.quantities import si

#: Digits after the point.
_DIGITS = {NATS: 3, SMOOTH_L1: 5}
AXIS_NAMES: dict[Axis, str] = {
    "parameters": "non-embedding parameters",
    "flops": "training FLOPs",
    "seconds": "training seconds",
    "depth": "blocks",
    "width": "width",
    "batch": "rows per step",
}


def axis_name(exhibit: ScalingExhibit) -> str:
    """What lies along the section's axis, in words."""
    x = exhibit.section.x
    return f"training {exhibit.unit.seen}" if x == "data" else AXIS_NAMES[x]


def scaling_tables(exhibit: ScalingExhibit, stem: str) -> list[Table]:
    """The loss table and, where two families have points, the rate table."""
    return [losses_table(exhibit, stem), rate_table(exhibit, f"{stem}-rate")]


def losses_table(exhibit: ScalingExhibit, name: str) -> Table:
    """Loss of every point, with perplexity and bits per byte of text; reference lines below."""
    section, unit = exhibit.section, exhibit.unit
    best = {
        x: min((r for r in exhibit.rows if r.label == x), key=lambda r: r.loss.value)
        for x in {r.label for r in exhibit.rows}
    }
    rows = [_loss_cells(row, unit, bold=best[row.label] is row) for row in exhibit.rows]
    for reference, (loss, bits) in exhibit.references.items():
        of_text = [] if bits is None else [Cell(f"{exp(loss):.2f}"), Cell(f"{bits:.3f}")]
        empty = [Cell("")] * 5
        written = Cell(f"{loss:.{_DIGITS[unit]}f}")
        rows.append([Cell(_reference(reference)), *empty, written, *of_text, Cell("")])
    header = (
        "model",
        section.x if section.x not in ("parameters", "flops") else "size",
        "non-emb.",
        unit.seen,
        "train FLOPs",
        "train s",
        "loss ↓",
        *(("perplexity ↓", "bits/byte ↓") if unit is NATS else ()),
        "seeds",
    )
    return Table(
        name=name,
        title=f"{section.title}: validation loss on {exhibit.data or 'nothing yet'}",
        header=header,
        rows=rows,
        data=[_loss_data(row, unit) for row in exhibit.rows]
        + [
            {"model": _reference(reference), "loss": loss, "bits_per_byte": bits}
            for reference, (loss, bits) in exhibit.references.items()
        ],
        notes=_loss_notes(exhibit),
        text_columns=2,
    )


def _reference(name: str) -> str:
    return name if name == COPY_LAST else f"add-one {name}"


def _loss_cells(row: ScalingRow, unit: LossUnit, *, bold: bool) -> list[Cell]:
    bits = row.bits_per_byte
    of_text = [
        Cell("" if row.perplexity is None else f"{row.perplexity:.2f}", bold=bold),
        Cell("" if bits is None else plus_minus(bits.value, bits.half_width, 3), bold=bold),
    ]
    return [
        Cell(row.adapter),
        Cell(row.label),
        Cell(si(row.non_embedding).strip()),
        Cell(si(row.seen).strip()),
        Cell(si(row.training_flops).strip()),
        Cell(f"{row.training_seconds:.1f}"),
        Cell(plus_minus(row.loss.value, row.loss.half_width, _DIGITS[unit]), bold=bold),
        *(of_text if unit is NATS else []),
        Cell(str(len(row.seeds))),
    ]


def _loss_data(row: ScalingRow, unit: LossUnit) -> dict[str, object]:
    return {
        "model": row.adapter,
        "label": row.label,
        "x": row.x,
        "non_embedding": row.non_embedding,
        "parameters": row.parameters,
        unit.seen: row.seen,
        "training_flops": row.training_flops,
        "training_seconds": row.training_seconds,
        "loss": row.loss.value,
        "loss_low": row.loss.low,
        "loss_high": row.loss.high,
        "perplexity": row.perplexity,
        "bits_per_byte": None if row.bits_per_byte is None else row.bits_per_byte.value,
        "n": row.n,
        "seeds": " ".join(map(str, row.seeds)),
        "noise_seeds": row.noise_seeds,
        "noise_spread": row.noise_spread,
    }


def _loss_notes(exhibit: ScalingExhibit) -> list[str]:
    if not exhibit.rows:
        return []
    first, unit = exhibit.rows[0], exhibit.unit
    numbers = sorted({seed for row in exhibit.rows for seed in row.seeds})
    missing = any(len(row.seeds) < len(numbers) for row in exhibit.rows)
    seeds = (
        f"Mean over training seeds {', '.join(map(str, numbers))}"
        + (" (not all of them in every row: the last column counts them)" if missing else "")
        + " ± 95 % t interval; bold: lowest at a size."
    )
    if unit is NATS:
        notes = [
            f"Loss in nats per token, weighted by token over {first.n:,} targets; perplexity is "
            f"its exponential. {seeds} n-gram models are fitted on the training split and scored "
            "on the same targets.",
        ]
    else:
        notes = [
            f"Loss: smooth L1 (beta 1), mean over the numbers of a frame and over {first.n:,} "
            f"frames. {seeds} The copy of the last frame is scored on the same frames.",
            FINAL_CHECKPOINT,
        ]
    noisy = [r for r in exhibit.rows if r.noise_spread is not None]
    if noisy:
        spread = max(r.noise_spread or 0.0 for r in noisy)
        notes.append(
            f"Each loss is a mean over {noisy[0].noise_seeds} evaluation noise seeds; their "
            f"largest standard deviation is {spread:.{_DIGITS[unit] + 1}f} {unit.name}."
        )
    for reference, said in (("bigram", "the bigram"), (COPY_LAST, "the copy of the last frame")):
        if reference in exhibit.references:
            names = ", ".join(f"{r.adapter} {r.label}" for r in exhibit.beat(reference)) or "none"
            notes.append(f"Below {said} by their whole interval: {names}.")
    if exhibit.lost:
        notes.append(f"Left out, for a loss that is 0 or not finite: {', '.join(exhibit.lost)}.")
    notes.append(f"Training time measured on {', '.join(exhibit.device)}.")
    return notes


def rate_table(exhibit: ScalingExhibit, name: str) -> Table:
    """The scaling rate of the candidate over the baseline, and the paper's kind of number."""
    section, rate = exhibit.section, exhibit.rate
    title = (
        f"{section.title}: scaling rate of {section.candidate} over {section.baseline} "
        f"along {axis_name(exhibit)}"
    )
    header = ("quantity", "value", "95 % interval", "points", "seeds", "verdict or reason")
    if rate is None:
        return Table(name, title, header, [], [], [f"No rate: {exhibit.no_rate}."], text_columns=1)
    checks = rate_checks(exhibit)
    rows = [
        [*_estimate("apparent slope ratio", rate.apparent), Cell("biased by E and A; no verdict")],
        [*_estimate("scaling rate", rate.rho), Cell(rate.verdict.text)],
        *([*_estimate(name, check), Cell(check.reason)] for name, check in checks),
        *(_paper_cells(number) for number in papers_rates(exhibit, exhibit.paper)),
    ]
    return Table(
        name,
        title,
        header,
        rows,
        data=[
            _estimate_data("apparent slope ratio", rate.apparent)
            | {"verdict": "", "reason": "biased by E and A"},
            _estimate_data("scaling rate", rate.rho)
            | {"verdict": rate.verdict.status, "reason": rate.verdict.reason},
            *(
                _estimate_data(name, check) | {"verdict": "", "reason": check.reason}
                for name, check in checks
            ),
        ],
        notes=_rate_notes(exhibit),
        text_columns=1,
    )


def _paper_cells(number: PaperNumber) -> list[Cell]:
    return [
        Cell(f"paper, {number.exhibit}"),
        Cell(shown(number)),
        Cell("none given"),
        Cell(""),
        Cell("1"),
        Cell("an apparent slope ratio, at the paper's scale"),
    ]


def _estimate(name: str, estimate: Estimate) -> list[Cell]:
    interval = estimate.interval
    return [
        Cell(name),
        Cell(percent(estimate.value) or "not identified"),
        Cell("" if interval is None else percent_range((interval.low, interval.high))),
        Cell(str(estimate.points)),
        Cell(str(estimate.seeds)),
    ]


def _estimate_data(name: str, estimate: Estimate) -> dict[str, object]:
    interval = estimate.interval
    return {
        "quantity": name,
        "value": estimate.value,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "level": None if interval is None else interval.level,
        "points": estimate.points,
        "seeds": estimate.seeds,
        "label": estimate.label,
    }


def _rate_notes(exhibit: ScalingExhibit) -> list[str]:
    rate = exhibit.rate
    assert rate is not None
    notes = [
        "Scaling rate: a(candidate) / a(baseline) − 1 of L(x) = E + A·x^(−a), fitted per family; "
        "apparent slope ratio: the same of raw log-log slopes, the paper's kind of number.",
    ]
    if rate.rho.value is None and rate.rho.reason:
        notes.append(f"Scaling rate: {rate.rho.reason}.")
    if rate.caveat:
        notes.append(f"{rate.caveat[0].upper()}{rate.caveat[1:]}.")
    notes.append(
        f"{rate.rho.label.capitalize()}. Bootstrap: {rate.resampling}, "
        f"{rate.bootstrap.resamples} resamples{', seeds paired' if rate.paired else ''}."
    )
    return notes
