"""Tables of a downstream section: every model on every set, and each against the baseline."""

from __future__ import annotations

from collections.abc import Callable

from harness.analysis.exhibits.downstream import (
    Comparison,
    DownstreamExhibit,
    DownstreamRow,
    Score,
)
from harness.analysis.exhibits.measures import Measure
from harness.analysis.exhibits.pattern import MIN_SEEDS, ONCE, Pattern, patterns
from harness.analysis.resampling import MIN_DOCUMENTS, SEEDS_STRETCHED
from harness.analysis.tables.scores import Form, difference_text, form_of, score_text
from harness.analysis.tables.table import Cell, Table
from harness.quantities import counted

_ANSWERS = {"yes": "holds here", "no": "does not hold here", "undecided": "is not decided here"}
_FEW_SEEDS = (
    f" With fewer than {MIN_SEEDS} training seeds that is of these trained models, not of another "
    "training of them: exploratory."
)


def downstream_tables(exhibit: DownstreamExhibit, stem: str) -> list[Table]:
    """The numbers, and the paired differences from a baseline and from other evaluations."""
    tables = [_values(exhibit, stem)]
    if exhibit.compared:
        tables.append(_differences(exhibit, f"{stem}-differences"))
    if any(score.against is not None for score in _scores_of(exhibit)):
        tables.append(_against(exhibit, f"{stem}-against"))
    return tables


def shown(exhibit: DownstreamExhibit) -> list[DownstreamRow]:
    """The rows that are printed; bits per byte of answers are in the CSV alone."""
    return [r for r in exhibit.rows if (r.measure.name, r.measure.tokens) != _UNSHOWN]


_UNSHOWN = ("bits per byte", "answer")


def set_name(row: DownstreamRow, exhibit: DownstreamExhibit) -> str:
    """The evaluation's name, with the data set or task where it covers several."""
    sets = {r.data for r in exhibit.rows if r.evaluation == row.evaluation}
    return row.evaluation if len(sets) == 1 else f"{row.evaluation}: {row.data}"


def measure_name(measure: Measure) -> str:
    """`perplexity, answers ↓`."""
    tokens = {"all": "", "answer": ", answers", "": ""}[measure.tokens]
    return f"{measure.name}{tokens} {'↑' if measure.higher_is_better else '↓'}"


# --- tables ----------------------------------------------------------------------------------


def _values(exhibit: DownstreamExhibit, name: str) -> Table:
    rows = shown(exhibit)
    chance = any(row.chance is not None for row in rows)
    return Table(
        name=name,
        title=f"{exhibit.section.title}: every model on every set",
        header=("set", "measure", "OOD ×", *(("chance",) if chance else ()), *exhibit.models),
        rows=[_cells(row, exhibit, chance=chance) for row in rows],
        data=[
            _data(row, score, exhibit)
            for row in exhibit.rows
            for model in exhibit.models
            if (score := row.of(model)) is not None
        ],
        notes=_notes(exhibit),
        text_columns=2,
    )


def _cells(row: DownstreamRow, exhibit: DownstreamExhibit, *, chance: bool) -> list[Cell]:
    best = row.best
    guess = "" if row.chance is None else form_of(row.measure, row.chance).write(row.chance, None)
    name = set_name(row, exhibit) + (" (pretraining)" if row.pretraining else "")
    return [
        Cell(name),
        Cell(measure_name(row.measure)),
        Cell("" if row.magnitude is None else f"{row.magnitude:.2f}"),
        *([Cell(guess)] if chance else []),
        *(
            Cell(
                score_text(row.measure, row.of(model)),
                bold=best is not None and best.model == model,
            )
            for model in exhibit.models
        ),
    ]


def _differences(exhibit: DownstreamExhibit, name: str) -> Table:
    notes = [
        "Perplexities: the model's over the baseline's. Everything else: the model's less the "
        f"baseline's. {_interval_words(exhibit)} Better or worse: the interval excludes no "
        f"difference; not adjusted for the number of rows. Counted: {ONCE}."
        + _FEW_SEEDS
        * any(p.exploratory for p in patterns(exhibit)),
        *map(pattern_text, patterns(exhibit)),
    ]
    title = f"{exhibit.section.title}: against {exhibit.section.baseline}, paired"
    return _paired(exhibit, name, title, notes, lambda score: score.comparison)


