"""`harness prepare`: text into token shards, images and clips into shards of pixels, ahead of the
runs that read them; or a tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from harness.data.datasets import check_file, find_dataset
from harness.data.pixels.sources import names_pixels
from harness.data.tokenizer import BYTES
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.show import prepared_text
from harness.show.console import terminal
from harness.show.prepared_labels import unlike_labels
from harness.show.prepared_latents import latent_needs, prepare_latent_split
from harness.show.prepared_pixels import (
    PixelNeed,
    not_apart,
    pixel_needs,
    prepare_pixel_split,
)
from harness.show.prepared_text import TextNeed, overlaps, prepare_text_split, text_needs

SUITES = (".yaml", ".yml")


def check_options(
    what: str,
    data_only: tuple[str | None, str],
    overrides: list[str] | None,
    training: tuple[int | None, Path | None],
) -> None:
    """Options that belong together are together; HarnessError where one has no meaning."""
    if what.endswith(SUITES):
        if data_only != (None, BYTES) or training != (None, None):
            raise HarnessError(
                "a suite says itself which splits and tokenizers it uses",
                where="--split, --tokenizer, --train-tokenizer, --out",
                hint="they go with one data set",
            )
    elif overrides:
        raise HarnessError("a data set has no settings", where="--set", given=overrides[0])
    if training[0] is not None and data_only[1] != BYTES:
        raise HarnessError(
            "a tokenizer is trained on text, not on another's tokens",
            where="--tokenizer",
            given=data_only[1],
            hint="leave out --tokenizer, or --train-tokenizer to prepare with it",
        )
    if (training[0] is None) != (training[1] is None):
        raise HarnessError(
            "--train-tokenizer VOCAB_SIZE and --out FILE.json go together",
            where="--out" if training[0] is None else "--train-tokenizer",
        )


def prepare_suite(suite: Suite, results: Path, *, workers: int | None, as_json: bool) -> int:
    """Prepare all that a suite reads; 1 where something is not disjoint, or cannot be probed."""
    console = terminal(stderr=as_json)
    texts, pairs = text_needs(suite)
    pixels, apart = pixel_needs(suite)
    latents = latent_needs(suite)
    if not texts and not pixels and not latents:
        console.print("Nothing to prepare: no run of this suite reads text, or files of pixels.")
    how = (results, workers, console, as_json)
    done = []
    for text in texts:
        with _saying_where(suite, text.data):
            done.append(asdict(prepare_text_split(text, *how)))
    for decoded in pixels:
        with _saying_where(suite, decoded.data):
            done.append(asdict(prepare_pixel_split(decoded, *how)))
    for encoded in latents:
        with _saying_where(suite, encoded.autoencoder):
            done.append(asdict(prepare_latent_split(encoded, results, console, as_json)))
    cache = results / "data"
    problems = [*overlaps(pairs, cache, console), *not_apart(apart, cache, console)]
    unlike = list(unlike_labels(suite, cache))
    if as_json:
        print(json.dumps({"prepared": done, "problems": problems + unlike}, indent=1))
    for problem in problems:
        console.print(f"[bold red]not disjoint[/] {escape(problem)}", soft_wrap=True)
    for problem in unlike:
        console.print(f"[bold red]cannot be probed[/] {escape(problem)}", soft_wrap=True)
    return 1 if problems or unlike else 0


@contextmanager
def _saying_where(suite: Suite, given: str) -> Iterator[None]:
    """An error is found again where the suite says what is prepared."""
    try:
        yield
    except HarnessError as error:
        raise error.located(suite.where(given)) from error


def prepare_data(
    need: tuple[str, str | None, str], results: Path, *, workers: int | None, as_json: bool
) -> None:
    """Prepare one split (default: the first that the set has), text with one tokenizer."""
    data, split, tokenizer = need
    console = terminal(stderr=as_json)
    if names_pixels(data):
        if tokenizer != BYTES:
            raise HarnessError("only text has a tokenizer", where="--tokenizer", given=tokenizer)
        chosen = PixelNeed(data, split or find_dataset(data).splits[0])
        done = asdict(prepare_pixel_split(chosen, results, workers, console, as_json))
    else:
        text = TextNeed(data, split or _first_split(data), tokenizer)
        done = asdict(prepare_text_split(text, results, workers, console, as_json))
    if as_json:
        print(json.dumps({"prepared": [done], "problems": []}, indent=1))


def make_tokenizer(
    data: str, split: str | None, *, vocab_size: int, out: Path, as_json: bool
) -> None:
    """Train a tokenizer on one split (default: the first that the set has) and write it."""
    prepared_text.make_tokenizer(
        data,
        split or _first_split(data),
        vocab_size=vocab_size,
        out=out,
        console=terminal(stderr=as_json),
        as_json=as_json,
    )


def _first_split(data: str) -> str:
    record = find_dataset(data)
    if record.modality != "text":
        check_file(data, record.splits[0], record.modality)
        raise HarnessError(
            f"this set needs no preparing: its {record.modality} data are read as they are",
            given=data,
            hint="text is prepared, and so are images and clips of files: file:FOLDER?size=32",
        )
    return record.splits[0]
