"""What `harness prepare` does with images and clips: shards of pixels, and what two sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.data.apart import refuse_shared, shared_rows
from harness.data.clips import Clips
from harness.data.datasets import find_dataset, load_clips, load_images
from harness.data.images import Images
from harness.data.measured import Measured, write_lock
from harness.data.pixels.array_shards import ArrayShards
from harness.data.pixels.prepared_clips import prepare_clips
from harness.data.pixels.prepared_images import prepare_images
from harness.data.pixels.preparing import PixelProgress
from harness.data.pixels.sources import names_pixels, parse_pixels
from harness.errors import HarnessError
from harness.planning.eval_spec import EvalBase, ProbeEval, drops
from harness.planning.planned import Suite
from harness.planning.spec import DenoisingTask, NextFrameTask
from harness.show.pace import Telling, made

#: What decodes a split of each modality, and what its items are called.
_MAKERS: dict[str, Callable[..., Images | Clips]] = {
    "image": prepare_images,
    "video": prepare_clips,
}
_WORDS = {"image": "images", "video": "clips"}
_SHOWN = 10
_STREAMED = (
    "It decodes none of that again, but streams it again from the Hub: a large set is better "
    "downloaded first, by `hf download --repo-type dataset`, and named hub:./FOLDER#FIELD?..."
)


@dataclass(frozen=True)
class PixelNeed:
    """A split to be decoded."""

    data: str
    split: str


@dataclass(frozen=True)
class Pair:
    """A split that is trained or fitted on, and one to be apart from it."""

    train: PixelNeed
    evaluated: PixelNeed


@dataclass(frozen=True)
class PreparedPixels:
    """What came of it: `items` of one shape, of `sources` that were read.

    `classes` how many there are, None without labels; `skipped` the broken, by name and why; of
    `empty` came nothing. `seconds` and the rate are None where it was found prepared.
    """

    data: str
    split: str
    items: int
    shape: list[int]
    classes: int | None
    sources: int
    bytes: int
    digest: str
    pixel_digest: str
    skipped: list[dict[str, str]]
    empty: int
    folder: str
    seconds: float | None
    items_per_second: float | None


def pixel_needs(suite: Suite) -> tuple[list[PixelNeed], dict[Pair, bool]]:
    """What a suite decodes, and what is to be apart: whether an evaluation fails if not."""
    needs: dict[PixelNeed, None] = {}
    pairs: dict[Pair, bool] = {}
    for run in suite.runs:
        task = run.spec.task
        if not isinstance(task, DenoisingTask | NextFrameTask):
            continue
        trained = PixelNeed(task.data, "train")
        needs[trained] = None
        for planned in run.evaluations:
            evaluated, *fitted = _read_by(planned.spec)
            needs |= dict.fromkeys([evaluated, *fitted])
            for other in (trained, *fitted):
                if other != evaluated:
                    pair = Pair(other, evaluated)
                    pairs[pair] = pairs.get(pair, False) or not drops(planned.spec)
    decoded = [need for need in needs if names_pixels(need.data)]
    among = [pair for pair in pairs if pair.train in decoded or pair.evaluated in decoded]
    return decoded, {pair: pairs[pair] for pair in among}


def _read_by(spec: EvalBase) -> list[PixelNeed]:
    """What an evaluation measures on, and what it fits on."""
    read = [PixelNeed(spec.data, spec.split)]
    return [*read, PixelNeed(spec.data, "train")] if isinstance(spec, ProbeEval) else read


def not_apart(pairs: Mapping[Pair, bool], cache: Path, console: Console) -> Iterator[str]:
    """What is wrong with each pair that shares an image or clip."""
    for pair, refuses in pairs.items():
        training, evaluation = (_load(need, cache) for need in (pair.train, pair.evaluated))
        shared = shared_rows(evaluation, training=training)
        if not refuses and len(shared):
            what = _WORDS[find_dataset(evaluation.name).modality]
            console.print(
                f"{escape(evaluation.name)} ({evaluation.split}): {len(shared):,} of "
                f"{len(evaluation.pixels):,} {what} are in {escape(training.name)} "
                f"({training.split}) too; evaluations with overlap: drop do without them",
                soft_wrap=True,
            )
        try:
            if refuses:
                refuse_shared(shared, evaluation, training=training)
        except HarnessError as error:
            yield str(error)


def _load(need: PixelNeed, cache: Path) -> Images | Clips:
    load = load_images if find_dataset(need.data).modality == "image" else load_clips
    return load(need.data, need.split, cache=cache)


# --- one split -------------------------------------------------------------------------------


def prepare_pixel_split(
    need: PixelNeed, results: Path, workers: int | None, console: Console, as_json: bool
) -> PreparedPixels:
    source, cache = parse_pixels(need.data), results / "data"
    maker = _MAKERS[source.modality]
    hint = None if source.is_local else _STREAMED
    told = Telling(console, f"{need.data} ({need.split})", _line, hint)
    pixels, last, seconds = made(
        told, workers, lambda effort: maker(need.data, need.split, cache=cache, effort=effort)
    )
    shards = pixels.pixels
    assert isinstance(shards, ArrayShards)
    found = _prepared(need, shards, last, seconds)
    write_lock(cache, need.data, need.split, Measured(found.digest, found.sources, found.bytes))
    if not as_json:
        _print(console, found, shards.index["classes"])
    return found


def _prepared(
    need: PixelNeed, shards: ArrayShards, last: PixelProgress | None, seconds: float
) -> PreparedPixels:
    labels = shards.beside("labels")
    names = shards.index["classes"]
    return PreparedPixels(
        data=need.data,
        split=need.split,
        items=len(shards),
        shape=list(shards.item),
        classes=None if labels is None else len(names or set(labels.tolist())),
        sources=shards.index["sources"],
        bytes=shards.index["encoded_bytes"],
        digest=shards.index["digest"],
        pixel_digest=shards.index["pixel_digest"],
        skipped=[{"name": name, "why": why} for name, why in shards.index["skipped"]],
        empty=shards.index["empty"],
        folder=str(shards.folder),
        seconds=None if last is None else seconds,
        items_per_second=None if last is None else last.made_items / seconds,
    )


def _print(console: Console, found: PreparedPixels, names: list[str] | None) -> None:
    what = _WORDS[parse_pixels(found.data).modality]
    how = "found prepared"
    if found.seconds is not None:
        rate = found.items_per_second or 0.0
        how = f"{found.seconds:.1f} s, {rate:,.{0 if rate >= 10 else 1}f} {what}/s"
    classes = ""
    if what == "images":
        classes = ", no labels" if found.classes is None else f", {found.classes:,} classes"
    if names is not None:
        classes += f" ({_some(names)})"
    console.print(
        f"[bold]{escape(found.data)}[/] ({found.split}): {how}"
        f"\n  {found.items:,} {what} of {' x '.join(map(str, found.shape))}{escape(classes)}, "
        f"{found.bytes / 1e6:,.1f} MB encoded"
        f"\n  digest {found.digest[:12]}, pixels {found.pixel_digest[:12]}, in {found.folder}",
        soft_wrap=True,
    )
    if found.empty:
        console.print(f"  too short for a clip: {found.empty:,} of {found.sources:,} videos")
    if found.skipped:
        console.print(f"  left out, because broken: {len(found.skipped):,}")
        for each in found.skipped[:_SHOWN]:
            console.print(f"    {escape(each['name'])}: {escape(each['why'])}", soft_wrap=True)
        if len(found.skipped) > _SHOWN:
            index = f"{found.folder}/index.json"
            console.print(f"    and more, all listed in {index}", soft_wrap=True)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f", … ({more:,} more)" if more > 0 else "")


def _line(progress: PixelProgress, seconds: float | None) -> str:
    """`1,200 made  52.1 MB  12.3 MB/s  280/s`."""
    text = f"{progress.items:,} made  {progress.bytes / 1e6:,.1f} MB"
    if progress.skipped:
        text += f"  {progress.skipped:,} broken"
    if seconds is None:
        return text
    text += f"  {progress.made_bytes / 1e6 / seconds:,.1f} MB/s"
    return f"{text}  {progress.made_items / seconds:,.0f}/s"