def _against(exhibit: DownstreamExhibit, name: str) -> Table:
    pairs = [f"{one} less {other}" for one, other in exhibit.section.against.items()]
    few = min((s.against.difference.seeds for s in _scores_of(exhibit) if s.against), default=0)
    notes = [
        f"{'; '.join(pairs)}: of the same model, by training seed and document; perplexities: the "
        f"first over the second. {_interval_words(exhibit)} Better or worse: the interval excludes "
        "no difference; not adjusted for the number of rows. Thinking and costs of each are in the "
        "CSV of all numbers." + _FEW_SEEDS * (0 < few < MIN_SEEDS)
    ]
    title = f"{exhibit.section.title}: evaluations of one model against each other, paired"
    return _paired(exhibit, name, title, notes, lambda score: score.against)


def _scores_of(exhibit: DownstreamExhibit) -> list[Score]:
    return [score for row in exhibit.rows for score in row.scores]


def _paired(
    exhibit: DownstreamExhibit,
    name: str,
    title: str,
    notes: list[str],
    of: Callable[[Score], Comparison | None],
) -> Table:
    """A table of the differences that `of` picks from scores."""

    def found(row: DownstreamRow, model: str) -> Comparison | None:
        score = row.of(model)
        return None if score is None else of(score)

    models = [m for m in exhibit.models if any(found(row, m) for row in exhibit.rows)]
    return Table(
        name=name,
        title=title,
        header=("set", "measure", *(h for m in models for h in (m, "verdict"))),
        rows=[
            [
                Cell(set_name(row, exhibit) + (" (pretraining)" if row.pretraining else "")),
                Cell(measure_name(row.measure)),
                *(cell for m in models for cell in _difference_cells(row, found(row, m))),
            ]
            for row in shown(exhibit)
            if any(found(row, m) for m in models)
        ],
        data=[
            _difference_data(row, model, comparison, exhibit)
            for row in exhibit.rows
            for model in models
            if (comparison := found(row, model)) is not None
        ],
        notes=notes,
        text_columns=2,
    )


def _difference_cells(row: DownstreamRow, comparison: Comparison | None) -> list[Cell]:
    if comparison is None:
        return [Cell(""), Cell("")]
    verdict = comparison.verdict
    return [
        Cell(difference_text(row.measure, comparison), bold=verdict == "better"),
        Cell(verdict if comparison.difference.interval is not None else "no interval"),
    ]


# --- the full numbers ------------------------------------------------------------------------


def _data(row: DownstreamRow, score: Score, exhibit: DownstreamExhibit) -> dict[str, object]:
    low, high = score.interval or (None, None)
    return {
        **_identity(row, exhibit),
        "model": score.model,
        "adapter": score.adapter,
        "label": score.label,
        "unit": row.measure.unit,
        "value": score.value,
        "low": low,
        "high": high,
        "n": score.n,
        "documents": score.documents,
        "seeds": score.seeds,
        "noise_seeds": score.noise_seeds,
        "thinking": score.thinking,
        "nfe": score.nfe,
        "flops": score.flops,
        "seconds": score.seconds,
        "chance": row.chance,
        "ood_perplexity_ratio": row.magnitude,
        "ood_measured_by": exhibit.measured_by if row.magnitude is not None else "",
        "ood_bigram_loss": row.bigram_loss,
    }


def _difference_data(
    row: DownstreamRow, model: str, comparison: Comparison, exhibit: DownstreamExhibit
) -> dict[str, object]:
    difference = comparison.difference
    low, high = difference.interval or (None, None)
    ratio_low, ratio_high = comparison.ratio_interval or (None, None)
    perplexity = row.measure.is_perplexity
    return {
        **_identity(row, exhibit),
        "model": model,
        "baseline": comparison.baseline,
        "difference": difference.value,
        "low": low,
        "high": high,
        "unit": _difference_unit(row.measure),
        "ratio": comparison.ratio if perplexity else None,
        "ratio_low": ratio_low if perplexity else None,
        "ratio_high": ratio_high if perplexity else None,
        "verdict": comparison.verdict,
        "seeds": difference.seeds,
        "paired_by_document": difference.by_document,
    }


def _difference_unit(measure: Measure) -> str:
    if measure.is_task:
        return measure.unit
    return "nats/token" if measure.is_perplexity else "bits/byte"


def _identity(row: DownstreamRow, exhibit: DownstreamExhibit) -> dict[str, object]:
    return {
        "evaluation": row.evaluation,
        "data": row.data,
        "split": row.split,
        "pretraining": row.pretraining,
        "metric": row.measure.name,
        "tokens": row.measure.tokens,
        "windows": row.windows,
        "higher_is_better": row.measure.higher_is_better,
    }


