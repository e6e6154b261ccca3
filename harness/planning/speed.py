"""How fast a run trains: measured, derived from another size, or stated; never guessed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Any, Literal

from harness.planning.shapes import shape_of
from harness.planning.spec import ID_LENGTH, TrainSpec
from harness.registry import adapter as find_adapter

#: The settings that decide what a step computes; seed, budget and optimizer do not.
_DECISIVE = (
    *("adapter", "adapter_version", "config", "task", "batch_size", "accumulate"),
    *("precision", "compile", "threads"),
)

Source = Literal["budget", "probe", "same work", "other size", "profile"]
SOURCES: tuple[Source, ...] = ("budget", "probe", "same work", "other size", "profile")


@dataclass(frozen=True)
class Work:
    """What one optimizer step computes, and how: `flops` are a step's, by the adapter's formula."""

    id: str
    adapter: str
    precision: str
    compiled: bool
    threads: int
    flops: float

    def is_like(self, other: Work) -> bool:
        """Another size of the same: FLOP/s of one say something of the other's."""
        mine = self.adapter, self.precision, self.compiled, self.threads
        return mine == (other.adapter, other.precision, other.compiled, other.threads)


def work_settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a spec, as JSON, that decide a step's time. KeyError where one lacks."""
    return {name: spec[name] for name in _DECISIVE}


def work_id(spec: Mapping[str, Any]) -> str:
    """Equal for the specs, as JSON, of runs whose steps do the same work."""
    canonical = json.dumps(work_settings(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def work_of(spec: TrainSpec) -> Work:
    """The work of a run. HarnessError where its adapter or data do not exist."""
    record = find_adapter(spec.adapter)
    config = record.config.model_validate(spec.config)
    per_row = record.training_flops(config, shape_of(spec.task)).total
    return Work(
        id=work_id(spec.model_dump(mode="json")),
        adapter=spec.adapter,
        precision=spec.precision,
        compiled=spec.compile,
        threads=spec.threads,
        flops=per_row * spec.batch_size,
    )


@dataclass(frozen=True)
class Measured:
    """A measured training speed.

    `probe`: of a few steps, else of a whole run; `current`: by the source code there is now;
    `time` in Unix seconds.
    """

    work: Work
    seconds_per_step: float
    device: str
    processes: int = 1
    probe: bool = False
    current: bool = True
    time: float = 0.0


@dataclass(frozen=True)
class Speed:
    """A run's time per step, and where it is from.

    `device` is the one measured on. `size_ratio`: the FLOPs of its step over those of the size that
    was measured. `divided`: as if N processes were N times as fast as one.
    """

    seconds_per_step: float
    source: Source
    device: str | None = None
    size_ratio: float | None = None
    divided: bool = False
    current: bool = True


@dataclass(frozen=True)
class Hardware:
    """What a run would train on.

    `wanted` is text that names the device, such as a Slurm constraint: measurements on one of that
    name are preferred. `flops_per_second` is one process's, as stated.
    """

    processes: int = 1
    wanted: str = ""
    flops_per_second: float | None = None

    def is_named(self, device: str) -> bool:
        words = set(re.findall(r"[a-z]+\d\w*|\d{4}\w*", self.wanted.lower()))
        return any(word in device.lower() for word in words)


def speed(work: Work, measured: Sequence[Measured], hardware: Hardware) -> Speed | None:
    """The best knowledge of a run's speed; None where there is none.

    `measured` are those on devices of the right kind. The work itself comes before other sizes of
    it, measurements before what is stated; among equals the same number of processes, the wanted
    device, today's source, a probe, the latest.
    """
    same = [m for m in measured if m.work.id == work.id]
    if same:
        best = max(same, key=lambda m: _rank(m, hardware))
        return _from(best, same, work, hardware, "probe" if best.probe else "same work")
    others = [m for m in measured if m.work.is_like(work) and m.work.flops > 0 < work.flops]
    if others:
        best = max(others, key=lambda m: (-_distance(m.work, work), _rank(m, hardware)))
        return _from(best, others, work, hardware, "other size")
    if hardware.flops_per_second is None or work.flops <= 0:
        return None
    seconds = work.flops / (hardware.flops_per_second * hardware.processes)
    return Speed(seconds, "profile", divided=hardware.processes > 1)


def _rank(m: Measured, hardware: Hardware) -> tuple[bool, bool, bool, bool, float]:
    return (*_kind(m, hardware), m.time)


def _kind(m: Measured, hardware: Hardware) -> tuple[bool, bool, bool, bool]:
    return m.processes == hardware.processes, hardware.is_named(m.device), m.current, m.probe


def _distance(one: Work, other: Work) -> float:
    return abs(log(one.flops / other.flops))


def _from(
    best: Measured, found: Iterable[Measured], work: Work, hardware: Hardware, source: Source
) -> Speed:
    """The median over the measurements that are as good as the best, such as other seeds'."""
    equals = [
        m.seconds_per_step
        for m in found
        if (m.work.id, m.device, m.processes) == (best.work.id, best.device, best.processes)
        and _kind(m, hardware) == _kind(best, hardware)
    ]
    ratio = 1.0 if best.work.id == work.id else work.flops / best.work.flops
    return Speed(
        seconds_per_step=median(equals) * ratio * best.processes / hardware.processes,
        source=source,
        device=best.device,
        size_ratio=ratio if source == "other size" else None,
        divided=best.processes != hardware.processes,
        current=best.current,
    )
