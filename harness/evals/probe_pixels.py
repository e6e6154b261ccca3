"""A probe of the pixels: no model's, so that what it answers is kept for all that are compared."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.evals.context import EvalContext
from harness.evals.probe_answers import Answers
from harness.planning.eval_spec import ProbeEval
from harness.provenance import package_folder
from harness.records import locked, read_json, write_json

#: The engine's packages that read images and fit classifiers; a model's source changes no pixel.
_SOURCES = ("data", "evals")
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


@cache
def source_digest() -> str:
    """Digest of the source code that these answers come from."""
    engine, digest = package_folder("harness"), hashlib.sha256()
    for name in _SOURCES:
        for file in sorted((engine / name).rglob("*.py")):
            known = file.relative_to(engine).as_posix().encode()
            digest.update(known + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


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
        "source": source_digest(),
        "digests": digests,
        "tested": hashlib.sha256(tested.astype("<i8").tobytes()).hexdigest(),
        "device": context.device.type,
        **spec.model_dump(mode="json", exclude=_ELSEWHERE),
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    path = context.cache / "probes" / f"{key}.json"
    with locked(path.with_suffix(".lock"), wait_seconds=math.inf):
        if path.exists():
            return _read(path)
        found = find()
        lists = {"ranks": found.ranks.tolist(), "losses": found.losses.tolist()}
        write_json(path, asdict(found) | lists)
    return found


def _read(path: Path) -> Answers:
    kept = read_json(path)
    ranks, losses = np.array(kept["ranks"], np.int64), np.array(kept["losses"], np.float64)
    return Answers(**kept | {"ranks": ranks, "losses": losses})
