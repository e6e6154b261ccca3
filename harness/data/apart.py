"""What images or clips to evaluate on share with those to train on, and what is left without."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from harness.data.clips import Clips, shared_clips
from harness.data.images import Images, shared_images
from harness.errors import HarnessError


def rows_apart(
    evaluation: Images | Clips, *, trained: Iterable[Images | Clips], drop: bool
) -> NDArray[np.int64]:
    """The rows of `evaluation`, in order, that are in no set of `trained`.

    HarnessError where some are, unless they are to be dropped and others are left.
    """
    kept = np.ones(len(evaluation.pixels), bool)
    for training in trained:
        shared = shared_rows(evaluation, training=training)
        if not drop:
            refuse_shared(shared, evaluation, training=training)
        kept[shared] = False
    if not kept.any():
        raise HarnessError(
            f"every {_noun(evaluation)} is in the data that are trained on, so none is left",
            where=f"{evaluation.name} ({evaluation.split})",
            hint="evaluate on other data",
        )
    return np.flatnonzero(kept)


def shared_rows(evaluation: Images | Clips, *, training: Images | Clips) -> NDArray[np.int64]:
    """The rows of `evaluation` that are in `training` too, in order."""
    if isinstance(evaluation, Images):
        assert isinstance(training, Images)
        return shared_images(training, evaluation)
    assert isinstance(training, Clips)
    return shared_clips(training, evaluation)


def refuse_shared(
    shared: NDArray[np.int64], evaluation: Images | Clips, *, training: Images | Clips
) -> None:
    """HarnessError where rows are shared."""
    if len(shared) == 0:
        return
    noun = _noun(evaluation)
    raise HarnessError(
        f"{len(shared):,} of {len(evaluation.pixels):,} {noun}s of {evaluation.name} "
        f"({evaluation.split}) are in {training.name} ({training.split}) too, which is trained on; "
        f"the first is {noun} {shared[0] + 1}",
        hint="keep them apart, by a file or folder for each {split} or by holdout=0.05; or do "
        "without them in an evaluation of errors or accuracy: `overlap: drop`",
    )


def _noun(items: Images | Clips) -> str:
    return "image" if isinstance(items, Images) else "clip"
