"""What `harness prepare` does with clips whose latents a suite predicts: it encodes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.data.datasets import load_clips
from harness.data.pixels.array_shards import ArrayShards
from harness.data.pixels.autoencoders import autoencoder_digest
from harness.data.pixels.latent_clips import latent_clips
from harness.data.pixels.preparing import PixelProgress
from harness.planning.planned import Suite
from harness.planning.spec import NextFrameTask
from harness.show.pace import Telling, made


@dataclass(frozen=True)
class LatentNeed:
    """A split of clips to be encoded."""

    data: str
    split: str
    autoencoder: str


@dataclass(frozen=True)
class PreparedLatents:
    """What came of it; `seconds` and the rate are None where it was found prepared."""

    data: str
    split: str
    autoencoder: str
    items: int
    shape: list[int]
    digest: str
    autoencoder_digest: str
    folder: str
    seconds: float | None
    items_per_second: float | None


def latent_needs(suite: Suite) -> list[LatentNeed]:
    """What a suite encodes: the clips that its runs train on, and those they are evaluated on."""
    needs: dict[LatentNeed, None] = {}
    for run in suite.runs:
        task = run.spec.task
        if isinstance(task, NextFrameTask) and task.autoencoder is not None:
            splits = [(task.data, "train")]
            splits += [(planned.spec.data, planned.spec.split) for planned in run.evaluations]
            needs |= {LatentNeed(*split, task.autoencoder): None for split in splits}
    return list(needs)


def prepare_latent_split(
    need: LatentNeed, results: Path, console: Console, as_json: bool
) -> PreparedLatents:
    """Encode one split of clips, which are decoded first where they are not."""
    cache = results / "data"
    clips = load_clips(need.data, need.split, cache=cache)
    told = Telling(console, f"latents of {need.data} ({need.split})", _line)
    latents, last, seconds = made(
        told, None, lambda effort: latent_clips(clips, need.autoencoder, cache=cache, effort=effort)
    )
    shards = latents.pixels
    assert isinstance(shards, ArrayShards)
    found = PreparedLatents(
        data=need.data,
        split=need.split,
        autoencoder=need.autoencoder,
        items=len(shards),
        shape=list(shards.item),
        digest=latents.digest,
        autoencoder_digest=autoencoder_digest(need.autoencoder),
        folder=str(shards.folder),
        seconds=None if last is None else seconds,
        items_per_second=None if last is None else last.made_items / seconds,
    )
    if not as_json:
        _print(console, found)
    return found


def _print(console: Console, found: PreparedLatents) -> None:
    how = "found encoded"
    if found.seconds is not None:
        how = f"{found.seconds:.1f} s, {found.items_per_second:,.1f} clips/s"
    console.print(
        f"[bold]{escape(found.data)}[/] ({found.split}), autoencoder {escape(found.autoencoder)}: "
        f"{how}\n  {found.items:,} clips of latents of {' x '.join(map(str, found.shape))}"
        f"\n  digest {found.digest[:12]}, autoencoder {found.autoencoder_digest[:12]}, "
        f"in {found.folder}",
        soft_wrap=True,
    )


def _line(progress: PixelProgress, seconds: float | None) -> str:
    """`1,200 encoded  3.1/s`."""
    text = f"{progress.items:,} encoded"
    return text if seconds is None else f"{text}  {progress.made_items / seconds:,.1f}/s"