# --- notes -----------------------------------------------------------------------------------


def _notes(exhibit: DownstreamExhibit) -> list[str]:
    if not exhibit.rows:
        return []
    notes = [
        "Perplexity: exp of the token-weighted mean loss over the whole set, averaged over noise "
        f"and training seeds before the exponential. {_interval_words(exhibit)} Bold: best, where "
        "the paired difference decides it. Costs and thinking are in the CSV; time on "
        f"{', '.join(exhibit.device)}.",
        "The paper's kind of number (its Table 3) is perplexity over all tokens of prompt and "
        "answer, one seed, no interval; which tokens it counts it leaves open. "
        "Perplexities of different tokenizers do not compare, bits per byte do.",
        *_sizes(exhibit),
    ]
    notes += _magnitudes(exhibit)
    return [*notes, *map(pattern_text, patterns(exhibit))]


def _magnitudes(exhibit: DownstreamExhibit) -> list[str]:
    """Whose they are, and that windows differ where they do."""
    known = [row for row in exhibit.rows if row.magnitude is not None]
    if not known:
        return []
    text = f"OOD ×: perplexity of all tokens over that of pretraining, of {exhibit.measured_by}."
    home = next(row.windows for row in known if row.pretraining)
    if any(row.windows not in ("", home) for row in known):
        text += " Sets and pretraining are not windowed alike: what that changes is in the ratio."
    return [text]


def _sizes(exhibit: DownstreamExhibit) -> list[str]:
    """n of each set, in one line per way of windowing."""
    lines: dict[str, list[str]] = {}
    for row in shown(exhibit):
        if row.scores and (row.measure.is_perplexity or row.measure.is_task):
            first = row.scores[0]
            what = {"all": "tokens", "answer": "answer tokens", "": "questions"}
            text = f"{set_name(row, exhibit)} {first.n:,} {what[row.measure.tokens]}"
            if first.documents is not None and row.measure.tokens == "all":
                text += f" in {counted(first.documents, 'document')}"
            lines.setdefault(row.windows, []).append(text)
    ways = {
        "rolling": "Each document alone after end of text, in rolling windows, its end not counted",
        "as_trained": "Rows as in training",
        "": "Tasks",
    }
    return [f"{ways.get(way, way)}; n: {', '.join(sets)}." for way, sets in lines.items()]


def _interval_words(exhibit: DownstreamExhibit) -> str:
    scores = [score for row in exhibit.rows for score in row.scores]
    seeds = sorted({score.seeds for score in scores})
    shown_seeds = "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))) if seeds else "0"
    noun = "training seed" if shown_seeds == "1" else "training seeds"
    text = f"Intervals: 95 %, {shown_seeds} {noun}, then documents drawn again"
    if seeds and seeds[-1] > 1:
        text += f" (seeds' {SEEDS_STRETCHED})"
    if any(score.documents is None or score.documents < MIN_DOCUMENTS for score in scores):
        text += (
            f"; Student's t over seeds where fewer than {MIN_DOCUMENTS} documents are known, and "
            "none with one seed"
        )
    if any(s.interval is None and s.value is not None and s.documents is not None for s in scores):
        text += "; none where all documents have the same value"
    return text + "."


def pattern_text(pattern: Pattern) -> str:
    """Whether the paper's pattern holds, with its numbers."""
    if pattern.pretraining is None:
        loss = "pretraining loss unknown"
    else:
        difference = pattern.pretraining.difference
        loss = "pretraining loss " + Form(1, 4, " nats").write(
            difference.value, difference.interval, sign="+"
        )
        loss += f" ({pattern.pretraining.verdict})"
    counts = "; ".join(
        f"by {c.what} {c.decided} of {c.total} decided, {c.better} better, {c.worse} worse"
        for c in pattern.counts
    )
    where = " (paper, Table 3)" if pattern.of_the_paper else ""
    few = f", exploratory: {counted(pattern.seeds, 'training seed')}" * pattern.exploratory
    return (
        f"{pattern.model} against {pattern.baseline}: {loss}; {counts or 'no set in common'}. That "
        f"a worse pretraining loss comes with better downstream sets{where} "
        f"{_ANSWERS[pattern.holds]}{_decided(pattern)}{few}."
    )


def _decided(pattern: Pattern) -> str:
    """How few sets the answer stands on, where some are undecided."""
    first = pattern.counts[0] if pattern.counts else None
    if first is None or pattern.holds == "undecided" or not first.undecided:
        return ""
    return f", by the {first.decided} of {first.total} that are decided"
