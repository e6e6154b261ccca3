"""Measured training speeds: what finished runs and probes in a results folder say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from json import dumps, loads
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError
from harness.launch.preconditions import is_cpu
from harness.planning.planned import PlannedRun
from harness.planning.spec import TrainSpec
from harness.planning.speed import Measured, Work, work_of, work_settings
from harness.provenance import source_digest
from harness.records import RunFolder, read_json, write_json
from harness.registry import adapter as find_adapter

DeviceKind = Literal["cpu", "cuda"]


def measured_speeds(results: Path, kind: DeviceKind) -> list[Measured]:
    """Every speed that was measured on a device of this kind.

    Left out: runs that trained on several kinds of devices or in several numbers of processes,
    probes of other source code, and whatever cannot be read or planned any more.
    """
    found = [*_of_runs(results), *_of_probes(results)]
    return [m for m in found if kind_of(m.device) == kind]


def kind_of(device: str) -> DeviceKind:
    """The kind of a device, by its recorded name."""
    return "cpu" if is_cpu(device) else "cuda"


def _of_runs(results: Path) -> Iterator[Measured]:
    for path in sorted(results.glob("runs/*/training.json")):
        try:
            measured = _of_run(RunFolder(results, path.parent.name))
        except (HarnessError, KeyError, TypeError):
            continue
        if measured is not None:
            yield measured


def _of_run(folder: RunFolder) -> Measured | None:
    training, known = read_json(folder.training), read_json(folder.provenance)
    spec = read_json(folder.spec)
    work = _work(spec)
    processes = training.get("processes", 1)
    made_by = training["device"], processes
    if work is None or not training["steps"]:
        return None
    if made_by != (known["device"], known.get("processes", 1)):  # it was gone on with by others
        return None
    return Measured(
        work=work,
        seconds_per_step=training["seconds"] / training["steps"],
        device=training["device"],
        processes=processes,
        current=known["source_digest"] == source_digest(find_adapter(work.adapter)),
        time=folder.training.stat().st_mtime,
    )


def _work(spec: Mapping[str, Any]) -> Work | None:
    """The work of a recorded spec; None where its adapter, settings or data are gone."""
    return _work_of_json(dumps(work_settings(spec), sort_keys=True))


@cache
def _work_of_json(settings: str) -> Work | None:
    try:
        return work_of(_spec_of(loads(settings)))
    except ValueError:
        return None


def _spec_of(settings: dict[str, Any]) -> TrainSpec:
    """A run that does this work; what does not decide it is arbitrary."""
    rest = {"budget": {"steps": 1}, "optimizer": {"lr": 1.0}, "seed": 0}
    return TrainSpec.model_validate(settings | rest)


# --- probes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """A few steps of a run, measured: the content of `probes/<device>/<adapter>-<work>.json`.

    `settings` are what decides the work; `time` is in Unix seconds.
    """

    settings: dict[str, Any]
    device: str
    processes: int
    steps: int
    seconds_per_step: float
    source_digest: str
    time: float

    def write(self, results: Path) -> Path:
        """Keep it, in place of an earlier one of the same work on such a device."""
        work = _work(self.settings)
        assert work is not None, "it was planned"
        device = re.sub(r"[^a-z0-9]+", "-", self.device.lower()).strip("-")
        path = results / "probes" / device / f"{work.adapter}-{work.id}.json"
        write_json(path, asdict(self))
        return path


def _of_probes(results: Path) -> Iterator[Measured]:
    for path in sorted(results.glob("probes/*/*.json")):
        try:
            probe = Probe(**read_json(path))
            work = _work(probe.settings)
            if work is None or probe.source_digest != source_digest(find_adapter(work.adapter)):
                continue
        except (HarnessError, KeyError, TypeError):
            continue
        yield Measured(
            work=work,
            seconds_per_step=probe.seconds_per_step,
            device=probe.device,
            processes=probe.processes,
            probe=True,
            time=probe.time,
        )


def work_of_run(run: PlannedRun) -> Work:
    """The work of a planned run."""
    found = _work(run.spec.model_dump(mode="json"))
    assert found is not None, "a planned run has an adapter and data"
    return found
