"""Tables of a next-frame section: every model beside the copy of the last frame, and paired."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10

from harness.analysis.exhibits.next_frame import (
    RECONSTRUCTION,
    Comparison,
    FrameRow,
    NextFrameExhibit,
    ReferenceRow,
)
from harness.analysis.exhibits.scaling import FINAL_CHECKPOINT
from harness.analysis.resampling import MIN_DOCUMENTS, SEEDS_STRETCHED
from harness.analysis.tables.scores import Form, few_seeds
from harness.analysis.tables.table import Cell, Table
from harness.quantities import counted, si

#: Of the smallest number, and of any.
_SIGNIFICANT, _MOST = 4, 5
_DB = Form(1, 2, "")


def next_frame_tables(exhibit: NextFrameExhibit, stem: str) -> list[Table]:
    """The numbers and, where the section names a baseline, the paired differences from it."""
    tables = [_values(exhibit, stem)]
    if any(row.comparison is not None for row in exhibit.rows):
        tables.append(_differences(exhibit, f"{stem}-differences"))
    return tables


def loss_form(losses: Sequence[float]) -> Form:
    """Four significant digits of the smallest of the losses that are written together, no more
    than five of any.
    """
    smallest = min((loss for loss in losses if loss > 0), default=1.0)
    return Form(1, max(0, _SIGNIFICANT - 1 - floor(log10(smallest))), "", significant=_MOST)


def losses_of(exhibit: NextFrameExhibit, data: str, split: str) -> Form:
    """The form of all losses of one set: `0.01234 [0.01200, 0.01270]`."""
    references = (r.loss for r in exhibit.references_of(data, split))
    models = (r.loss.value for r in exhibit.of(data, split))
    return loss_form([*models, *(loss for loss in references if loss is not None)])


def gain_text(row: FrameRow) -> str:
    """`+12.3 [+10.1, +14.0] %`; empty where copying loses nothing."""
    if row.gain is None:
        return ""
    return Form(100, 1, " %").write(row.gain.value, row.gain.interval, sign="+")


# --- the numbers -----------------------------------------------------------------------------


def _values(exhibit: NextFrameExhibit, name: str) -> Table:
    several = len(exhibit.sets) > 1
    rows: list[list[Cell]] = []
    for data, split in exhibit.sets:
        own, form = exhibit.of(data, split), losses_of(exhibit, data, split)
        best = min(own, key=lambda r: r.loss.value)
        place = [Cell(f"{data} ({split})")] if several else []
        rows += [[*place, *_cells(row, form, bold=row is best)] for row in own]
        rows += [[*place, *_reference_cells(r, form)] for r in exhibit.references_of(data, split)]
    header = (
        *(("set",) if several else ()),
        "model",
        "loss ↓",
        "PSNR per frame ↑ (dB)",
        "PSNR ↑ (dB)",
        "gain over copying",
        "than copying",
        "NFE",
        "FLOPs/frame",
        "ms/frame",
        "seeds",
    )
    return Table(
        name=name,
        title=f"{exhibit.section.title}: errors of predicted frames{_where(exhibit)}",
        header=header,
        rows=rows,
        data=[_data(row) for row in exhibit.rows]
        + [_reference_data(row) for row in exhibit.references],
        notes=_notes(exhibit),
        text_columns=2 if several else 1,
    )


def _where(exhibit: NextFrameExhibit) -> str:
    if len(exhibit.sets) != 1:
        return ""
    data, split = exhibit.sets[0]
    return f" of {data} ({split})"


def _cells(row: FrameRow, form: Form, *, bold: bool) -> list[Cell]:
    each = row.psnr_per_frame
    return [
        Cell(row.model),
        Cell(form.write(row.loss.value, row.loss.interval), bold=bold),
        Cell("" if each is None else _DB.write(each.value, each.interval)),
        Cell("" if row.psnr is None else _DB.write(row.psnr, None)),
        Cell(gain_text(row)),
        Cell(row.verdict),
        Cell("" if row.nfe is None else f"{row.nfe:g}"),
        Cell(si(row.flops).strip()),
        Cell("" if row.seconds is None else f"{1e3 * row.seconds:.3g}"),
        Cell(str(row.seeds)),
    ]


def _reference_cells(row: ReferenceRow, form: Form) -> list[Cell]:
    each, pooled = row.psnr_per_frame, row.psnr
    return [
        Cell(row.name),
        Cell("" if row.loss is None else form.write(row.loss, None)),
        Cell("" if each is None else _DB.write(each, None)),
        Cell("" if pooled is None else _DB.write(pooled, None)),
        *([Cell("")] * 6),
    ]


def _data(row: FrameRow) -> dict[str, object]:
    each, gain = row.psnr_per_frame, row.gain
    low, high = row.loss.interval or (None, None)
    psnr_low, psnr_high = (None if each is None else each.interval) or (None, None)
    gain_low, gain_high = (None if gain is None else gain.interval) or (None, None)
    return {
        "data": row.data,
        "split": row.split,
        "model": row.model,
        "adapter": row.adapter,
        "label": row.label,
        "loss": row.loss.value,
        "loss_low": low,
        "loss_high": high,
        "mse": row.mse,
        "psnr_per_frame": None if each is None else each.value,
        "psnr_per_frame_low": psnr_low,
        "psnr_per_frame_high": psnr_high,
        "psnr": row.psnr,
        "copy_last_loss": row.copied,
        "gain": None if gain is None else gain.value,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "than_copying": row.verdict,
        "thinking": row.thinking,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        "n": row.n,
        "clips": row.clips,
        "videos": row.videos,
        "perfect_clips": row.perfect,
        "seeds": row.seeds,
        "noise_seeds": row.noise_seeds,
    }


def _reference_data(row: ReferenceRow) -> dict[str, object]:
    return {
        "data": row.data,
        "split": row.split,
        "model": row.name,
        "loss": row.loss,
        "mse": row.mse,
        "psnr_per_frame": row.psnr_per_frame,
        "psnr": row.psnr,
        "n": row.n,
        "clips": row.clips,
        "perfect_clips": row.perfect,
    }


# --- differences -----------------------------------------------------------------------------


def _differences(exhibit: NextFrameExhibit, name: str) -> Table:
    several = len(exhibit.sets) > 1
    compared = [(row, row.comparison) for row in exhibit.rows if row.comparison is not None]
    notes = [
        f"The model's less the baseline's, paired by training seed and {unit(exhibit)}. "
        f"{interval_words(exhibit)} Better or worse: the interval of the loss excludes no "
        "difference; not adjusted for the number of rows."
    ]
    return Table(
        name=name,
        title=f"{exhibit.section.title}: against {exhibit.section.baseline}, paired",
        header=(
            *(("set",) if several else ()),
            "model",
            "against",
            "loss ↓",
            "verdict",
            "PSNR per frame ↑ (dB)",
            "seeds",
        ),
        rows=[
            [
                *([Cell(f"{row.data} ({row.split})")] if several else []),
                *_difference_cells(row, comparison, losses_of(exhibit, row.data, row.split)),
            ]
            for row, comparison in compared
        ],
        data=[_difference_data(row, comparison) for row, comparison in compared],
        notes=notes,
        text_columns=3 if several else 2,
    )


def _difference_cells(row: FrameRow, comparison: Comparison, form: Form) -> list[Cell]:
    loss, psnr = comparison.loss, comparison.psnr
    better = comparison.verdict == "better"
    return [
        Cell(row.model),
        Cell(comparison.baseline),
        Cell(form.write(loss.value, loss.interval, sign="+"), bold=better),
        Cell(comparison.verdict if loss.interval is not None else "no interval"),
        Cell("" if psnr is None else _DB.write(psnr.value, psnr.interval, sign="+")),
        Cell(str(loss.seeds)),
    ]


def _difference_data(row: FrameRow, comparison: Comparison) -> dict[str, object]:
    loss, psnr = comparison.loss, comparison.psnr
    low, high = loss.interval or (None, None)
    psnr_low, psnr_high = (None if psnr is None else psnr.interval) or (None, None)
    return {
        "data": row.data,
        "split": row.split,
        "model": row.model,
        "baseline": comparison.baseline,
        "loss": loss.value,
        "loss_low": low,
        "loss_high": high,
        "verdict": comparison.verdict,
        "psnr_per_frame": None if psnr is None else psnr.value,
        "psnr_per_frame_low": psnr_low,
        "psnr_per_frame_high": psnr_high,
        "seeds": loss.seeds,
        "paired_by_clip": loss.by_document,
    }


# --- notes -----------------------------------------------------------------------------------


def _notes(exhibit: NextFrameExhibit) -> list[str]:
    lost = [f"No row for a loss that is not finite: {', '.join(exhibit.lost)}."]
    if not exhibit.rows:
        return lost if exhibit.lost else []
    notes = [
        *(lost if exhibit.lost else []),
        f"Loss: smooth L1 (beta 1), mean over the numbers of a frame and over {sizes(exhibit)}. "
        f"{FINAL_CHECKPOINT} Bold: lowest loss on a set.",
        f"{interval_words(exhibit)} Gain over copying: how much lower the loss is than that "
        f"of repeating the last observed frame, paired by {unit(exhibit)}; better or worse where "
        "the interval excludes none.",
        "NFE, FLOPs and time are per predicted frame; one descent step is a forward and a backward "
        f"pass. Time on {', '.join(exhibit.device)}.",
    ]
    psnrs = [*(r.psnr for r in exhibit.rows), *(r.psnr for r in exhibit.references)]
    if any(psnr is not None for psnr in psnrs):
        text = "PSNR: pixels on 0..255, of the mean MSE over all frames, and the mean of each's."
        if any(r.name == RECONSTRUCTION for r in exhibit.references):
            text += (
                " Latents, copied ones too, are decoded and compared with the true frames; "
                "reconstruction decodes the true latents: what the autoencoder allows at most."
            )
        notes.append(" ".join(filter(None, [text, perfect_words(exhibit)])))
    else:
        notes.append("No PSNR: the frames are latents, and no autoencoder is named to decode them.")
    return notes


def sizes(exhibit: NextFrameExhibit) -> str:
    """`1,200 frames of 80 clips of 20 videos`, of each set."""
    found = []
    for data, split in exhibit.sets:
        first = exhibit.of(data, split)[0]
        text = f"{first.n:,} frames"
        if first.clips is not None:
            text += f" of {counted(first.clips, 'clip')}"
        if first.videos is not None:
            text += f" of {counted(first.videos, 'video')}"
        found.append(text if len(exhibit.sets) == 1 else f"{text} of {data}")
    return ", ".join(found)


def unit(exhibit: NextFrameExhibit) -> str:
    """What intervals draw again and differences are paired by: video, clip or `video or clip`."""
    known = {"clip" if row.videos is None else "video" for row in exhibit.rows}
    return " or ".join(sorted(known, reverse=True))


def perfect_words(exhibit: NextFrameExhibit) -> str:
    """Whose PSNR per frame is missing because a frame has no error; empty where none is."""
    found = []
    named: list[tuple[str, FrameRow | ReferenceRow]] = [(r.model, r) for r in exhibit.rows]
    named += [(r.name, r) for r in exhibit.references]
    for name, row in named:
        if row.perfect:
            of = "" if row.clips is None else f"{row.perfect} of "
            place = f" on {row.data}" if len(exhibit.sets) > 1 else ""
            found.append(f"{name}{place} (in {of}{counted(row.clips or row.perfect, 'clip')})")
    if not found:
        return ""
    return (
        f"No PSNR per frame where one has no error, since its PSNR is infinite: {', '.join(found)}."
    )


def interval_words(exhibit: NextFrameExhibit) -> str:
    """What the intervals resample; and how little that says of other trainings with few seeds."""
    seeds = sorted({row.seeds for row in exhibit.rows})
    shown = "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))) if seeds else "0"
    noun = "training seed" if shown == "1" else "training seeds"
    units = {"video or clip": "videos, or clips where no videos are known,"}
    drawn = units.get(unit(exhibit), f"{unit(exhibit)}s")
    text = f"Intervals: 95 %, {shown} {noun}, then {drawn} drawn again"
    if seeds and seeds[-1] > 1:
        text += f" (seeds' {SEEDS_STRETCHED})"
    if any(row.drawn is None or row.drawn < MIN_DOCUMENTS for row in exhibit.rows):
        text += (
            f"; Student's t over seeds where fewer than {MIN_DOCUMENTS} of them are known, and "
            "none with one seed"
        )
    if few := few_seeds(seeds):
        text += f"; {few}"
    return text + "."
