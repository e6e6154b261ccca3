"""A run's record as it is published: its files by name, whole and with nothing private in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.arrays import stored_arrays
from harness.errors import HarnessError
from harness.fields import DONE, ORIGIN, TRAINED
from harness.publishing.scrubbed import private_texts, scrubbed_command
from harness.records import (
    MEASUREMENT_FIELDS,
    EvalFolder,
    RunFolder,
    read_json,
    read_jsonl,
)

#: What evaluations keep beside their measurements and exhibits read. Answers to lm-eval's tasks,
#: which may be texts of others, stay where they are.
SIDE_FILES = (
    "answers.npz",
    "by_document.npz",
    "energies.npz",
    "examples.json",
    "examples.npz",
    "per_clip.npz",
    "per_image.npz",
)
#: Lines of a log that are published; of a longer one, so many spread evenly.
LOG_LINES = 1000
_PROVENANCE = (
    *("source_digest", "git", "python", "packages", "device", "data", "command", "processes"),
)
_GIT = ("commit", "changed")
_TRAINING_TEXTS = ("device", "weights_sha256")

Files = dict[str, bytes]


class PrivateRecord(Exception):
    """A record names places that only this machine has; `places` says which, and where."""

    def __init__(self, places: Iterable[tuple[str, str]]) -> None:
        self.places = tuple(dict.fromkeys(places))
        super().__init__(", ".join(f"{place}: {text}" for place, text in self.places))


def run_files(folder: RunFolder, eval_ids: Iterable[str], *, changed: bool) -> Files:
    """The files of a run that trained to its end, or diverged, and of these evaluations of it.

    `changed` marks what was made by other source code than now. PrivateRecord where identities
    name private places; HarnessError where a file is damaged or cannot be read.
    """
    log = read_jsonl(folder.train_log)
    status = folder.status()
    state: dict[str, Any] = {"state": status.state, "step": status.step}
    state |= {"total_steps": status.total_steps, "log_lines": len(log)}
    if status.has_diverged:
        state["reason"] = status.reason
    files = {
        "spec.json": _checked(read_json(folder.spec)),
        "provenance.json": _json(_provenance(_origin(folder.provenance))),
        "status.json": _json(state | ({"changed": True} if changed else {})),
        "train.jsonl.gz": gzip.compress(_lines(map(_log_line, _spread(log))), mtime=0),
    }
    if not status.has_diverged:
        files["training.json"] = _json(_training(read_json(folder.training, TRAINED)))
    for eval_id in sorted(eval_ids):
        for name, content in _evaluation_files(folder.evaluation(eval_id)).items():
            files[f"evals/{eval_id}/{name}"] = content
    return files


def _evaluation_files(evaluation: EvalFolder) -> Files:
    done = read_json(evaluation.done, DONE)
    measurements = [
        {name: line[name] for name in MEASUREMENT_FIELDS if name in line}
        for line in evaluation.read()
    ]
    _check(measurements)
    kept: dict[str, Any] = {name: done[name] for name in ("finished", "seconds") if name in done}
    kept["provenance"] = _provenance(done.get("provenance", {}))
    files = {
        "spec.json": _checked(read_json(evaluation.spec)),
        "measurements.jsonl": _lines(measurements),
        "done.json": _json(kept),
    }
    for name in SIDE_FILES:
        path = evaluation.path / name
        if path.exists():
            files[name] = _examples(path) if path.suffix == ".json" else _arrays(path)
    return files


# --- documents -------------------------------------------------------------------------------


def _provenance(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What it takes to make it again; whatever else was recorded stays here."""
    kept = {name: recorded[name] for name in _PROVENANCE if name in recorded}
    if isinstance(kept.get("git"), Mapping):
        kept["git"] = {name: kept["git"].get(name) for name in _GIT}
    if "command" in kept:
        kept["command"] = scrubbed_command([str(word) for word in kept["command"]])
    _check({"data": kept.get("data", {})})
    return kept


def _training(recorded: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in recorded.items()
        if name in _TRAINING_TEXTS or _is_number(value)
    }


def _log_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """Its numbers, with the seconds trained; not the time of day."""
    kept = {name: value for name, value in line.items() if _is_number(value)}
    time = line.get("time")
    seconds = time.get("seconds") if isinstance(time, Mapping) else None
    return kept if seconds is None else kept | {"time": {"seconds": seconds}}


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _spread(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All of them, or so many as are published, the first and last among them."""
    kept = min(LOG_LINES, len(lines))
    apart = (len(lines) - 1) / max(1, kept - 1)
    return (lines[round(place * apart)] for place in range(kept))


def _examples(path: Path) -> bytes:
    """Texts or clips kept whole, without the space between; what the texts say is data."""
    found = read_json(path)
    _check({"texts": [example.get("name", "") for example in found.get("examples", ())]})
    return json.dumps(found, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _arrays(path: Path) -> bytes:
    """The file as it is, once every array of it could be read and no text of them is private."""
    content = _read(path)
    with stored_arrays(path, content) as stored:
        arrays = [stored[name] for name in stored.files]
    _check([str(text) for array in arrays if array.dtype.kind == "U" for text in array.ravel()])
    return content


# --- bytes -----------------------------------------------------------------------------------


def _checked(document: Mapping[str, Any]) -> bytes:
    _check(document)
    return _json(document)


def _check(document: Any) -> None:
    if found := list(private_texts(document)):
        raise PrivateRecord(found)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _origin(path: Path) -> dict[str, Any]:
    return read_json(path, ORIGIN) if path.exists() else {}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"cannot read: {error.strerror or error}", where=str(path)) from error
