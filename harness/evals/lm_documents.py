"""What lm-eval says of each document, kept so that models can be compared document by document."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.planning.eval_spec import LmTaskEval

BY_DOCUMENT = "by_document.npz"
SAMPLES = "samples.jsonl.gz"
_HASHES = ("doc_hash", "prompt_hash", "target_hash")


class Documents:
    """Every document's metrics under every noise seed.

    `by_document.npz` holds `doc_ids` (documents,), `noise_seeds` and, by its name, each metric as
    (noise seeds, documents), with a last axis where lm-eval keeps several numbers a document (such
    as log likelihood and words); NaN where a document lacks it. Where the evaluation names several
    tasks, names begin with `TASK/`. `samples.jsonl.gz` adds targets and answers: log likelihoods
    and whether they are greedy, or the text.
    """

    def __init__(self, spec: LmTaskEval) -> None:
        self.spec = spec
        self.samples: dict[int, Mapping[str, Sequence[Mapping[str, Any]]]] = {}

    def add(self, seed: int, samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """lm-eval's logged samples, by task, under a noise seed."""
        self.samples[seed] = samples

    def count(self, task: str, metric: str) -> int:
        """Documents that a metric covers."""
        first = next(iter(self.samples.values()))
        return sum(name == metric for sample in first[task] for name, _ in _metrics_of(sample))

    def chance(self, task: str) -> float:
        """What guessing among the choices of each document gives."""
        first = next(iter(self.samples.values()))
        twice = "acc_mutual_info" in first[task][0]["metrics"]  # asked with and without context
        return float(np.mean([(1 + twice) / len(sample["resps"]) for sample in first[task]]))

    def hashes(self) -> dict[str, str]:
        """lm-eval's `task_hashes`: over documents, prompts and targets."""
        first = next(iter(self.samples.values()))
        return {
            task: hashlib.sha256(
                "".join(sample[name] for sample in own for name in _HASHES).encode()
            ).hexdigest()
            for task, own in first.items()
        }

    def write(self, folder: Path) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"noise_seeds": np.array(list(self.samples))}
        for task in next(iter(self.samples.values())):
            prefix = "" if task == self.spec.data else f"{task}/"
            arrays |= {prefix + name: array for name, array in self._arrays(task).items()}
        np.savez_compressed(folder / BY_DOCUMENT, **arrays)
        lines = "".join(json.dumps(plain(line)) + "\n" for line in self._lines())
        (folder / SAMPLES).write_bytes(gzip.compress(lines.encode(), mtime=0))

    def _arrays(self, task: str) -> dict[str, NDArray[Any]]:
        by_seed = [
            {
                (name, sample["doc_id"]): value
                for sample in samples[task]
                for name, value in _metrics_of(sample)
            }
            for samples in self.samples.values()
        ]
        ids = sorted({doc for _, doc in by_seed[0]})
        found: dict[str, NDArray[Any]] = {"doc_ids": np.array(ids)}
        for name in dict.fromkeys(name for name, _ in by_seed[0]):
            values = [[values.get((name, doc), np.nan) for doc in ids] for values in by_seed]
            try:
                found[name] = np.array(values, np.float64)
            except (TypeError, ValueError):
                continue  # no number, or not as many for each: samples.jsonl.gz has it
        return found

    def _lines(self) -> Iterator[dict[str, Any]]:
        for seed, samples in self.samples.items():
            for task, own in samples.items():
                for sample in own:
                    yield {
                        "task": task,
                        "noise_seed": seed,
                        "doc_id": sample["doc_id"],
                        "filter": sample["filter"],
                        "target": sample["target"],
                        "answers": [response[0] for response in sample["resps"]],
                        "metrics": dict(_metrics_of(sample)),
                        **{name: sample[name] for name in _HASHES},
                    }


def _metrics_of(sample: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(metric with its filter where it has one, value) of a logged sample."""
    for name in sample["metrics"]:
        filtered = sample["filter"]
        yield (name if filtered == "none" else f"{name},{filtered}"), sample[name]


def plain(value: Any) -> Any:
    """The same as JSON can say it: no NaN, no functions, no place on this machine."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items() if key != "config_source"}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, Integral):
        return int(value)
    return finite(value) if isinstance(value, Real) else str(value)


def finite(value: Any) -> float | None:
    """A number as JSON can say it; None for NaN, infinity and lm-eval's `N/A`."""
    return float(value) if isinstance(value, Real) and isfinite(value) else None
