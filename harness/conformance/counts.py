"""What the record says about size and cost, against what is counted."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch

from harness.capabilities import Replays, VariesWork
from harness.conformance.outcome import Outcome, failed, passed
from harness.conformance.subject import NOISE, Subject
from harness.cost import FlopCounter
from harness.protocol import FlopCount, TextShape

#: Largest relative error of a FLOP formula.
TOLERANCE = 0.01
#: Rows that are counted at once: formulas are per row, and what is done once per batch (such as
#: modulations of a step embedding) may be left out of them.
ROWS = 16
#: Draws over which the cost of an adapter that varies its work is averaged, and the number of
#: different costs that are measured for it.
DRAWS, MEASURED = 8000, 40
#: Draws whose cost is measured even where an equal one was.
REPEATED = 8
#: Batches that fill a replay buffer before a step counts as typical.
FILLING = 12


def parameters(subject: Subject) -> Outcome:
    """The record's parameter counts are the model's, exactly."""
    counted = subject.record.parameters(subject.config, subject.shape)
    trainable = [p for p in subject.build().parameters() if p.requires_grad]
    total = sum(p.numel() for p in trainable)
    shape = subject.shape
    vocabulary = sum(
        p.numel()
        for p in trainable
        if isinstance(shape, TextShape) and p.dim() > 1 and shape.vocab_size in p.shape
    )
    if counted.total != total:
        return failed(f"the record counts {counted.total:,}, the model has {total:,}")
    if counted.non_embedding != total - vocabulary:
        return failed(
            f"the record counts {counted.non_embedding:,} outside vocabulary-sized matrices, "
            f"the model has {total - vocabulary:,}"
        )
    return passed(f"{total:,}, of them {total - vocabulary:,} non-embedding")


def prediction_flops(subject: Subject) -> Outcome:
    """The formula of a prediction's FLOPs is within 1 % of the counted ones."""
    model, batch = subject.build().eval(), subject.given(rows=ROWS)
    formula = subject.record.prediction_flops(subject.config, subject.shape, subject.thinking)
    with torch.no_grad(), FlopCounter(vocab_size=_vocabulary(subject)) as counter:
        subject.predict(model, batch)
    return _compare(formula, _per_row(counter), TOLERANCE, "")


def training_flops(subject: Subject) -> Outcome:
    """The formula of a training step's FLOPs is within 1 % of the counted ones, on average.

    Where steps differ in cost, the mean over draws is known to a standard error, and four of them
    are allowed besides.
    """
    model = subject.build()
    formula = subject.record.training_flops(subject.config, subject.shape)
    if isinstance(model, Replays):
        for index in range(FILLING):
            subject.loss(
                model, subject.batch(index * ROWS, ROWS), noise=NOISE.within("filling", index)
            )
    if not isinstance(model, VariesWork):
        return _compare(formula, _step(subject, model, 0), TOLERANCE, "")
    batch = subject.batch(rows=ROWS)
    costs: dict[Hashable, _Cost] = {}
    drawn: list[_Cost] = []
    for draw in range(DRAWS):
        key = model.work(batch, NOISE.within("cost", draw))
        if key not in costs:
            if len(costs) == MEASURED:
                break
            costs[key] = _step(subject, model, draw)
        drawn.append(costs[key])
        if draw < REPEATED and costs[key].total != (again := _step(subject, model, draw)).total:
            return failed(f"work is {key!r} for steps of {costs[key].total:g} and {again.total:g}")
    mean = fmean(cost.total for cost in drawn)
    error = stdev(c.total for c in drawn) / len(drawn) ** 0.5 / mean if len(drawn) > 1 else 0.0
    vocabulary = fmean(cost.vocabulary for cost in drawn)
    allowed = TOLERANCE + 4 * error
    return _compare(formula, _Cost(mean, vocabulary), allowed, f", mean of {len(drawn)} draws")


@dataclass(frozen=True)
class _Cost:
    """Counted FLOPs of a row."""

    total: float
    vocabulary: float


def _vocabulary(subject: Subject) -> int | None:
    return subject.shape.vocab_size if isinstance(subject.shape, TextShape) else None


def _per_row(counter: FlopCounter) -> _Cost:
    return _Cost(counter.total / ROWS, (counter.vocabulary or 0.0) / ROWS)


def _step(subject: Subject, model: Any, draw: int) -> _Cost:
    with FlopCounter(vocab_size=_vocabulary(subject)) as counter:
        loss = subject.loss(model, subject.batch(rows=ROWS), noise=NOISE.within("cost", draw))
        loss.backward()  # type: ignore[no-untyped-call]
    return _per_row(counter)


def _compare(formula: FlopCount, counted: _Cost, allowed: float, note: str) -> Outcome:
    """Totals, and the vocabulary's part against the total."""
    if counted.total == 0:
        return failed("no matrix product was counted")
    parts = {"total": (formula.total, counted.total)}
    if counted.vocabulary or formula.vocabulary:
        parts["vocabulary"] = (formula.vocabulary, counted.vocabulary)
    words = []
    for name, (said, found) in parts.items():
        gap = abs(said - found) / counted.total
        words.append(f"{name} {found:,.0f} a row, formula {said - found:+,.0f} ({gap:.1%})")
        if not gap <= allowed:
            return failed(f"{words[-1]}; allowed {allowed:.1%}{note}")
    return passed("; ".join(words) + note)
