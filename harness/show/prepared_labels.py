"""What `harness prepare` finds out about the labels that a suite's probes learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.data.datasets import load_images
from harness.data.labels import check_labels
from harness.data.pixels.sources import names_pixels
from harness.errors import HarnessError
from harness.planning.eval_spec import ProbeEval
from harness.planning.planned import Suite


def unlike_labels(suite: Suite, cache: Path) -> Iterator[str]:
    """What is wrong with each set whose labels a probe cannot learn on one split for another."""
    specs = (planned.spec for run in suite.runs for planned in run.evaluations)
    probed = {(spec.data, spec.split): None for spec in specs if isinstance(spec, ProbeEval)}
    for data, split in probed:
        if not names_pixels(data):
            continue
        training, test = (load_images(data, each, cache=cache) for each in ("train", split))
        try:
            check_labels(training, test)
        except HarnessError as error:
            yield str(error)
