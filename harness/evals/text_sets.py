"""Evaluation rows of a text set, in batches, and the n-gram lines they are read against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.corpora.overlap import overlap_with_training, split_overlap
from harness.data.corpora.question_shards import question_shards
from harness.data.corpora.questions import load_questions
from harness.data.disjoint import Overlap, refuse_overlap
from harness.data.ngram import NGrams, fit_ngrams
from harness.data.tensors import text_batch
from harness.data.text import RowKind, TextRows, prepare_text
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.planning.eval_spec import EvalBase, TextEval, drops
from harness.planning.spec import NextTokenTask
from harness.protocol import TextBatch

_CHUNK_ROWS = 4096
ORDER_NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


@dataclass(frozen=True)
class TextSet:
    """The rows that an evaluation covers; `ids` are row ids, `bytes` the targets' bytes.

    `answers` are the same rows with the answers' tokens alone as targets, `skipped` the records
    without an answer, `dropped` the documents left out because they share text with training, None
    where those are refused; `key` names the set among a context's shared values.
    """

    rows: TextRows
    ids: NDArray[np.int64]
    key: tuple[object, ...]
    answers: TextRows | None = None
    skipped: int = 0
    dropped: int | None = None

    @property
    def left_out(self) -> dict[str, int]:
        """`skipped` where there are answers and `dropped` where it was asked for, as tags."""
        found = {} if self.answers is None else {"skipped": self.skipped}
        return found if self.dropped is None else found | {"dropped": self.dropped}

    @property
    def bytes(self) -> int:
        return int(self.bytes_by_document.sum())

    @property
    def bytes_by_document(self) -> NDArray[np.int64]:
        """The targets' bytes of each document of the shards (D,)."""
        shards = self.rows.shards
        found = np.zeros(len(shards), np.int64)
        for start in range(0, len(self.ids), _CHUNK_ROWS):
            ids = self.ids[start : start + _CHUNK_ROWS]
            tokens, mask = self.rows.get(ids)
            owners = self.rows.target_documents(ids)[mask]
            np.add.at(found, owners, shards.token_bytes[tokens[:, 1:][mask]])
        return found

    @property
    def answer_set(self) -> TextSet | None:
        """The answers alone; None where the set has no answers."""
        if self.answers is None:
            return None
        return replace(self, rows=self.answers, key=(*self.key, "answers"))

    @property
    def counting(self) -> TextSet:
        """Its rows that have a target that counts."""
        found = [np.empty(0, np.int64)]
        for start in range(0, len(self.ids), _CHUNK_ROWS):
            ids = self.ids[start : start + _CHUNK_ROWS]
            found.append(ids[self.rows.get(ids)[1].any(axis=1)])
        return replace(self, ids=np.concatenate(found))

    def batches(
        self, size: int, device: torch.device
    ) -> Iterator[tuple[TextBatch, NDArray[np.int64]]]:
        """Batches with the document index (B, S) that each target belongs to."""
        for start in range(0, len(self.ids), size):
            ids = self.ids[start : start + size]
            yield text_batch(self.rows, ids, device), self.rows.target_documents(ids)


def text_set(spec: EvalBase, context: EvalContext) -> TextSet:
    """The evaluation's rows, cut as it says and checked to be disjoint from training.

    HarnessError where a document or a 13-gram of the set occurs in the training split, unless the
    evaluation drops such documents and others are left.
    """
    task = context.spec.task
    assert isinstance(task, NextTokenTask)
    rolling = isinstance(spec, TextEval) and spec.windows == "rolling"
    kind: RowKind = "rolling" if rolling else task.rows
    templates = spec.templates if isinstance(spec, TextEval) else None
    given = (spec.data, spec.split, templates, drops(spec))
    key = ("text", *given, task.context, kind, task.tokenizer)
    if key not in context.shared:
        context.shared[key] = _whole_set(spec, task, kind, context)
    whole: TextSet = context.shared[key]
    ids = whole.ids
    if spec.limit is not None:
        # Of rolling windows, those of the first documents; dropped ones have no tokens.
        number = np.cumsum(np.diff(whole.rows.shards.offsets) > 0)
        few = number[whole.rows.documents(ids)] <= spec.limit if rolling else slice(spec.limit)
        ids = ids[few]
    return replace(whole, ids=ids, key=(*key, len(ids)))


