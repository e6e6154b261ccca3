"""Publish finished runs of suites: each whole, none with other numbers than it had before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError
from harness.fields import DONE, ORIGIN, TRAINED, check_seed, check_spec
from harness.planning.evaluations import PlannedEval
from harness.planning.planned import PlannedRun, Suite
from harness.provenance import is_changed
from harness.publishing.checksums import CHECKSUMS, check_files, checksums
from harness.publishing.differences import differences, holds_the_same, same_weights
from harness.publishing.layout import device_folder
from harness.publishing.record import Files, PrivateRecord, run_files
from harness.publishing.shelf import put, read_folder, shelf
from harness.records import RunFolder, read_json, read_measurements

State = Literal[
    "new", "updated", "checksummed", "unchanged", "unfinished", "private", "changed", "differs"
]
#: What a run is that is published now; `checksummed` is unchanged but for the list of checksums.
PUBLISHED: tuple[State, ...] = ("new", "updated", "checksummed", "unchanged")
#: What could be published, and was refused.
REFUSED: tuple[State, ...] = ("private", "changed", "differs")


@dataclass(frozen=True)
class Outcome:
    """What became of one run: its place, and how many evaluations, files and bytes are there.

    `missing` are its evaluations that are not done; `reasons` say why it was left out. `leftover`
    is a folder of what was published before that could not be removed.
    """

    run: str
    name: str
    state: State
    device: str | None = None
    folder: Path | None = None
    evaluations: int = 0
    files: int = 0
    bytes: int = 0
    missing: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    leftover: Path | None = None


@dataclass
class _Wanted:
    """A run, and each of its evaluations that any of the suites has."""

    run: PlannedRun
    evaluations: dict[str, PlannedEval] = field(default_factory=dict)


def publish(
    suites: Iterable[Suite], results: Path, *, changed: bool = False, replace: bool = False
) -> list[Outcome]:
    """Publish what is finished, run by run; the others are said with the reason.

    What other source code or data made is published where `changed`, and marked; what is published
    with other numbers is replaced where `replace`. HarnessError where a record is damaged, another
    process publishes, or nothing can be written.
    """
    wanted = _wanted(suites)
    unfinished = {each.run.run_id: _unfinished(each.run, results) for each in wanted}
    with shelf(results) if not all(unfinished.values()) else nullcontext():
        return [
            unfinished[each.run.run_id] or _publish(each, results, changed=changed, replace=replace)
            for each in wanted
        ]


def _unfinished(run: PlannedRun, results: Path) -> Outcome | None:
    folder = RunFolder(results, run.run_id)
    status = folder.status()
    if status.has_diverged or (status.state == "done" and folder.training.exists()):
        return None
    return Outcome(run.run_id, run.name, "unfinished", reasons=(status.state,))


def _wanted(suites: Iterable[Suite]) -> list[_Wanted]:
    found: dict[str, _Wanted] = {}
    for suite in suites:
        for run in suite.runs:
            own = found.setdefault(run.run_id, _Wanted(run)).evaluations
            own |= {each.eval_id: each for each in run.evaluations}
    return list(found.values())


def _publish(wanted: _Wanted, results: Path, *, changed: bool, replace: bool) -> Outcome:
    run, folder = wanted.run, RunFolder(results, wanted.run.run_id)
    done = [each for each in wanted.evaluations if folder.evaluation(each).is_done()]
    _check(wanted, folder, done)
    lacking = () if folder.status().has_diverged else wanted.evaluations.keys() - set(done)
    missing = tuple(each.label for id, each in wanted.evaluations.items() if id in lacking)
    is_of_old = is_changed(run.record, folder, done)
    if is_of_old and not changed:
        return Outcome(run.run_id, run.name, "changed", missing=missing)
    try:
        files = run_files(folder, done, changed=is_of_old)
    except PrivateRecord as error:
        places = tuple(f"{place}: {text}" for place, text in error.places)
        return Outcome(run.run_id, run.name, "private", missing=missing, reasons=places)
    device = _device(folder)
    path = device_folder(results, device) / run.run_id
    placed = _placed(path, files, wanted, replace=replace)
    return Outcome(
        run.run_id,
        run.name,
        placed.state,
        device,
        path,
        len(done),
        len(placed.files),
        sum(map(len, placed.files.values())),
        missing,
        placed.reasons,
        placed.leftover,
    )


def _check(wanted: _Wanted, folder: RunFolder, eval_ids: Iterable[str]) -> None:
    """HarnessError where a file is of another run or evaluation than its folder is named after, or
    holds what nobody wrote.
    """
    check_spec(read_json(folder.spec), wanted.run.spec.model_dump(mode="json"), folder.spec)
    if folder.provenance.exists():
        read_json(folder.provenance, ORIGIN)
    for eval_id in eval_ids:
        evaluation = folder.evaluation(eval_id)
        spec = wanted.evaluations[eval_id].spec.model_dump(mode="json")
        check_spec(read_json(evaluation.spec), spec, evaluation.spec)
        check_seed(evaluation.read(), wanted.run.spec.seed, str(evaluation.measurements))
        read_json(evaluation.done, DONE)


def _device(folder: RunFolder) -> str:
    """What it was trained on; where it diverged, only its provenance says so."""
    path = folder.training if folder.training.exists() else folder.provenance
    device = read_json(path).get("device")
    if not isinstance(device, str):
        raise HarnessError("the record has no 'device'", where=str(path))
    return device


@dataclass(frozen=True)
class _Placed:
    """What became of a run's files, and which are there now."""

    state: State
    files: Mapping[str, bytes]
    reasons: tuple[str, ...] = ()
    leftover: Path | None = None


def _placed(path: Path, files: Files, wanted: _Wanted, *, replace: bool) -> _Placed:
    """Put a run's files in their place unless they are there.

    Evaluations that were published before of the same weights stay.
    """
    old = _published(path)
    listed = {CHECKSUMS: old.pop(CHECKSUMS)} if CHECKSUMS in old else None
    if same_weights(old, files):
        files = _others(old, files) | files
    if holds_the_same(old, files):
        if listed is not None:
            return _Placed("unchanged", old | listed)
        return _put(path, old, "checksummed")
    labels = {eval_id: each.label for eval_id, each in wanted.evaluations.items()}
    if old and not replace and (found := differences(old, files, labels)):
        return _Placed("differs", old | (listed or {}), tuple(found))
    return _put(path, files, "updated" if old else "new")


def _published(path: Path) -> Files:
    """The files that are there; HarnessError where they are not what was published."""
    check_files(path, [folder.name for folder in path.glob("evals/*")])
    files = read_folder(path)
    for name in files:
        if name.endswith("measurements.jsonl"):
            read_measurements(path / name)
    if "training.json" in files:
        read_json(path / "training.json", TRAINED)
    return files


def _put(path: Path, files: Files, state: State) -> _Placed:
    files = files | {CHECKSUMS: checksums(files)}
    return _Placed(state, files, leftover=put(path, files))


def _others(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Files:
    """The files of evaluations that only the old record has."""
    held = {name.split("/")[1] for name in new if name.startswith("evals/")}
    return {
        name: content
        for name, content in old.items()
        if name.startswith("evals/") and name.split("/")[1] not in held
    }
