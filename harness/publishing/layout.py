"""Published measurements: where they lie under a results folder, and which runs are there.

published/<device>/<run_id>/
    SHA256SUMS                       of every other file
    spec.json  provenance.json  status.json
    training.json  train.jsonl.gz    what training cost, and its log
    evals/<eval_id>/{spec.json, measurements.jsonl, done.json, ...}

They hold no weights: what trains and evaluates knows `runs/` alone, and exhibits read both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from harness.errors import HarnessError
from harness.records import EvalFolder, Status, read_status

#: The hidden name under which a published run waits while another takes its place.
_BEFORE = re.compile(r"\.(.+)\.before(?:-[0-9a-f]+)?")
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
        own: dict[str, PublishedRun] = {}
        for name, path in names.items():
            run_id = run_of_before(name) or name
            if not run_id.startswith(".") and (run_id == name or run_id not in names):
                own[run_id] = PublishedRun(run_id, path)
        for run_id, run in own.items():
            found.setdefault(run_id, []).append(run)
    return found


def folders_now(results: Path, run_ids: Collection[str]) -> dict[Path, tuple[int, int]]:
    """What tells each folder of these published runs from another that takes its place."""
    while True:
        paths = [
            r.path
            for run_id, own in published_runs(results).items()
            if run_id in run_ids
            for r in own
        ]
        with suppress(FileNotFoundError):  # replaced since it was listed
            stats = {path: path.stat() for path in paths}
            return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


def before(path: Path) -> Path:
    """Where a run's folder waits while another takes its place; another name each time."""
    return path.with_name(f".{path.name}.before-{token_hex(4)}")


def run_of_before(name: str) -> str | None:
    """The run that waits in a folder of that name; None for any other folder."""
    waits = _BEFORE.fullmatch(name)
    return waits[1] if waits else None


def draft(path: Path) -> Path:
    """Where a run's files are written, or go to be removed; another name each time."""
    return path.with_name(f".{path.name}{_DRAFT}{token_hex(4)}")


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
