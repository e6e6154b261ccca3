"""Accuracy of a linear classifier on a model's features, beside the same on the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.apart import rows_apart
from harness.data.datasets import load_images
from harness.data.images import ImageRows
from harness.data.keyed import keyed_words
from harness.data.labels import check_labels
from harness.evals.context import EvalContext
from harness.evals.probe_answers import TOP, Answers, answers
from harness.evals.probe_examples import Examples
from harness.evals.probe_features import (
    Read,
    features_cost,
    gather_features,
    model_features,
    pixel_features,
)
from harness.evals.probe_pixels import kept_answers, too_large
from harness.planning.eval_spec import ProbeEval, drops
from harness.records import Measurement

ANSWERS = "answers.npz"
PIXELS, MAJORITY = "pixels_", "majority_"

_Cost = dict[str, float | int | None]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The rows `ids` (n,) of a labelled split, in order."""

    rows: ImageRows
    ids: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of all rows, drawn or not."""
        assert self.rows.labels is not None
        return self.rows.labels


@dataclass(frozen=True, eq=False)
class Probed:
    """What is fitted and tested on: `held_out` (n,) marks the training images that choose.

    `dropped` test images were left out because they are trained or fitted on; None where those are
    refused.
    """

    training: Drawn
    held_out: NDArray[np.bool_]
    test: Drawn
    classes: int
    dropped: int | None

    @property
    def left_out(self) -> dict[str, int]:
        """`dropped` where it was asked for, as a tag."""
        return {} if self.dropped is None else {"dropped": self.dropped}

    @property
    def majority(self) -> NDArray[np.int64]:
        """Ranks of the test images where the commonest class of training is always answered first,
        then the next.
        """
        counts = np.bincount(self.training.labels[self.training.ids], minlength=self.classes)
        places = np.empty(self.classes, np.int64)
        places[np.argsort(-counts, kind="stable")] = np.arange(self.classes)
        return places[self.test.labels[self.test.ids]]


def evaluate_probe(spec: ProbeEval, context: EvalContext, folder: Path) -> list[Measurement]:
    """Top-1 and, of more than five classes, top-5 accuracy and cross-entropy on the test images.

    `pixels_...` are of the same classifier on the pixels, None where that is too large to fit;
    `majority_...` of answering the commonest classes. `answers.npz` in `folder` keeps which images
    each gets right. HarnessError where the set has no labels, or other ones in training, or an
    image is tested on that the model or the classifier was trained on, unless such are dropped.
    """
    probed = probed_images(spec, context)
    cost = features_cost(probed.test.rows, probed.test.ids, context, repeats=spec.timing_repeats)
    found = _answers(
        spec,
        context,
        probed,
        model_features(probed.training.rows, context),
        model_features(probed.test.rows, context),
    )
    pixels = _pixel_answers(spec, context, probed)
    ranks = {"": found.ranks, MAJORITY: probed.majority}
    if pixels is not None:
        ranks[PIXELS] = pixels.ranks
    _write(folder, probed, ranks)
    tags = {
        "data": spec.data,
        "split": spec.split,
        "classes": probed.classes,
        "train_images": len(probed.training.ids),
    } | probed.left_out
    cost |= {"fit_seconds": found.seconds}
    measured = _of_answers("", found, cost, tags, probed, context)
    measured += _of_answers(PIXELS, pixels, {}, tags, probed, context)
    return measured + _accuracies(MAJORITY, probed.majority, {}, tags, probed, context)


def probed_images(spec: ProbeEval, context: EvalContext) -> Probed:
    """The images, drawn and divided alike for every model."""
    fitted, tested = (
        ImageRows(load_images(spec.data, split, cache=context.cache))
        for split in ("train", spec.split)
    )
    check_labels(fitted.images, tested.images)
    training = _drawn(fitted, np.arange(len(fitted)), spec.train_limit)
    names = dict.fromkeys((spec.data, context.spec.task.data))
    trained = (load_images(name, "train", cache=context.cache) for name in names)
    apart = rows_apart(tested.images, trained=trained, drop=drops(spec))
    test = _drawn(tested, apart, spec.limit)
    named = training.rows.images.classes
    highest = int(max(training.labels.max(), test.labels.max()))
    words = keyed_words(len(training.rows), "probe holdout", spec.data)
    held_out = (words >> np.uint64(11)).astype(np.float64) / 2.0**53 < spec.holdout
    classes = highest + 1 if named is None else max(len(named), highest + 1)
    dropped = len(tested) - len(apart) if drops(spec) else None
    return Probed(training, held_out[training.ids], test, classes, dropped)


def _drawn(rows: ImageRows, ids: NDArray[np.int64], limit: int | None) -> Drawn:
    """So many of the images `ids`, or all of them."""
    if limit is not None and limit < len(ids):
        words = keyed_words(len(rows), "probe images", rows.images.name, rows.images.split)[ids]
        ids = np.sort(ids[np.argsort(words, kind="stable")[:limit]])
    return Drawn(rows, ids)


def _answers(
    spec: ProbeEval, context: EvalContext, probed: Probed, training: Read, test: Read
) -> Answers:
    disk = context.cache if spec.solver == "minibatch" else None

    def examples(read: Read, drawn: Drawn) -> Examples:
        features = gather_features(read, drawn.ids, batch_size=spec.batch_size, disk=disk)
        labels = drawn.labels[drawn.ids]
        return Examples(features, labels, np.arange(len(labels)), probed.classes)

    fitted = examples(training, probed.training)
    return answers(fitted, probed.held_out, examples(test, probed.test), spec, context.device)


def _pixel_answers(spec: ProbeEval, context: EvalContext, probed: Probed) -> Answers | None:
    """None where they are too large; found once for all models that are probed on these images."""
    rows, test = probed.training.rows, probed.test.rows
    if too_large(rows.shape, len(probed.training.ids), probed.classes):
        return None
    return kept_answers(
        spec,
        (rows.images.digest, test.images.digest),
        probed.test.ids,
        context,
        lambda: _answers(spec, context, probed, pixel_features(rows), pixel_features(test)),
    )


def _write(folder: Path, probed: Probed, ranks: dict[str, NDArray[np.int64]]) -> None:
    kept: dict[str, Any] = {
        f"{prefix}top{top}": own < top for prefix, own in ranks.items() for top in TOP
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / ANSWERS, rows=probed.test.ids, **kept)


# --- measurements ----------------------------------------------------------------------------


def _of_answers(
    prefix: str,
    found: Answers | None,
    cost: _Cost,
    tags: dict[str, Any],
    probed: Probed,
    context: EvalContext,
) -> list[Measurement]:
    if found is None:
        return _accuracies(prefix, None, cost, tags, probed, context)
    tags = tags | {
        "l2": found.l2,
        "l2_at_edge": found.at_edge,
        "features": found.width,
        "converged": found.converged,
        "gradient": found.gradient,
        "excess": found.excess,
    }
    given: dict[str, Any] = {"tags": tags, "cost": cost}
    return [
        *_accuracies(prefix, found.ranks, cost, tags, probed, context),
        context.measurement(
            f"{prefix}cross_entropy",
            float(found.losses.mean()),
            n=len(found.losses),
            unit="nats",
            higher_is_better=False,
            **given,
        ),
        context.measurement(
            f"{prefix}holdout_top1",
            found.holdout,
            n=found.holdout_n,
            unit="fraction",
            higher_is_better=True,
            **given,
        ),
    ]


def _accuracies(
    prefix: str,
    ranks: NDArray[np.int64] | None,
    cost: _Cost,
    tags: dict[str, Any],
    probed: Probed,
    context: EvalContext,
) -> list[Measurement]:
    """Top-1, and top-5 where there are more than five classes; None where `ranks` are."""
    return [
        context.measurement(
            f"{prefix}top{top}",
            None if ranks is None else float((ranks < top).mean()),
            n=len(probed.test.ids),
            unit="fraction",
            higher_is_better=True,
            tags=tags | {"chance": top / probed.classes},
            cost=cost,
        )
        for top in TOP
        if probed.classes > top
    ]
