"""Where a suite's measurements come from, in words: what was published, what other code made."""

from __future__ import annotations

from collections import Counter

from harness.analysis.frame import SuiteFrame
from harness.planning.planned import Suite
from harness.quantities import counted


def published_note(frame: SuiteFrame) -> str | None:
    """How many runs are read as they were published, and on which devices they were trained."""
    if not frame.published:
        return None
    devices = Counter(frame.records[run_id].device for run_id in frame.published)
    each = " and ".join(f"{count} on {device}" for device, count in sorted(devices.items()))
    note = f"{counted(len(frame.published), 'run')} read as published: {each}."
    if frame.elsewhere:
        note += f" What {' and '.join(frame.elsewhere)} gave for the suite is not shown."
    return note


def changed_note(frame: SuiteFrame, suite: Suite) -> str | None:
    """How many runs other source code or data made, and how to redo them; those that were trained
    elsewhere have nothing here to be redone.
    """
    if not frame.changed:
        return None
    published = [run for run in frame.changed if frame.records[run].published is not None]
    here = len(published) < len(frame.changed)
    redo = suite.command("run") + (" --redo-changed" if here else "")
    shown = f", {len(published)} of them published," if published else ""
    runs = counted(len(frame.changed), "run")
    were, them = ("was", "it") if len(frame.changed) == 1 else ("were", "them")
    return f"{runs}{shown} {were} made by other source code or data than now. Redo {them}: {redo}"
