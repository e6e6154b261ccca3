"""What `harness plan` says under a profile, or of probes: times and their sources, hours, disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.launch.slurm.profile import Profile
from harness.planning.estimate import Estimate, Job, Overdue, RunTime, Total
from harness.planning.speed import Source
from harness.quantities import counted, duration, si
from harness.records import KEPT_CHECKPOINTS

_SOURCES: dict[Source | None, str] = {
    "budget": "its budget",
    "probe": "a probe",
    "same work": "finished runs",
    "other size": "another size",
    "profile": "flops_per_second",
    None: "unknown",
}
_SUMMED: dict[Source | None, str] = {
    "budget": "budget in seconds",
    "probe": "probed here",
    "same work": "measured here",
    "other size": "by FLOP/s of another size",
    "profile": "stated in the profile",
    None: "unknown",
}


# --- JSON ------------------------------------------------------------------------------------


def as_data(estimate: Estimate) -> dict[str, Any]:
    """The estimate as JSON; null for what is unknown or has no meaning without a profile."""
    job, layout, storage = estimate.job, estimate.layout, estimate.storage
    return {
        "runs": [_run(run) for run in estimate.times],
        "to_do": _total(estimate.to_do, job),
        "suite": _total(estimate.whole, job),
        "array_sizes": None if layout is None else list(layout.arrays),
        "wall_seconds": None if layout is None else layout.wall_seconds,
        "longest_run_seconds": None if layout is None else layout.longest_seconds,
        "attempt_seconds": None if job is None else job.attempt_seconds,
        "allowed_attempts": None if job is None else job.attempts,
        "overdue": [
            {
                "run": each.run.run_id,
                "attempts": each.attempts,
                "sufficient_attempt_seconds": each.attempt_seconds,
            }
            for each in estimate.overdue
        ],
        "storage": {
            "suite_bytes": storage.total,
            "to_do_bytes": storage.to_do,
            "peak_bytes": storage.peak,
        },
    }


def _run(run: RunTime) -> dict[str, Any]:
    speed = run.speed
    return {
        "run": run.run_id,
        "to_do": run.to_do,
        "seconds": run.seconds,
        "seconds_left": run.left,
        "seconds_per_step": None if speed is None else speed.seconds_per_step,
        "source": run.source,
        "device": None if speed is None else speed.device,
        "size_ratio": None if speed is None else speed.size_ratio,
        "divided_by_processes": None if speed is None else speed.divided,
        "current_source": None if speed is None else speed.current,
    }


def _total(total: Total, job: Job | None) -> dict[str, Any]:
    return {
        "runs": total.runs,
        "unknown_runs": total.unknown,
        "seconds": total.seconds,
        "gpu_hours": None if job is None or not job.gpus else _hours(total, job.gpus),
        "core_hours": None if job is None else _hours(total, job.cores),
        "node_hours": None if job is None else _hours(total, job.nodes),
    }


def _hours(total: Total, units: int) -> float | None:
    return None if total.seconds is None else total.seconds * units / 3600


# --- text ------------------------------------------------------------------------------------


def print_estimate(
    console: Console, estimate: Estimate, profile: Profile | None, path: Path | None
) -> None:
    """Print times by setting and source, totals, layout and disk."""
    if profile is None or estimate.job is None:
        title = "[bold]Training on this machine[/]"
    else:
        title = f"[bold]Training under {escape(str(path))}[/]: {_resources(estimate.job, profile)}"
    console.print(f"\n{title}", soft_wrap=True)
    console.print(_settings(estimate.times))
    console.print()
    console.print(_totals(estimate, profile))
    console.print()
    for line in _lines(estimate, profile):
        console.print(line)


def _resources(job: Job, profile: Profile) -> str:
    held = counted(job.gpus, "GPU") if job.gpus else counted(job.cores, "core")
    several = f" in {profile.processes} processes" if profile.processes > 1 else ""
    nodes = f" on {job.nodes} nodes" if job.nodes > 1 else ""
    return f"{held} a run{several}{nodes}, {counted(job.slots, 'run')} at once"


def _settings(times: Sequence[RunTime]) -> Table:
    """One row per setting and source; its seeds take the same time."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("setting")
    for name in ("to do", "a step", "a run"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("speed from")
    groups: dict[tuple[str, str], list[RunTime]] = {}
    for run in times:
        groups.setdefault((run.setting, _source(run)), []).append(run)
    for (setting, source), runs in groups.items():
        first = runs[0]
        table.add_row(
            escape(setting),
            f"{sum(run.to_do for run in runs)} of {len(runs)}",
            "" if first.speed is None else duration(first.speed.seconds_per_step),
            "" if first.seconds is None else duration(first.seconds),
            f"[yellow]{source}[/]" if first.source is None else source,
        )
    return table


def _source(run: RunTime) -> str:
    text, speed = _SOURCES[run.source], run.speed
    if speed is None:
        return text
    if speed.size_ratio is not None:
        ratio = speed.size_ratio
        text += f", {_times(ratio)} smaller" if ratio >= 1 else f", {_times(1 / ratio)} larger"
    return text if speed.current else f"{text} (other code)"


def _times(ratio: float) -> str:
    return f"{ratio:.2g}×" if ratio < 10 else f"{ratio:,.0f}×"


def _totals(estimate: Estimate, profile: Profile | None) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    columns = [("to do", estimate.to_do), ("whole suite", estimate.whole)]
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    totals = [total for _, total in columns]
    table.add_row("runs", *(f"{total.runs}" for total in totals))
    if any(total.unknown for total in totals):
        table.add_row("of unknown speed, left out", *(f"{total.unknown}" for total in totals))
    table.add_row("training, run after run", *(_seconds(total.seconds) for total in totals))
    for name, units in _units(estimate.job, profile):
        table.add_row(name, *(_number(_hours(total, units)) for total in totals))
    disk = estimate.storage
    table.add_row("checkpoints", *(f"{si(size)}B" for size in (disk.to_do, disk.total)))
    return table


def _units(job: Job | None, profile: Profile | None) -> list[tuple[str, int]]:
    if job is None:
        return []
    units = [("GPU-hours", job.gpus) if job.gpus else ("core-hours", job.cores)]
    if profile is not None and profile.exclusive:
        units.append(("node-hours", job.nodes))
    return units


def _seconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _lines(estimate: Estimate, profile: Profile | None) -> list[str]:
    lines, job = [], estimate.job
    if estimate.layout is not None and job is not None and estimate.layout.arrays:
        lines.append(_layout(estimate, job))
    lines.append(
        f"{KEPT_CHECKPOINTS} checkpoints of a run are kept; while they are written, all take at "
        f"most {si(estimate.storage.peak)}B."
    )
    lines.append(_summary(estimate.times))
    if any(run.speed is not None and run.speed.divided for run in estimate.times):
        processes = 1 if profile is None else profile.processes
        if processes > 1:
            lines.append(
                f"Where {processes} processes were not measured together, they are taken to be "
                f"{processes} times as fast as one."
            )
        else:
            lines.append("Times of several processes are those of one, as if without loss.")
    lines.append("Evaluations, waiting in the queue and starting up are not included.")
    unknown = estimate.whole.unknown
    if unknown:
        advice = (
            "--probe" if profile is None else "give flops_per_second in the profile, or --probe"
        )
        lines.append(
            f"[yellow]{counted(unknown, 'run')} of unknown speed "
            f"{'is' if unknown == 1 else 'are'} left out; {advice}.[/]"
        )
    if job is not None and profile is not None:
        lines += _overdue(estimate.overdue, job, profile)
    return lines


def _layout(estimate: Estimate, job: Job) -> str:
    layout = estimate.layout
    assert layout is not None
    sizes = Counter(layout.arrays)
    arrays = " and ".join(
        f"{counted(count, 'array')} of {counted(size, 'run')}" for size, count in sizes.items()
    )
    if layout.wall_seconds is None or layout.longest_seconds is None:
        return f"{arrays}, the longest first."
    bound = "at least " if estimate.to_do.unknown else ""
    return (
        f"{arrays}, the longest first: {bound}{duration(layout.wall_seconds)} with "
        f"{counted(job.slots, 'run')} at once; the longest run takes "
        f"{duration(layout.longest_seconds)}."
    )


def _summary(times: Sequence[RunTime]) -> str:
    counts = Counter(run.source for run in times)
    told = [
        f"{text} {counts[source]}"
        for source, text in _SUMMED.items()
        if counts[source] or source is None
    ]
    devices = Counter(run.speed.device for run in times if run.speed and run.speed.device)
    on = ", ".join(
        device if len(devices) == 1 else f"{device} ({counted(count, 'run')})"
        for device, count in sorted(devices.items())
    )
    measured = f" Measured on {on}." if devices else ""
    return escape(f"Speeds of {counted(len(times), 'run')}: {', '.join(told)}.{measured}")


def _overdue(found: Sequence[Overdue], job: Job, profile: Profile) -> list[str]:
    """One warning per setting."""
    by_setting: Mapping[str, Overdue] = {each.run.setting: each for each in found}
    return [f"[yellow]{escape(_warning(each, job, profile))}[/]" for each in by_setting.values()]


def _warning(overdue: Overdue, job: Job, profile: Profile) -> str:
    left = overdue.run.left
    assert left is not None
    minutes = ceil((overdue.attempt_seconds + profile.signal_seconds) / 60)
    return (
        f"{overdue.run.setting}: {duration(left)} of training take {overdue.attempts} attempts of "
        f"{duration(job.attempt_seconds)}, and a run may have {job.attempts}: raise max_timeouts "
        f"to {overdue.attempts - 1}, or time to {minutes // 60}:{minutes % 60:02d}:00."
    )
