"""Tables of a probe section: accuracies beside the references, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.downstream import Comparison
from harness.analysis.exhibits.measures import Measure
from harness.analysis.exhibits.probe import (
    TOPS,
    Accuracy,
    ProbeExhibit,
    ProbeScore,
    ProbeSet,
    Reference,
    unfitted,
)
from harness.analysis.resampling import MIN_DOCUMENTS, SEEDS_STRETCHED
from harness.analysis.tables.scores import difference_text, few_seeds, form_of
from harness.analysis.tables.table import Cell, Table
from harness.quantities import si

CHANCE = "chance"


def probe_tables(exhibit: ProbeExhibit, stem: str) -> list[Table]:
    """The accuracies and, where the section names a baseline, the differences from it."""
    tables = [_values(exhibit, stem)]
    if any(score.top1.comparison is not None for score in exhibit.scores):
        tables.append(_differences(exhibit, f"{stem}-differences"))
    return tables


def set_label(one: ProbeSet) -> str:
    return f"{one.data} ({one.split})"


def accuracy_text(measure: Measure, accuracy: Accuracy | None) -> str:
    """`12.3 [11.0, 13.6] %`; empty where missing."""
    if accuracy is None:
        return ""
    return form_of(measure, accuracy.value).write(accuracy.value, accuracy.interval)


# --- the numbers -----------------------------------------------------------------------------


def _values(exhibit: ProbeExhibit, name: str) -> Table:
    several = len(exhibit.sets) > 1
    rows: list[list[Cell]] = []
    data: list[dict[str, object]] = []
    for one in exhibit.sets:
        place = [Cell(set_label(one))] if several else []
        references = [r for r in (one.pixels, one.majority) if r.top1 is not None]
        rows += [[*place, *_cells(score, one)] for score in one.scores]
        rows += [[*place, *_reference_cells(reference)] for reference in references]
        rows.append([*place, *_chance_cells(one)])
        data += [_data(score, one) for score in one.scores]
        data += [_reference_data(reference, one) for reference in references]
        data.append(_place(one) | {"model": CHANCE} | _chances(one))
    where = f" on {set_label(exhibit.sets[0])}" if len(exhibit.sets) == 1 else ""
    return Table(
        name=name,
        title=f"{exhibit.section.title}: accuracy of each model's features{where}",
        header=(
            *(("set",) if several else ()),
            "features of",
            "top-1 ↑",
            "top-5 ↑",
            "cross-entropy ↓ (nats)",
            "width",
            "l2",
            "FLOPs/image",
            "ms/image",
            "fit (s)",
            "seeds",
        ),
        rows=rows,
        data=data,
        notes=_notes(exhibit),
        text_columns=2 if several else 1,
    )


def _cells(score: ProbeScore, one: ProbeSet) -> list[Cell]:
    return [
        Cell(score.model),
        Cell(accuracy_text(TOPS[0], score.top1), bold=_is_best(score, one)),
        Cell(accuracy_text(TOPS[1], score.top5)),
        Cell("" if score.cross_entropy is None else f"{score.cross_entropy:.3f}"),
        Cell(str(score.width)),
        Cell(_range(score.l2)),
        Cell(si(score.flops).strip()),
        Cell("" if score.seconds is None else f"{1e3 * score.seconds:.3g}"),
        Cell("" if score.fit_seconds is None else f"{score.fit_seconds:.3g}"),
        Cell(str(score.seeds)),
    ]


def _is_best(score: ProbeScore, one: ProbeSet) -> bool:
    """The highest top-1, where a paired difference from the baseline decides it."""
    if max(one.scores, key=lambda s: s.top1.value) is not score:
        return False
    own = score.top1.comparison
    if own is not None:
        return own.verdict == "better"
    others = [s.top1.comparison for s in one.scores if s is not score]
    return bool(others) and all(c is not None and c.verdict == "worse" for c in others)


def _reference_cells(row: Reference) -> list[Cell]:
    return [
        Cell(row.name),
        Cell(accuracy_text(TOPS[0], row.top1)),
        Cell(accuracy_text(TOPS[1], row.top5)),
        Cell("" if row.cross_entropy is None else f"{row.cross_entropy:.3f}"),
        Cell("" if row.width is None else str(row.width)),
        Cell("" if row.l2 is None else f"{row.l2:g}"),
        *([Cell("")] * 4),
    ]


def _chance_cells(one: ProbeSet) -> list[Cell]:
    shares = [one.chance(measure) for measure in TOPS]
    written = [
        "" if share is None else form_of(measure, share).write(share, None)
        for measure, share in zip(TOPS, shares, strict=True)
    ]
    return [Cell(CHANCE), *map(Cell, written), *([Cell("")] * 7)]


def _range(values: Sequence[float]) -> str:
    """`0.01`, or `0.001–0.1` where training seeds chose differently."""
    return "–".join(dict.fromkeys(f"{value:g}" for value in (min(values), max(values))))


def _place(one: ProbeSet) -> dict[str, object]:
    return {
        "data": one.data,
        "split": one.split,
        "images": one.images,
        "train_images": one.train_images,
        "classes": one.classes,
    }


def _accuracies(score: ProbeScore | Reference) -> dict[str, object]:
    found: dict[str, object] = {}
    for measure in TOPS:
        accuracy = score.top(measure)
        low, high = (None if accuracy is None else accuracy.interval) or (None, None)
        found[measure.source] = None if accuracy is None else accuracy.value
        found |= {f"{measure.source}_low": low, f"{measure.source}_high": high}
    return found


def _chances(one: ProbeSet) -> dict[str, object]:
    return {measure.source: one.chance(measure) for measure in TOPS}


def _data(score: ProbeScore, one: ProbeSet) -> dict[str, object]:
    return {
        **_place(one),
        "model": score.model,
        "adapter": score.adapter,
        "label": score.label,
        **_accuracies(score),
        "cross_entropy": score.cross_entropy,
        "width": score.width,
        "l2": " ".join(f"{value:g}" for value in score.l2),
        "l2_at_edge": score.at_edge,
        "unconverged": score.unconverged,
        "flops": score.flops,
        "seconds": score.seconds,
        "fit_seconds": score.fit_seconds,
        "seeds": score.seeds,
    }


def _reference_data(row: Reference, one: ProbeSet) -> dict[str, object]:
    return {
        **_place(one),
        "model": row.name,
        **_accuracies(row),
        "cross_entropy": row.cross_entropy,
        "width": row.width,
        "l2": None if row.l2 is None else f"{row.l2:g}",
        "l2_at_edge": None if row.l2 is None else int(row.at_edge),
        "unconverged": None if row.l2 is None else int(not row.converged),
    }


# --- differences -----------------------------------------------------------------------------


def _differences(exhibit: ProbeExhibit, name: str) -> Table:
    several = len(exhibit.sets) > 1
    compared = [
        (one, score, measure, accuracy.comparison)
        for one in exhibit.sets
        for score in one.scores
        for measure in TOPS
        if (accuracy := score.top(measure)) is not None and accuracy.comparison is not None
    ]
    return Table(
        name=name,
        title=f"{exhibit.section.title}: against {exhibit.section.baseline}, paired",
        header=(
            *(("set",) if several else ()),
            "features of",
            "against",
            "accuracy",
            "difference",
            "verdict",
            "seeds",
        ),
        rows=[
            [
                *([Cell(set_label(one))] if several else []),
                *_difference_cells(score, measure, comparison),
            ]
            for one, score, measure, comparison in compared
        ],
        data=[
            _place(one) | _difference_data(score, measure, comparison)
            for one, score, measure, comparison in compared
        ],
        notes=[
            "The model's less the baseline's, paired by training seed and image. "
            f"{interval_words(exhibit)} Better or worse: the interval excludes no difference; not "
            "adjusted for the number of rows."
        ],
        text_columns=4 if several else 3,
    )


def _difference_cells(score: ProbeScore, measure: Measure, comparison: Comparison) -> list[Cell]:
    difference = comparison.difference
    return [
        Cell(score.model),
        Cell(comparison.baseline),
        Cell(f"{measure.name} ↑"),
        Cell(difference_text(measure, comparison), bold=comparison.verdict == "better"),
        Cell(comparison.verdict if difference.interval is not None else "no interval"),
        Cell(str(difference.seeds)),
    ]


def _difference_data(
    score: ProbeScore, measure: Measure, comparison: Comparison
) -> dict[str, object]:
    difference = comparison.difference
    low, high = difference.interval or (None, None)
    return {
        "model": score.model,
        "baseline": comparison.baseline,
        "metric": measure.source,
        "difference": difference.value,
        "low": low,
        "high": high,
        "verdict": comparison.verdict,
        "seeds": difference.seeds,
        "paired_by_image": difference.by_document,
    }


# --- notes -----------------------------------------------------------------------------------


def _notes(exhibit: ProbeExhibit) -> list[str]:
    if not exhibit.sets:
        return []
    notes = [
        "Multinomial logistic regression on standardised features; l2 (mean cross-entropy + l2/2 × "
        "squared weights) has the most right answers on a held-out part of the training images, "
        f"then all of them are fitted. {sizes(exhibit)}.",
        f"{interval_words(exhibit)} Bold: best, where the paired difference decides it.",
        "Chance: any class; commonest classes: those of the training images, always. FLOPs and "
        "time are of one image's features, the fit's time of all penalties. Time on "
        f"{', '.join(exhibit.device)}.",
        "The paper's (its Table 4): ImageNet-1k, top-1 / top-5 of DiT 0.31 / 1.36 %, of EBT 5.32 / "
        "13.2 %, one seed, no interval.",
    ]
    return notes + warnings(exhibit)


def warnings(exhibit: ProbeExhibit) -> list[str]:
    """What limits the numbers: penalties at the end of the grid, fits that did not end, pixels."""
    found = []
    edges = [f"{s.model} ({s.at_edge} of {s.seeds})" for s in exhibit.scores if s.at_edge]
    edges += [_pixels(one, exhibit) for one in exhibit.sets if one.pixels.at_edge]
    if edges:
        found.append(
            f"The best l2 is the smallest or largest tried: {', '.join(edges)}. Others beyond it "
            "may do better: widen `l2`."
        )
    short = [f"{s.model} ({s.unconverged} of {s.seeds})" for s in exhibit.scores if s.unconverged]
    short += [_pixels(one, exhibit) for one in exhibit.sets if not one.pixels.converged]
    if short:
        found.append(
            f"Not fitted to the end: {', '.join(short)}. More `epochs`, or the full_batch solver, "
            "would."
        )
    if missing := unfitted(exhibit.sets):
        found.append(f"Pixels of {', '.join(missing)} are too large to fit: not measured.")
    return found


def _pixels(one: ProbeSet, exhibit: ProbeExhibit) -> str:
    return f"pixels of {one.data}" if len(exhibit.sets) > 1 else "pixels"


def sizes(exhibit: ProbeExhibit) -> str:
    """`10 classes, 1,530 images to fit and 267 to test`, of each set."""
    found = []
    for one in exhibit.sets:
        text = f"{one.classes:,} classes, {one.train_images:,} images to fit"
        text += f" and {one.images:,} to test"
        found.append(text if len(exhibit.sets) == 1 else f"{set_label(one)}: {text}")
    return "; ".join(found)


def interval_words(exhibit: ProbeExhibit) -> str:
    """What the intervals resample; and how little that says of other trainings with few seeds."""
    seeds = sorted({score.seeds for score in exhibit.scores})
    shown = "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    noun = "training seed" if shown == "1" else "training seeds"
    text = f"Intervals: 95 %, {shown} {noun}, then test images drawn again"
    if seeds[-1] > 1:
        text += f" (seeds' {SEEDS_STRETCHED})"
    if any(one.images < MIN_DOCUMENTS for one in exhibit.sets):
        text += f"; Student's t over seeds where fewer than {MIN_DOCUMENTS} images are tested"
    if few := few_seeds(seeds):
        text += f"; {few}"
    return f"{text}."