def _whole_set(spec: EvalBase, task: NextTokenTask, kind: RowKind, context: EvalContext) -> TextSet:
    """Every row of the set."""
    if isinstance(spec, TextEval) and spec.templates is not None:
        return _questions(spec, task, kind, context)
    dropped: tuple[int, ...] = ()
    if (spec.data, spec.split) != (task.data, "train"):
        found = split_overlap(task.data, data=spec.data, split=spec.split, cache=context.cache)
        dropped = _dropped(found, spec, task)
    shards = prepare_text(spec.data, spec.split, tokenizer=task.tokenizer, cache=context.cache)
    rows = TextRows(shards.without(dropped), context=task.context, rows=kind)
    return TextSet(rows, np.arange(len(rows)), (), dropped=_count(dropped, spec))


def _questions(spec: TextEval, task: NextTokenTask, kind: RowKind, context: EvalContext) -> TextSet:
    """Every row of questions, with their answers."""
    assert spec.templates is not None
    questions = load_questions(spec.data, spec.split, *spec.templates, cache=context.cache)
    found = overlap_with_training(task.data, evaluation=questions.documents, cache=context.cache)
    dropped = _dropped(found, spec, task)
    whole, own = question_shards(questions, tokenizer=task.tokenizer, folder=context.cache)
    shards, own = whole.without(dropped), own[whole.in_documents(dropped)]
    answers = TextRows(shards, context=task.context, rows=kind, counting=own)
    rows = TextRows(shards, context=task.context, rows=kind)
    count = _count(dropped, spec)
    return TextSet(rows, np.arange(len(rows)), (), answers, questions.skipped, count)


def _dropped(found: Overlap, spec: EvalBase, task: NextTokenTask) -> tuple[int, ...]:
    """The documents to do without; HarnessError where there are some and the spec has none."""
    if drops(spec):
        if len(found.shared) < max(found.compared, 1):
            return found.shared
        raise HarnessError(
            f"every document shares text with training data {task.data}, so none is left",
            where=f"{spec.data} ({spec.split})",
            hint="evaluate on other data",
        )
    refuse_overlap(found, (task.data, "train"), (spec.data, spec.split))
    return ()


def _count(dropped: tuple[int, ...], spec: EvalBase) -> int | None:
    return len(dropped) if drops(spec) else None


def reference_losses(covered: TextSet, context: EvalContext) -> dict[str, tuple[float, int]]:
    """Add-one n-grams of the training split: name -> (sum of nats, n) on the same targets."""
    fitted, ngrams = _ngrams(context)
    scored = (*fitted, *covered.key)
    if scored not in context.shared:
        context.shared[scored] = ngrams.loss(covered.rows, covered.ids)
    return {ORDER_NAMES[order]: pair for order, pair in context.shared[scored].items()}


def reference_tags(context: EvalContext) -> dict[str, int]:
    """`fitted_tokens` where the n-grams saw only that much of a long training text."""
    fitted = _ngrams(context)[1].fitted_tokens
    return {} if fitted is None else {"fitted_tokens": fitted}


def _ngrams(context: EvalContext) -> tuple[tuple[object, ...], NGrams]:
    """The n-grams of the training split, and their key among the shared values."""
    task = context.spec.task
    assert isinstance(task, NextTokenTask)
    fitted = ("ngrams", task.data, task.context, task.rows, task.tokenizer)
    if fitted not in context.shared:
        shards = prepare_text(task.data, "train", tokenizer=task.tokenizer, cache=context.cache)
        context.shared[fitted] = fit_ngrams(TextRows(shards, context=task.context, rows=task.rows))
    return fitted, context.shared[fitted]
