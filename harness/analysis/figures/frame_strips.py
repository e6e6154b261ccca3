"""Example frames of a next-frame section: what was seen, what came, what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.analysis.exhibits.next_frame import (
    COPY_LAST,
    RECONSTRUCTION,
    FrameExamples,
    NextFrameExhibit,
    load_frames,
    load_rows,
)
from harness.analysis.figures.page import DataRow, Drawing, Frame
from harness.analysis.figures.strips import Row, room, shown_pixels, spread, strips_figure
from harness.analysis.figures.style import REFERENCE, TEXT, family_color
from harness.analysis.tables.next_frame import losses_of
from harness.analysis.tables.scores import Form
from harness.quantities import counted

Images = NDArray[np.float32]

#: Errors of more models than this would fill a page.
_WITH_ERRORS = 4
#: So that a few frames do not fill a page, nor many models more than one.
_LEAST_INCHES, _MOST_INCHES, _PAGE_INCHES = 0.45, 0.75, 8.0


@dataclass(frozen=True)
class _Strip:
    """One row of frames; of errors they are |predicted - true|, white where there is none."""

    name: str
    details: tuple[str, ...]
    color: str
    frames: Images
    errors: bool = False
    examples: FrameExamples | None = None


def frame_strips(exhibit: NextFrameExhibit, *, missing: str = "") -> list[Drawing]:
    """Per set: the last frame of the context, the true next one, and each model's, with its error
    where that leaves room.

    None for a set of which no pixels are kept.
    """
    found = []
    for data, split in exhibit.sets:
        models = [row.model for row in exhibit.of(data, split)]
        examples = [e for e in exhibit.examples if (e.data, e.split) == (data, split)]
        kept = [e for e in examples if e.model in models]
        if kept:
            found.append(_figure(exhibit, kept, missing))
    return found


def _strips(exhibit: NextFrameExhibit, kept: Sequence[FrameExamples]) -> list[_Strip]:
    data, split = kept[0].data, kept[0].split
    form = losses_of(exhibit, data, split)
    numbers = {
        row.name: _numbers(row.loss, row.psnr_per_frame, form)
        for row in exhibit.references_of(data, split)
    }
    found: list[_Strip] = []
    for examples in kept:
        frames = load_frames(examples.path)
        truth = frames["truth"]
        if not found:
            found += [
                _Strip("copy of the last frame", numbers[COPY_LAST], REFERENCE, frames["last"]),
                _Strip("true next frame", (), TEXT, truth),
            ]
            if "reconstruction" in frames:
                found.append(
                    _Strip(
                        "its latents, decoded",
                        numbers[RECONSTRUCTION],
                        REFERENCE,
                        frames["reconstruction"],
                    )
                )
        color = family_color(examples.family)
        row = next(r for r in exhibit.of(data, split) if r.model == examples.model)
        each = None if row.psnr_per_frame is None else row.psnr_per_frame.value
        shown = frames["predicted"]
        details = _numbers(row.loss.value, each, form)
        found.append(_Strip(examples.model, details, color, shown, examples=examples))
        if len(kept) <= _WITH_ERRORS:
            error = np.clip(shown, -1, 1) - truth
            found.append(_Strip("", ("its error",), color, error, errors=True))
    return found


def _numbers(loss: float | None, psnr: float | None, form: Form) -> tuple[str, ...]:
    written = [] if loss is None else [f"loss {form.write(loss, None)}"]
    return (*written, *([] if psnr is None else [f"PSNR {psnr:.2f} dB"]))


def _figure(exhibit: NextFrameExhibit, examples: Sequence[FrameExamples], missing: str) -> Drawing:
    data, split = examples[0].data, examples[0].split
    rows = load_rows(examples[0].path)
    kept = [e for e in examples if np.array_equal(load_rows(e.path), rows)]
    places = np.array(spread(len(rows)))
    strips = [replace(s, frames=s.frames[places]) for s in _strips(exhibit, kept)]
    suffix = f" of {data}" if len(exhibit.sets) > 1 else ""
    title = f"{exhibit.section.title}: example frames{suffix}"
    size = min(room(len(places)), _MOST_INCHES)
    size = min(size, max(_LEAST_INCHES, _PAGE_INCHES / len(strips)))
    note = _shown_words(exhibit, kept, len(places))
    if any(strip.errors for strip in strips):
        note += (
            " Errors: the absolute difference from the truth, white for none, black for the whole "
            "range of pixels."
        )
    if others := [e.model for e in examples if e not in kept]:
        note += f" Not shown, for examples of other rows: {', '.join(others)}."
    frame = Frame(title, "", (), [note, *([missing] if missing else [])])
    drawn = [
        Row((s.name, *s.details), s.color, [_shown(f, errors=s.errors) for f in s.frames])
        for s in strips
    ]
    figure = strips_figure(frame, drawn, size=size)
    name = "next_frame-examples" + (f"-{exhibit.sets.index((data, split))}" if suffix else "")
    return Drawing(name, title, figure, tuple(_data(strips, rows[places])))


def _shown_words(exhibit: NextFrameExhibit, kept: Sequence[FrameExamples], count: int) -> str:
    data, split = kept[0].data, kept[0].split
    seeds = ", ".join(map(str, sorted({examples.seed for examples in kept})))
    first = exhibit.of(data, split)[0]
    text = (
        f"The last frame of {counted(count, 'row')} spread over {data} ({split}), predicted from "
        f"the true frames before it by the lowest training seed ({seeds}); numbers beside them are "
        f"means over all {first.n:,} frames and training seeds."
    )
    if any(row.name == RECONSTRUCTION for row in exhibit.references_of(data, split)):
        text += " Copies and predictions are latents, decoded."
    return text


def _shown(frame: Images, *, errors: bool) -> Images:
    """Of errors, white less their size."""
    return shown_pixels(1 - np.abs(frame).mean(0, keepdims=True) if errors else frame)


def _data(strips: Sequence[_Strip], rows: NDArray[np.int64]) -> list[DataRow]:
    """One row per predicted frame shown: where its pixels are, and its MSE on 0..255."""
    truth = next(strip.frames for strip in strips if strip.color == TEXT)
    found: list[DataRow] = []
    for strip in strips:
        if strip.examples is None:
            continue
        for index, row in enumerate(rows):
            error = _levels(strip.frames[index]) - _levels(truth[index])
            found.append(
                {
                    "data": strip.examples.data,
                    "split": strip.examples.split,
                    "model": strip.examples.model,
                    "seed": strip.examples.seed,
                    "row": int(row),
                    "mse_of_levels": float(np.square(error).mean()),
                    "source": "/".join(strip.examples.path.parts[-4:]),
                }
            )
    return found


def _levels(frame: Images) -> NDArray[np.float64]:
    return np.clip((frame.astype(np.float64) + 1) / 2, 0, 1) * 255
