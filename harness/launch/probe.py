"""Probing: a few steps of each size by the real loop, in a folder that goes away afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from harness.errors import HarnessError
from harness.launch.local import LocalOptions, run_local
from harness.launch.pending import PendingRun
from harness.launch.throughput import DeviceKind, Probe, kind_of, work_of_run
from harness.planning.planned import PlannedRun
from harness.planning.spec import TrainSpec
from harness.planning.speed import work_settings
from harness.records import RunFolder, read_json, read_jsonl, write_json

#: Steps before measuring begins: FLOPs are counted in the first, bodies compiled in the second.
WARM_UP_STEPS = 3
STEPS = 100
SECONDS = 10.0
_WINDOWS = 5


@dataclass(frozen=True)
class Probed:
    """How the probe of one run's work ended: measured, or why not."""

    run: PlannedRun
    probe: Probe | None
    reason: str | None


@dataclass
class Probing:
    """What came of probing."""

    probed: list[Probed] = field(default_factory=list)
    interrupted: bool = False

    @property
    def kind(self) -> DeviceKind:
        """The kind of device that was probed, or would have been."""
        for each in self.probed:
            if each.probe is not None:
                return kind_of(each.probe.device)
        return "cuda" if shutil.which("nvidia-smi") is not None else "cpu"

    @property
    def failed(self) -> list[Probed]:
        return [each for each in self.probed if each.probe is None]


def distinct(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The first run of each work whose time is not its budget."""
    found: dict[str, PlannedRun] = {}
    for run in runs:
        if run.spec.budget.seconds is None:
            found.setdefault(work_of_run(run).id, run)
    return list(found.values())


def probe_runs(
    runs: Sequence[PlannedRun],
    results: Path,
    *,
    device: DeviceKind | None,
    on_end: Callable[[Probed], None],
) -> Probing:
    """Measure each run's work, one at a time, and keep each result as soon as it is there.

    Text prepared for it stays in `results`. Ctrl-C and SIGTERM end it; what was measured is kept.
    """
    with _trial(results) as trial:
        prober = _Prober(results, trial, on_end)
        options = LocalOptions(
            workers=1,
            device=device or "auto",
            checkpoint_seconds=1e9,
            log_every=1,
            enough=prober.enough,
        )
        pending = [prober.prepare(run) for run in runs]
        outcome = run_local(pending, trial, options=options, on_event=prober.on_event)
    return Probing(prober.probed, outcome.interrupted)


@contextmanager
def _trial(results: Path) -> Iterator[Path]:
    """A results folder for the probes' runs, removed afterwards, with the prepared data of ours."""
    data, probes = results / "data", results / "probes"
    try:
        data.mkdir(parents=True, exist_ok=True)
        probes.mkdir(exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix=".trial-", dir=probes, ignore_cleanup_errors=True)
    except OSError as error:
        raise HarnessError(
            f"cannot write here: {error.strerror or error}",
            where=str(results),
            hint="choose another folder: --results",
        ) from error
    with made as name:
        (Path(name) / "data").symlink_to(data.resolve())
        yield Path(name)


class _Prober:
    """The runs being probed, by the ids that they have in the trial's folder."""

    def __init__(self, results: Path, trial: Path, on_end: Callable[[Probed], None]) -> None:
        self.results, self.trial, self.on_end = results, trial, on_end
        self.runs: dict[str, PlannedRun] = {}
        self.warm: dict[str, float] = {}
        self.satisfied: set[str] = set()
        self.probed: list[Probed] = []

    def prepare(self, run: PlannedRun) -> PendingRun:
        changed = {"budget": {"steps": WARM_UP_STEPS + STEPS}, "device_class": None}
        spec = TrainSpec.model_validate(run.spec.model_dump(mode="json") | changed)
        self.runs[spec.run_id] = run
        write_json(RunFolder(self.trial, spec.run_id).spec, spec.model_dump(mode="json"))
        return PendingRun(spec.run_id, spec, (), work_of_run(run).flops)

    def enough(self, event: dict[str, Any]) -> bool:
        """The run has trained for long enough since it was warm; said once."""
        run_id = event["run"]
        if event["event"] != "progress" or run_id in self.satisfied:
            return False
        seconds = event["time"]["seconds"]
        if event["step"] <= WARM_UP_STEPS:
            self.warm[run_id] = seconds
            return False
        if seconds - self.warm[run_id] >= SECONDS:
            self.satisfied.add(run_id)
        return run_id in self.satisfied

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] != "end":
            return
        run_id, ending = event["run"], event["ending"]
        run = self.runs[run_id]
        if ending == "done" or (ending == "stopped" and run_id in self.satisfied):
            probe = _measure(run, RunFolder(self.trial, run_id))
            probe.write(self.results)
            self._end(Probed(run, probe, None))
        elif ending == "failed":
            self._end(Probed(run, None, event["reason"] or "unknown"))

    def _end(self, probed: Probed) -> None:
        self.probed.append(probed)
        self.on_end(probed)


def _measure(run: PlannedRun, folder: RunFolder) -> Probe:
    known = read_json(folder.provenance)
    marks = [line["time"]["seconds"] for line in read_jsonl(folder.train_log)]
    warm = marks[WARM_UP_STEPS - 1 :]
    return Probe(
        settings=work_settings(run.spec.model_dump(mode="json")),
        device=known["device"],
        processes=known.get("processes", 1),
        steps=len(warm) - 1,
        seconds_per_step=seconds_per_step(warm),
        source_digest=known["source_digest"],
        time=time.time(),
    )


def seconds_per_step(marks: Sequence[float]) -> float:
    """The median over a few windows of steps that began and ended at `marks`, in seconds.

    Windows, because steps may differ by design (a drawn number of optimization steps), and because
    marks are rounded to milliseconds.
    """
    steps = len(marks) - 1
    length = max(1, steps // _WINDOWS)
    starts = range(0, steps - length + 1, length)
    return median((marks[start + length] - marks[start]) / length for start in starts)
