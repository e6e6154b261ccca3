"""A next-frame section: errors of predicted frames, beside those of copying the last frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.clip_sums import count_clips, frame_sample, perfect_clips
from harness.analysis.exhibits.samples import Difference, Interval, within
from harness.analysis.frame import SuiteFrame
from harness.arrays import stored_arrays
from harness.planning.eval_spec import NextFrameEval
from harness.planning.planned import Suite
from harness.planning.sections import NextFrameSection
from harness.planning.spec import thinking_label

EXAMPLES, ROWS = "examples.npz", "rows"
COPY_LAST, RECONSTRUCTION = "copy last frame", "reconstruction"

Verdict = Literal["better", "worse", "undecided"]

#: How the records call what no model predicted.
_PREFIXES = {COPY_LAST: "copy_last_", RECONSTRUCTION: "reconstruction_"}
#: Copies that differ by no more, as a fraction, are of the same frames.
_ALIKE = 1e-6


@dataclass(frozen=True)
class Quantity:
    """A mean over frames, noise seeds and training seeds, and its 95 % interval."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Comparison:
    """A model less the baseline, paired by training seed and video or clip; PSNR in dB."""

    baseline: str
    loss: Difference
    psnr: Difference | None

    @property
    def verdict(self) -> Verdict:
        return _verdict(-self.loss.sign)


@dataclass(frozen=True)
class FrameRow:
    """One model on one set, over its training seeds. Costs are per predicted frame.

    `psnr` is of the mean MSE over all frames, `psnr_per_frame` the mean of each frame's; they are
    None for latents without a decoder, and the latter where a frame has no error: `perfect` clips
    have such. `copied` is the loss of copying the last frame, `gain` how much lower the model's is,
    as a fraction, None where copying loses nothing, and `verdict` whether it is lower. `videos` are
    those that the clips are of, None where that is not known and clips are drawn again.
    """

    model: str
    adapter: str
    family: str
    label: str
    data: str
    split: str
    loss: Quantity
    mse: float
    psnr: float | None
    psnr_per_frame: Quantity | None
    copied: float
    gain: Difference | None
    verdict: Verdict
    thinking: str
    nfe: float | None
    flops: float | None
    seconds: float | None
    n: int
    clips: int | None
    videos: int | None
    perfect: int
    seeds: int
    noise_seeds: int
    comparison: Comparison | None = None

    @property
    def drawn(self) -> int | None:
        """How many videos, or else clips, intervals draw again; None where seeds alone are."""
        return self.clips if self.videos is None else self.videos


@dataclass(frozen=True)
class ReferenceRow:
    """What no model predicted, on one set: copies of the last frame, or decoded true latents."""

    name: str
    data: str
    split: str
    loss: float | None
    mse: float | None
    psnr: float | None
    psnr_per_frame: float | None
    n: int
    clips: int | None
    perfect: int


@dataclass(frozen=True)
class FrameExamples:
    """The file of one model's example frames on one set, of its lowest training seed."""

    model: str
    family: str
    data: str
    split: str
    seed: int
    path: Path


@dataclass(frozen=True)
class NextFrameExhibit:
    """Rows and references in the suite's order, set by set.

    `lost` names the models that have no row on a set since a loss is not finite.
    """

    section: NextFrameSection
    rows: tuple[FrameRow, ...]
    references: tuple[ReferenceRow, ...]
    examples: tuple[FrameExamples, ...]
    device: tuple[str, ...]
    lost: tuple[str, ...] = ()

    @property
    def sets(self) -> list[tuple[str, str]]:
        """(data, split), each once."""
        return list(dict.fromkeys((row.data, row.split) for row in self.rows))

    def of(self, data: str, split: str) -> list[FrameRow]:
        return [r for r in self.rows if (r.data, r.split) == (data, split)]

    def references_of(self, data: str, split: str) -> list[ReferenceRow]:
        return [r for r in self.references if (r.data, r.split) == (data, split)]


def next_frame_exhibit(
    section: NextFrameSection, suite: Suite, frame: SuiteFrame
) -> NextFrameExhibit:
    """Gather one next-frame section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation)
    if not len(rows):
        return NextFrameExhibit(section, (), (), (), ())
    thinking = {
        e.spec.eval_id: thinking_label(e.spec.thinking)
        for run in suite.of(section.experiment)
        for e in run.evaluations
        if isinstance(e.spec, NextFrameEval)
    }
    rows = rows.assign(
        model=(rows["adapter"] + " " + rows["point"]).str.strip(),
        thinking=rows["eval_id"].map(thinking),
    )
    found: list[FrameRow] = []
    references: list[ReferenceRow] = []
    lost: list[str] = []
    for (data, split), own in rows.groupby(["data", "split"], sort=False):
        of_set = _of_set(section, own)
        known = [row.model for row in of_set]
        lost += [f"{m} on {data} ({split})" for m in own["model"].unique() if m not in known]
        found += of_set
        references += _references(own)
    return NextFrameExhibit(
        section,
        tuple(found),
        tuple(references),
        tuple(_examples(rows)),
        tuple(sorted(set(map(str, rows["device"])))),
        tuple(lost),
    )


def load_frames(path: Path) -> dict[str, NDArray[np.float32]]:
    """`last`, `truth`, `predicted`, and `reconstruction` of latents: (N, C, H, W) in [-1, 1]."""
    with stored_arrays(path) as stored:
        return {name: np.asarray(stored[name]) for name in stored.files if name != ROWS}


def load_rows(path: Path) -> NDArray[np.int64]:
    """The set's rows (N,) that the frames of `load_frames` are of."""
    with stored_arrays(path) as stored:
        return np.asarray(stored[ROWS], np.int64)


