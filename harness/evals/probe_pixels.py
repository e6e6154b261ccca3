"""A probe of the pixels: no model's, so that what it answers is kept for all that are compared."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evals.context import EvalContext
from harness.evals.kept import kept
from harness.evals.probe_answers import Answers
from harness.planning.eval_spec import ProbeEval

#: Larger ones are not fitted: training images x numbers of an image x classes, and numbers.
MAX_WORK, MAX_NUMBERS = 2e9, 4096
#: What of an evaluation leaves the classifier alone.
_ELSEWHERE = {
    *("batch_size", "timing_repeats", "checkpoint", "noise_seeds", "metric_version"),
    *("limit", "overlap"),
}


def too_large(shape: tuple[int, ...], images: int, classes: int) -> bool:
    """Whether fitting pixels would take far longer than fitting a model's features."""
    numbers = math.prod(shape)
    return numbers > MAX_NUMBERS or images * numbers * classes > MAX_WORK


def kept_answers(
    spec: ProbeEval,
    digests: tuple[str, str],
    tested: NDArray[np.int64],
    context: EvalContext,
    find: Callable[[], Answers],
) -> Answers:
    """The answers of images of these digests: read where a run of the same source code found them
    before, else found.

    `tested` (n,) are the rows of the second: what is dropped differs with what a model was trained
    on.
    """
    identity = {
        "digests": digests,
        "tested": hashlib.sha256(tested.astype("<i8").tobytes()).hexdigest(),
        "device": context.device.type,
        **spec.model_dump(mode="json", exclude=_ELSEWHERE),
    }

    def plain() -> dict[str, Any]:
        found = find()
        lists = {"ranks": found.ranks.tolist(), "losses": found.losses.tolist()}
        return asdict(found) | lists

    known = kept(context.cache / "probes", identity, plain)
    arrays = {
        "ranks": np.array(known["ranks"], np.int64),
        "losses": np.array(known["losses"], np.float64),
    }
    return Answers(**known | arrays)
