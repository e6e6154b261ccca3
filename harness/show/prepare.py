"""`harness prepare`: text into token shards, ahead of the runs that read them; or a tokenizer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from harness.data.datasets import find_dataset, load_documents
from harness.data.disjoint import Overlap, refuse_overlap
from harness.data.documents import Documents
from harness.data.effort import Effort
from harness.data.measured import Measured, write_lock
from harness.data.overlap import find_overlaps, known_overlap
from harness.data.preparing import Progress, prepare_text
from harness.data.questions import load_questions
from harness.data.shards import TextShards
from harness.data.tokenizer import BYTES
from harness.data.trained_tokenizer import train_tokenizer
from harness.errors import HarnessError
from harness.planning.eval_spec import EnergyEval, TextEval
from harness.planning.planned import Suite
from harness.planning.spec import NextTokenTask
from harness.show.console import terminal

SUITES = (".yaml", ".yml")
_PLAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Need:
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
class Prepared:
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
    """Prepare all text that a suite reads and look for overlap; 1 where there is some."""
    needs, pairs = _needs(suite)
    console = terminal(stderr=as_json)
    if not needs:
        console.print("Nothing to prepare: no run of this suite reads text.")
    done = [_prepare(need, results, workers, console, as_json) for need in needs]
    problems = list(_overlaps(pairs, results / "data", console))
    if as_json:
        print(json.dumps({"prepared": [asdict(d) for d in done], "problems": problems}, indent=1))
    for problem in problems:
        console.print(f"[bold red]not disjoint[/] {escape(problem)}", soft_wrap=True)
    return 1 if problems else 0


def prepare_data(
    need: tuple[str, str | None, str], results: Path, *, workers: int | None, as_json: bool
) -> None:
    """Prepare one split (default: the first that the set has) with one tokenizer."""
    data, split, tokenizer = need
    chosen = Need(data, split or _first_split(data), tokenizer)
    found = _prepare(chosen, results, workers, terminal(stderr=as_json), as_json)
    if as_json:
        print(json.dumps({"prepared": [asdict(found)], "problems": []}, indent=1))


def make_tokenizer(
    data: str, split: str | None, *, vocab_size: int, out: Path, as_json: bool
) -> None:
    """Train a tokenizer on one split and write it."""
    chosen, began = split or _first_split(data), time.monotonic()
    console = terminal(stderr=as_json)
    with _telling(console, "reading") as tell:
        trained = train_tokenizer(
            data,
            chosen,
            vocab_size=vocab_size,
            out=out,
            on_progress=lambda documents, size: tell(Progress(documents, size, made_bytes=size)),
        )
    found = {
        "tokenizer": str(out),
        "vocab_size": trained.vocab_size,
        "digest": trained.digest,
        "data": data,
        "split": chosen,
        "seconds": time.monotonic() - began,
    }
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console.print(
        f"{out}: {trained.vocab_size:,} tokens, digest {trained.digest[:12]}, trained on "
        f"{escape(data)} ({chosen}) in {found['seconds']:.1f} s",
        soft_wrap=True,
    )
    if trained.vocab_size < vocab_size:
        console.print(f"The text has no more than that: {vocab_size:,} were asked for.")
    console.print(f"A suite names it: task: {{tokenizer: {out}}}", soft_wrap=True)


def _first_split(data: str) -> str:
    record = find_dataset(data)
    if record.modality != "text":
        raise HarnessError(
            f"only text is prepared, and this set holds {record.modality}",
            given=data,
            hint="images and clips are read as they are",
        )
    return record.splits[0]


def _needs(suite: Suite) -> tuple[list[Need], dict[Pair, bool]]:
    """What a suite reads, and what is to be disjoint: whether an evaluation fails if it is not."""
    needs: dict[Need, None] = {}
    pairs: dict[Pair, bool] = {}
    for run in suite.runs:
        task = run.spec.task
        if not isinstance(task, NextTokenTask):
            continue
        needs[Need(task.data, "train", task.tokenizer)] = None
        for planned in run.evaluations:
            spec = planned.spec
            if not isinstance(spec, TextEval | EnergyEval):
                continue
            templates = spec.templates if isinstance(spec, TextEval) else None
            if templates is None:
                needs[Need(spec.data, spec.split, task.tokenizer)] = None
            if (spec.data, spec.split) != (task.data, "train"):
                pair = Pair(task.data, spec.data, spec.split, templates)
                refuses = not isinstance(spec, TextEval) or spec.overlap == "refuse"
                pairs[pair] = pairs.get(pair, False) or refuses
    return list(needs), pairs


def _overlaps(pairs: Mapping[Pair, bool], cache: Path, console: Console) -> Iterator[str]:
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


def _prepare(
    need: Need, results: Path, workers: int | None, console: Console, as_json: bool
) -> Prepared:
    last: list[Progress] = []
    cache, began = results / "data", time.monotonic()

    def on_wait() -> None:
        console.print("Another process prepares it already; waiting.")

    title = f"{need.data} ({need.split})"
    with _telling(console, title) as tell:

        def on_progress(progress: Progress) -> None:
            last[:] = [progress]
            tell(progress)

        effort = Effort(workers, on_progress, on_wait)
        try:
            shards = prepare_text(
                need.data, need.split, tokenizer=need.tokenizer, cache=cache, effort=effort
            )
        except KeyboardInterrupt:
            console.print("Interrupted. The same command goes on from what is finished.")
            raise SystemExit(130) from None
    found = _prepared(need, shards, last, time.monotonic() - began)
    write_lock(cache, need.data, need.split, Measured(found.digest, len(shards), found.bytes))
    if not as_json:
        _print(console, found)
    return found


def _prepared(need: Need, shards: TextShards, last: list[Progress], seconds: float) -> Prepared:
    assert shards.text_bytes is not None
    return Prepared(
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
        seconds=seconds if last else None,
        tokens_per_second_per_core=last[0].made_tokens / seconds / last[0].processes
        if last
        else None,
    )


def _print(console: Console, found: Prepared) -> None:
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


# --- progress --------------------------------------------------------------------------------


@dataclass
class _Pace:
    """Rates since the first part that was made now; those found finished cost nothing."""

    began: float
    share: float = 0.0

    def line(self, progress: Progress) -> str:
        """`1,200 documents  5.2 MB  2.3 MB/s  0.58 M tokens/s  2 min left`."""
        now = time.monotonic()
        text = f"{progress.documents:,} documents  {progress.bytes / 1e6:,.1f} MB"
        if progress.made_bytes == 0:
            self.began, self.share = now, progress.fraction or 0.0
            return text
        seconds = max(now - self.began, 1e-9)
        text += f"  {progress.made_bytes / 1e6 / seconds:,.1f} MB/s"
        if progress.made_tokens:
            text += f"  {progress.made_tokens / 1e6 / seconds:.2f} M tokens/s"
        if progress.fraction is not None and progress.fraction > self.share:
            left = seconds * (1 - progress.fraction) / (progress.fraction - self.share)
            text += f"  {_duration(left)} left"
        return text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _telling(console: Console, title: str) -> Iterator[Any]:
    """A function that shows progress: a bar on a terminal, else a line now and then."""
    pace, told = _Pace(time.monotonic()), [time.monotonic()]
    if not console.is_terminal:

        def say(progress: Progress) -> None:
            line = pace.line(progress)
            if time.monotonic() - told[0] >= _PLAIN_SECONDS:
                told[0] = time.monotonic()
                share = "" if progress.fraction is None else f"{100 * progress.fraction:.0f} %  "
                console.print(f"{escape(title)}: {share}{line}", soft_wrap=True)

        yield say
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[line]}")
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(escape(title), total=None, line="")

        def show(progress: Progress) -> None:
            total = None if progress.fraction is None else 1.0
            done = progress.fraction or 0.0
            bar.update(task, total=total, completed=done, line=pace.line(progress))

        yield show
