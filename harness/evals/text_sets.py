"""Evaluation rows of a text set, in batches, and the n-gram lines they are read against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.builtin import load_documents
from harness.data.disjoint import check_disjoint
from harness.data.ngram import fit_ngrams
from harness.data.tensors import text_batch
from harness.data.text import TextRows, prepare_text
from harness.evals.context import EvalContext
from harness.planning.eval_spec import EvalBase
from harness.planning.spec import NextTokenTask
from harness.protocol import TextBatch

ORDER_NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


@dataclass(frozen=True)
class TextSet:
    """The rows that an evaluation covers; `ids` are row ids, `bytes` the targets' bytes."""

    rows: TextRows
    ids: NDArray[np.int64]

    @property
    def bytes(self) -> int:
        return int(self.rows.row_bytes(self.ids).sum())

    def batches(
        self, size: int, device: torch.device
    ) -> Iterator[tuple[TextBatch, NDArray[np.int64]]]:
        """Batches with the document index (B, S) that each target belongs to."""
        for start in range(0, len(self.ids), size):
            ids = self.ids[start : start + size]
            yield text_batch(self.rows, ids, device), self.rows.target_documents(ids)


def text_set(spec: EvalBase, context: EvalContext) -> TextSet:
    """The evaluation's rows, cut as the task cuts them and checked to be disjoint from training.

    HarnessError where a document or a 13-gram of the set occurs in the training split.
    """
    task = context.spec.task
    assert isinstance(task, NextTokenTask)
    key = ("text", spec.data, spec.split, task.context, task.rows, task.tokenizer)
    if key not in context.shared:
        if (spec.data, spec.split) != (task.data, "train"):
            check_disjoint(
                load_documents(task.data, "train"),
                evaluation=load_documents(spec.data, spec.split),
            )
        shards = prepare_text(spec.data, spec.split, tokenizer=task.tokenizer, cache=context.cache)
        context.shared[key] = TextRows(shards, context=task.context, rows=task.rows)
    rows: TextRows = context.shared[key]
    count = len(rows) if spec.limit is None else min(spec.limit, len(rows))
    return TextSet(rows, np.arange(count))


def reference_losses(
    spec: EvalBase, covered: TextSet, context: EvalContext
) -> dict[str, tuple[float, int]]:
    """Add-one n-grams of the training split: name -> (sum of nats, n) on the same targets."""
    task = context.spec.task
    assert isinstance(task, NextTokenTask)
    fitted = ("ngrams", task.data, task.context, task.rows, task.tokenizer)
    if fitted not in context.shared:
        shards = prepare_text(task.data, "train", tokenizer=task.tokenizer, cache=context.cache)
        context.shared[fitted] = fit_ngrams(TextRows(shards, context=task.context, rows=task.rows))
    scored = (*fitted, spec.data, spec.split, len(covered.ids))
    if scored not in context.shared:
        context.shared[scored] = context.shared[fitted].loss(covered.rows, covered.ids)
    return {ORDER_NAMES[order]: pair for order, pair in context.shared[scored].items()}
