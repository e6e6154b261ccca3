"""The benchmark's record: one JSON document, and the Markdown table made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.case import Result

_HEAD = (
    "case",
    "value",
    "target",
    "",
    "quartiles (pairs)",
    "ours / theirs, ms",
    "per second",
    "GFLOP ours / theirs",
    "exact minimum",
    "of peak",
    "peak MiB ours / theirs",
    "largest error",
)
_MARK = {"passed": "✓", "missed": "✗", "not yet": "not yet", "failed": "failed"}
NOTES = """
*value*: seconds of the reference over ours (speed-up), or bytes of the reference over ours
(memory), or our FLOPs a second over the reference's (rate); the median over interleaved pairs.
*exact minimum*: linear and vocabulary FLOPs of an exact gradient (or prediction) that computes
nothing twice; attention is left out. *of peak*: our FLOPs a second over those of one large matrix
product at the same threads and precision. *peak*: of the first step above what stood before it.
*largest error*: of a parameter's gradient in float32 (text: at a hundredth of the step size, as
rounding grows tenfold a step with all of it), or of the output, against the reference on the same
numbers.
"""


def slug(device: str) -> str:
    """A device's name as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def markdown(machine: dict[str, object], results: Sequence[Result]) -> str:
    """The whole report."""
    lines = [f"# Benchmark on {machine['device']}", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items() if name != "device"]
    for group in dict.fromkeys(result.group for result in results):
        chosen = [result for result in results if result.group == group]
        against = ", ".join(dict.fromkeys(result.against for result in chosen))
        lines += ["", f"## {group}, against {against}", "", _row(_HEAD), _row("---" for _ in _HEAD)]
        lines += [_row(cells(result)) for result in chosen]
    reasons = [f"- {r.name}: {r.status}: {r.reason}" for r in results if r.reason]
    if reasons:
        lines += ["", "## Not measured, or not as it should be", "", *reasons]
    return "\n".join([*lines, NOTES])


def cells(result: Result) -> list[str]:
    """One row, empty where nothing was measured."""
    unit = "" if result.compares == "rate" else "×"
    spread = result.spread
    minimum = result.minimum_flops
    return [
        result.name,
        "" if result.value is None else f"**{result.value:.2f}{unit}**",
        f"≥ {result.target:g}{unit}",
        _MARK[result.status],
        "" if spread is None else f"{spread[0]:.2f}–{spread[1]:.2f} ({result.pairs})",
        _both(result.seconds, 1e3),
        "" if result.tokens_per_second is None else f"{result.tokens_per_second:.0f}",
        _both(result.flops, 1e-9),
        "" if minimum is None else f"{minimum * 1e-9:.3g}",
        "" if result.share_of_peak is None else f"{100 * result.share_of_peak:.0f} %",
        _both(result.peak_bytes, 2.0**-20),
        "" if result.gap is None else f"{result.gap:.1e}",
    ]


def write(
    folder: Path, device: str, machine: dict[str, object], results: Sequence[Result]
) -> list[Path]:
    """Write both files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / slug(device)
    document = {"machine": machine, "results": [asdict(result) for result in results]}
    paths = [stem.with_suffix(".json"), stem.with_suffix(".md")]
    paths[0].write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    paths[1].write_text(markdown(machine, results))
    return paths


def _row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _both(pair: tuple[float, float] | None, scale: float) -> str:
    if pair is None:
        return ""
    return " / ".join(f"{scale * x:.0f}" if scale * x >= 100 else f"{scale * x:.3g}" for x in pair)