# --- one set ---------------------------------------------------------------------------------


def _of_set(section: NextFrameSection, rows: pd.DataFrame) -> list[FrameRow]:
    by_model = {str(model): own for model, own in rows.groupby("model", sort=False)}
    rated = {model: _row(own) for model, own in by_model.items()}
    found = {model: row for model, row in rated.items() if row is not None}
    if section.baseline is None:
        return list(found.values())
    compared = []
    for model, row in found.items():
        name = f"{section.baseline} {row.label}".strip()
        other = found.get(name)
        comparison = None
        # Losses of other frames, or of latents and pixels, are not of one kind.
        if other is not None and name != model and _alike(row.copied, other.copied):
            comparison = _comparison(name, by_model[model], by_model[name])
        compared.append(replace(row, comparison=comparison))
    return compared


def _row(own: pd.DataFrame) -> FrameRow | None:
    """None where a run's loss is not finite."""
    losses = own[own["metric"] == "loss"]
    first = losses.iloc[0]
    folders = losses["folder"].astype(str)
    loss, copied, mse = (frame_sample(own, m) for m in ("loss", "copy_last_loss", "mse"))
    if loss is None or copied is None or mse is None:
        return None
    gain, more = loss.gain_over(copied), loss.minus(copied)
    assert more is not None
    counts = count_clips(folders) if loss.documents is not None else None
    each = frame_sample(own, "psnr_per_frame")
    pooled = frame_sample(own, "psnr")
    return FrameRow(
        model=str(first["model"]),
        adapter=str(first["adapter"]),
        family=str(first["family"]),
        label=str(first["point"]),
        data=str(first["data"]),
        split=str(first["split"]),
        loss=Quantity(loss.value, within(loss.interval(), 0.0, inf)),
        mse=mse.value,
        psnr=None if pooled is None else pooled.value,
        psnr_per_frame=(
            None if each is None else Quantity(each.value, within(each.interval(), 0.0, inf))
        ),
        copied=copied.value,
        gain=None if gain is None else replace(gain, interval=within(gain.interval, -inf, 1.0)),
        verdict=_verdict(-more.sign if gain is None else gain.sign),
        thinking=str(first["thinking"]),
        nfe=_mean(losses["nfe"]),
        flops=_mean(losses["flops"]),
        seconds=None if losses["seconds"].isna().all() else float(losses["seconds"].median()),
        n=int(first["n"]),
        clips=None if counts is None else counts.clips,
        videos=None if counts is None else counts.videos,
        perfect=perfect_clips(folders, "psnr_per_frame"),
        seeds=len(loss.by_seed),
        noise_seeds=int(losses["noise_seed"].nunique()),
    )


def _comparison(name: str, own: pd.DataFrame, other: pd.DataFrame) -> Comparison | None:
    loss, psnr = (_difference(own, other, metric) for metric in ("loss", "psnr_per_frame"))
    return None if loss is None else Comparison(name, loss, psnr)


def _difference(own: pd.DataFrame, other: pd.DataFrame, metric: str) -> Difference | None:
    ours, theirs = frame_sample(own, metric), frame_sample(other, metric)
    return None if ours is None or theirs is None else ours.minus(theirs)


def _references(rows: pd.DataFrame) -> list[ReferenceRow]:
    """Each once, though every run measures them: twice only where runs see other frames."""
    found: list[ReferenceRow] = []
    for name, prefix in _PREFIXES.items():
        for _, own in rows[rows["metric"].str.startswith(prefix)].groupby("eval_id", sort=False):
            row = _reference(name, prefix, own)
            if not any(_same(row, other) for other in found):
                found.append(row)
    return found


def _reference(name: str, prefix: str, own: pd.DataFrame) -> ReferenceRow:
    first = own[own["run"] == own["run"].iloc[0]]
    known = {
        str(metric).removeprefix(prefix): float(value)
        for metric, value in zip(first["metric"], first["value"], strict=True)
        if not pd.isna(value)
    }
    folder = str(first["folder"].iloc[0])
    counts = count_clips([folder])
    return ReferenceRow(
        name,
        str(first["data"].iloc[0]),
        str(first["split"].iloc[0]),
        known.get("loss"),
        known.get("mse"),
        known.get("psnr"),
        known.get("psnr_per_frame"),
        int(first["n"].iloc[0]),
        None if counts is None else counts.clips,
        perfect_clips([folder], f"{prefix}psnr_per_frame"),
    )


def _same(row: ReferenceRow, other: ReferenceRow) -> bool:
    if (row.name, row.n) != (other.name, other.n):
        return False
    pairs = ((row.loss, other.loss), (row.psnr, other.psnr))
    return all(a == b or (a is not None and b is not None and _alike(a, b)) for a, b in pairs)


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= _ALIKE * max(abs(one), abs(other))


def _verdict(sign: int) -> Verdict:
    return "undecided" if sign == 0 else "better" if sign > 0 else "worse"


def _mean(costs: pd.Series) -> float | None:
    return None if costs.isna().all() else float(costs.mean())


def _examples(rows: pd.DataFrame) -> list[FrameExamples]:
    found = []
    for (data, split, model), own in rows.groupby(["data", "split", "model"], sort=False):
        first = own.sort_values("seed", kind="stable").iloc[0]
        path = Path(str(first["folder"])) / EXAMPLES
        if path.exists():
            family, seed = str(first["family"]), int(first["seed"])
            found.append(FrameExamples(str(model), family, str(data), str(split), seed, path))
    return found
