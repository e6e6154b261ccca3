"""Which record of each run is read: the one made here, or a published one.

A run trained here wins, then that of the device which has most of the suite's runs. Evaluations are
read together only where they are of the same weights; of several weights, those are read that have
most of what the suite asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.fields import DONE, ORIGIN, TRAINED, check_spec
from harness.planning.eval_spec import EvalBase
from harness.planning.planned import Suite
from harness.planning.spec import TrainSpec
from harness.protocol import AdapterRecord
from harness.provenance import data_changed, source_digest
from harness.publishing.checksums import check_files
from harness.publishing.layout import PublishedRun, device_slug, published_runs
from harness.records import EvalFolder, RunFolder, read_json


@dataclass(frozen=True)
class EvalRecord:
    """A finished evaluation; `changed` where other source code than now made it."""

    folder: EvalFolder
    published: bool
    changed: bool


@dataclass(frozen=True)
class RunRecord:
    """A trained run as it is read: its folder, what training cost, and its evaluations by id.

    `published` is the folder's name of the device that published it, None where it was trained
    here. `changed`: it, or an evaluation, was made by other source code or data than now.
    `outdated` are finished evaluations on data that have changed since: they are not read.
    """

    path: Path
    published: str | None
    training: Mapping[str, Any]
    evaluations: Mapping[str, EvalRecord]
    outdated: frozenset[str]
    changed: bool

    @property
    def device(self) -> str:
        """The recorded name of what it was trained on."""
        return str(self.training.get("device"))

    @property
    def train_log(self) -> Path:
        return self.path / ("train.jsonl" if self.published is None else "train.jsonl.gz")

    @property
    def reads_published(self) -> bool:
        """Some of what is read of it was published."""
        return self.published is not None or any(e.published for e in self.evaluations.values())


@dataclass(frozen=True)
class SuiteRecords:
    """A suite's trained runs by id; `elsewhere` are devices that published some of them too.

    `diverged` are the folders of those, trained to the end nowhere, whose loss ceased to be finite.
    """

    runs: Mapping[str, RunRecord]
    elsewhere: tuple[str, ...]
    diverged: Mapping[str, RunFolder | PublishedRun] = field(default_factory=dict)


def suite_records(suite: Suite, results: Path) -> SuiteRecords:
    """The record of each run of `suite` that has one.

    Results on data that have changed since are no results; of published ones this is asked where
    the data are here.
    """
    published = published_runs(results)
    found: dict[str, list[RunRecord]] = {}
    wanted = _wanted(suite)
    for run_id, asked in wanted.items():
        reader = _Reader(asked, results / "data")
        candidates = [reader.local(RunFolder(results, run_id))]
        candidates += map(reader.published, published.get(run_id, ()))
        if kept := [each for each in candidates if each is not None]:
            found[run_id] = kept
    order = _order(found.values())
    read = {
        run_id: taken(sorted(own, key=lambda each: (each.published is not None, order(each))))
        for run_id, own in found.items()
    }
    devices = {each.device for own in found.values() for each in own}
    elsewhere = devices - {record.device for record in read.values()}
    diverged: dict[str, RunFolder | PublishedRun] = {}
    for run_id in [each for each in wanted if each not in read]:
        for folder in (RunFolder(results, run_id), *published.get(run_id, ())):
            if run_id not in diverged and folder.status().has_diverged:
                if folder.spec.exists():
                    _check_spec(folder, wanted[run_id].spec)
                diverged[run_id] = folder
    return SuiteRecords(read, tuple(sorted(elsewhere)), diverged)


@dataclass(frozen=True)
class _Asked:
    """A run, and by id every evaluation that any experiment asks of it."""

    adapter: AdapterRecord
    spec: TrainSpec
    evaluations: dict[str, EvalBase]


def _wanted(suite: Suite) -> dict[str, _Asked]:
    found: dict[str, _Asked] = {}
    for run in suite.runs:
        own = found.setdefault(run.run_id, _Asked(run.record, run.spec, {})).evaluations
        own |= {planned.eval_id: planned.spec for planned in run.evaluations}
    return found


def _order(found: Iterable[Sequence[RunRecord]]) -> Callable[[RunRecord], tuple[int, int, str]]:
    """Before others comes the device with most runs, then most evaluations, then by name."""
    runs: Counter[str] = Counter()
    evaluations: Counter[str] = Counter()
    for own in found:
        of_device: dict[str, set[str]] = {}
        for each in own:
            of_device.setdefault(device_slug(each.device), set()).update(each.evaluations)
        for device, eval_ids in of_device.items():
            runs[device] += bool(eval_ids)
            evaluations[device] += len(eval_ids)

    def order(record: RunRecord) -> tuple[int, int, str]:
        device = device_slug(record.device)
        return -runs[device], -evaluations[device], device

    return order


def taken(records: Sequence[RunRecord]) -> RunRecord:
    """The first record with what others of the same weights add; of several weights, those with
    most evaluations.
    """
    alike: dict[object, list[RunRecord]] = {}
    for index, record in enumerate(records):
        alike.setdefault(record.training.get("weights_sha256") or index, []).append(record)
    joined = [_joined(each) for each in alike.values()]
    return max(joined, key=lambda record: len(record.evaluations))


def _joined(records: Sequence[RunRecord]) -> RunRecord:
    first = records[0]
    evaluations: dict[str, EvalRecord] = {}
    for record in reversed(records):
        evaluations |= record.evaluations
    changed = first.changed or any(each.changed for each in evaluations.values())
    return replace(
        first,
        evaluations=evaluations,
        changed=changed or not first.outdated <= evaluations.keys(),
    )


def _check_spec(folder: RunFolder | PublishedRun | EvalFolder, spec: TrainSpec | EvalBase) -> None:
    check_spec(read_json(folder.spec), spec.model_dump(mode="json"), folder.spec)


@dataclass(frozen=True)
class _Reader:
    """Reads the records of one run; HarnessError for a damaged one, or another published as it."""

    asked: _Asked
    cache: Path

    def local(self, folder: RunFolder) -> RunRecord | None:
        """The run as it was trained here; None where it is not done, or its data have changed."""
        if folder.status().state != "done" or not folder.training.exists():
            return None
        return self._read(folder, None)

    def published(self, run: PublishedRun) -> RunRecord | None:
        """The run as a device published it; None where its files are gone, or its data changed."""
        check_files(run.path, self.asked.evaluations)
        if not run.training.exists():
            return None
        # Published files go from hand to hand; those made here are compared before they do.
        _check_spec(run, self.asked.spec)
        for eval_id, spec in self.asked.evaluations.items():
            if run.evaluation(eval_id).is_done():
                _check_spec(run.evaluation(eval_id), spec)
        return self._read(run, run.device)

    def _read(self, folder: RunFolder | PublishedRun, device: str | None) -> RunRecord | None:
        origin = read_json(folder.provenance, ORIGIN) if folder.provenance.exists() else {}
        if self._is_outdated(origin, device):
            return None
        evaluations, outdated = {}, set()
        for eval_id in self.asked.evaluations:
            evaluation = folder.evaluation(eval_id)
            if not evaluation.is_done():
                continue
            of = read_json(evaluation.done, DONE).get("provenance", {})
            if self._is_outdated(of, device):
                outdated.add(eval_id)
            else:
                known = EvalRecord(evaluation, device is not None, self._is_of_other(of))
                evaluations[eval_id] = known
        return RunRecord(
            path=folder.path,
            published=device,
            training=read_json(folder.training, TRAINED),
            evaluations=evaluations,
            outdated=frozenset(outdated),
            changed=self._is_of_other(origin),
        )

    def _is_outdated(self, origin: Mapping[str, Any], device: str | None) -> bool:
        return data_changed(origin.get("data", {}), self.cache, needed=device is None)

    def _is_of_other(self, origin: Mapping[str, Any]) -> bool:
        return bool(origin.get("source_digest") != source_digest(self.asked.adapter))
