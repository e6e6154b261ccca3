"""What `harness prepare` does with text: token shards, overlap with training text, tokenizers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.data.corpora.overlap import find_overlaps, known_overlap
from harness.data.corpora.preparing import Progress, prepare_text
from harness.data.corpora.questions import load_questions
from harness.data.corpora.shards import TextShards
from harness.data.datasets import load_documents
from harness.data.disjoint import Overlap, refuse_overlap
from harness.data.documents import Documents
from harness.data.effort import Effort
from harness.data.measured import Measured, write_lock
from harness.data.trained_tokenizer import train_tokenizer
from harness.errors import HarnessError
from harness.planning.eval_spec import EnergyEval, TextEval, drops
from harness.planning.planned import Suite
from harness.planning.spec import NextTokenTask
from harness.show.pace import Telling, made, telling


@dataclass(frozen=True)
class TextNeed:
    """A split to be tokenized."""

    data: str
    split: str
    tokenizer: str


@dataclass(frozen=True)
class Pair:
    """Training data, and a split (of questions, with their templates) to be disjoint from them."""

    train: str
    data: str
    split: str
    templates: tuple[str, str] | None

    def known(self, cache: Path) -> Overlap | None:
        """What was found before, without reading either."""
        if self.templates is not None:
            return None
        return known_overlap(self.train, data=self.data, split=self.split, cache=cache)

    def documents(self, cache: Path) -> Documents:
        if self.templates is None:
            return load_documents(self.data, self.split)
        return load_questions(self.data, self.split, *self.templates, cache=cache).documents


@dataclass(frozen=True)
class PreparedText:
    """What came of it; `seconds` and the rate are None where it was found prepared."""

    data: str
    split: str
    tokenizer: str
    documents: int
    bytes: int
    tokens: int
    bytes_per_token: float
    digest: str
    token_digest: str
    folder: str
    seconds: float | None
    tokens_per_second_per_core: float | None


def text_needs(suite: Suite) -> tuple[list[TextNeed], dict[Pair, bool]]:
    """What text a suite reads, and what is to be disjoint: whether an evaluation fails if not."""
    needs: dict[TextNeed, None] = {}
    pairs: dict[Pair, bool] = {}
    for run in suite.runs:
        task = run.spec.task
        if not isinstance(task, NextTokenTask):
            continue
        needs[TextNeed(task.data, "train", task.tokenizer)] = None
        for planned in run.evaluations:
            spec = planned.spec
            if not isinstance(spec, TextEval | EnergyEval):
                continue
            templates = spec.templates if isinstance(spec, TextEval) else None
            if templates is None:
                needs[TextNeed(spec.data, spec.split, task.tokenizer)] = None
            if (spec.data, spec.split) != (task.data, "train"):
                pair = Pair(task.data, spec.data, spec.split, templates)
                pairs[pair] = pairs.get(pair, False) or not drops(spec)
    return list(needs), pairs


def overlaps(pairs: Mapping[Pair, bool], cache: Path, console: Console) -> Iterator[str]:
    """What is wrong with each pair that is not disjoint. Each training set is read once."""
    found = {pair: overlap for pair in pairs if (overlap := pair.known(cache)) is not None}
    missing: dict[str, dict[Pair, Documents]] = {}
    for pair in pairs:
        if pair not in found:
            missing.setdefault(pair.train, {})[pair] = pair.documents(cache)
    for train, sets in missing.items():
        with console.status(f"Looking for evaluation text in {escape(train)}"):
            overlaps = find_overlaps(train, evaluations=list(sets.values()), cache=cache)
        found |= zip(sets, overlaps, strict=True)
    for pair, refuses in pairs.items():
        if not refuses and found[pair].shared:
            count, of = len(found[pair].shared), found[pair].compared
            console.print(
                f"{escape(pair.data)} ({pair.split}): {count:,} of {of:,} documents share text "
                f"with {escape(pair.train)}; evaluations with overlap: drop do without them",
                soft_wrap=True,
            )
        try:
            if refuses:
                refuse_overlap(found[pair], (pair.train, "train"), (pair.data, pair.split))
        except HarnessError as error:
            yield str(error)


# --- one split -------------------------------------------------------------------------------


def prepare_text_split(
    need: TextNeed, results: Path, workers: int | None, console: Console, as_json: bool
) -> PreparedText:
    cache = results / "data"
    told = Telling(console, f"{need.data} ({need.split})", _line)

    def make(effort: Effort) -> TextShards:
        data, split, tokenizer = need.data, need.split, need.tokenizer
        return prepare_text(data, split, tokenizer=tokenizer, cache=cache, effort=effort)

    shards, last, seconds = made(told, workers, make)
    found = _prepared(need, shards, last, seconds)
    write_lock(cache, need.data, need.split, Measured(found.digest, len(shards), found.bytes))
    if not as_json:
        _print(console, found)
    return found


def _prepared(
    need: TextNeed, shards: TextShards, last: Progress | None, seconds: float
) -> PreparedText:
    assert shards.text_bytes is not None
    return PreparedText(
        data=need.data,
        split=need.split,
        tokenizer=need.tokenizer,
        documents=len(shards),
        bytes=shards.text_bytes,
        tokens=len(shards.tokens),
        bytes_per_token=shards.text_bytes / len(shards.tokens),
        digest=shards.source_digest,
        token_digest=shards.token_digest,
        folder=str(shards.folder),
        seconds=None if last is None else seconds,
        tokens_per_second_per_core=None
        if last is None
        else last.made_tokens / seconds / last.processes,
    )


def _print(console: Console, found: PreparedText) -> None:
    how = "found prepared"
    if found.seconds is not None:
        how = f"{found.seconds:.1f} s, {found.tokens_per_second_per_core:,.0f} tokens/s per core"
    console.print(
        f"[bold]{escape(found.data)}[/] ({found.split}), tokenizer {escape(found.tokenizer)}: {how}"
        f"\n  {found.tokens:,} tokens, {found.documents:,} documents, {found.bytes:,} bytes, "
        f"{found.bytes_per_token:.2f} bytes per token"
        f"\n  digest {found.digest[:12]}, tokens {found.token_digest[:12]}, in {found.folder}",
        soft_wrap=True,
    )


def _line(progress: Progress, seconds: float | None) -> str:
    """`1,200 documents  5.2 MB  2.3 MB/s  0.58 M tokens/s`."""
    text = f"{progress.documents:,} documents  {progress.bytes / 1e6:,.1f} MB"
    if seconds is None:
        return text
    text += f"  {progress.made_bytes / 1e6 / seconds:,.1f} MB/s"
    if progress.made_tokens:
        text += f"  {progress.made_tokens / 1e6 / seconds:.2f} M tokens/s"
    return text


# --- tokenizers ------------------------------------------------------------------------------


def make_tokenizer(
    data: str, split: str, *, vocab_size: int, out: Path, console: Console, as_json: bool
) -> None:
    """Train a tokenizer on one split and write it."""
    began = time.monotonic()
    with telling(console, "reading", _line) as tell:
        trained = train_tokenizer(
            data,
            split,
            vocab_size=vocab_size,
            out=out,
            on_progress=lambda documents, size: tell(Progress(documents, size, made_bytes=size)),
        )
    found = {
        "tokenizer": str(out),
        "vocab_size": trained.vocab_size,
        "digest": trained.digest,
        "data": data,
        "split": split,
        "seconds": time.monotonic() - began,
    }
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console.print(
        f"{out}: {trained.vocab_size:,} tokens, digest {trained.digest[:12]}, trained on "
        f"{escape(data)} ({split}) in {found['seconds']:.1f} s",
        soft_wrap=True,
    )
    if trained.vocab_size < vocab_size:
        console.print(f"The text has no more than that: {vocab_size:,} were asked for.")
    console.print(f"A suite names it: task: {{tokenizer: {out}}}", soft_wrap=True)
