"""Published measurements: where they lie under a results folder, and which runs are there.

published/<device>/<run_id>/
    spec.json  provenance.json  status.json
    training.json  train.jsonl.gz    what training cost, and its log
    evals/<eval_id>/{spec.json, measurements.jsonl, done.json, ...}

They hold no weights: what trains and evaluates knows `runs/` alone, and exhibits read both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.records import EvalFolder, Status, read_status

#: Ends the hidden name under which a published run waits while another takes its place.
_BEFORE = ".before"
#: Ends the prefix of the hidden name under which a run's files are written.
_DRAFT = ".draft-"


@dataclass(frozen=True)
class PublishedRun:
    """The files of one published run."""

    run_id: str
    path: Path

    @property
    def device(self) -> str:
        """The name of its device's folder."""
        return self.path.parent.name

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def training(self) -> Path:
        return self.path / "training.json"

    @property
    def train_log(self) -> Path:
        return self.path / "train.jsonl.gz"

    def status(self) -> Status:
        return read_status(self.path / "status.json")

    def evaluation(self, eval_id: str) -> EvalFolder:
        return EvalFolder(self.path / "evals" / eval_id)


def published_folder(results: Path) -> Path:
    return results / "published"


def device_folder(results: Path, device: str) -> Path:
    """Where runs trained on a device of that recorded name are published."""
    return published_folder(results) / device_slug(device)


def device_slug(device: str) -> str:
    """`AMD EPYC (1 thread)` as a folder's name: `amd-epyc-1-thread`."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "unnamed"


def published_runs(results: Path) -> dict[str, list[PublishedRun]]:
    """Run id -> the run as each device published it, by the name of the device's folder.

    A run whose replacing was cut off is what it was before. HarnessError where the folder cannot
    be read.
    """
    found: dict[str, list[PublishedRun]] = {}
    for folder in _folders(published_folder(results)):
        names = {path.name: path for path in _folders(folder, hidden=True)}
        for name, path in names.items():
            run_id = run_of_before(name) or name
            if not run_id.startswith(".") and (run_id == name or run_id not in names):
                found.setdefault(run_id, []).append(PublishedRun(run_id, path))
    return found


def before(path: Path) -> Path:
    """Where a run's folder waits while another takes its place."""
    return path.with_name(f".{path.name}{_BEFORE}")


def run_of_before(name: str) -> str | None:
    """The run that waits in a folder of that name; None for any other folder."""
    waits = name.startswith(".") and name.endswith(_BEFORE)
    return name[1:].removesuffix(_BEFORE) if waits else None


def draft_prefix(path: Path) -> str:
    """How the names of folders begin in which a run's files are written."""
    return f".{path.name}{_DRAFT}"


def is_draft(name: str) -> bool:
    return name.startswith(".") and _DRAFT in name


def _folders(folder: Path, *, hidden: bool = False) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise HarnessError(
            f"cannot read what is published: {error.strerror or error}", where=str(folder)
        ) from error
    for path in paths:
        if path.is_dir() and (hidden or not path.name.startswith(".")):
            yield path
