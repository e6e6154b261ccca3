"""Measure what the issue's targets name: `python -m tests.bench` (or `make bench`)."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the chosen cases; 1 if one failed, 2 for wrong input."""
    given = _parser().parse_args()
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    import torch

    from tests.bench.case import Setting

    if given.threads:
        torch.set_num_threads(given.threads)
    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    setting = Setting(device, given.precision)
    cases = _cases(device)
    if given.memory_of:
        return _memory(given.memory_of, given.side, cases, setting)
    chosen = [case for case in cases if _matches(case, given.only)]
    if not chosen:
        groups = ", ".join(dict.fromkeys(case.group for case in cases))
        print(f"--only {' '.join(given.only)} matches no case; groups: {groups}", file=sys.stderr)
        return 2
    if given.list:
        print("\n".join(f"{case.group:16} {case.name}" for case in chosen))
        return 0
    return _report(chosen, setting, given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Time the adapters against textbook forms and other libraries, interleaved, "
        "and the exhibits against their limits.",
    )
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="TEXT", help="cases whose group or name has TEXT")
    add(
        "--quick",
        action="store_true",
        default=os.environ.get("BENCH") == "quick",
        help="fewer pairs and no memory beside the memory cases (also: BENCH=quick)",
    )
    add("--device", help="cpu, cuda, cuda:1; default: cuda where there is one")
    add("--precision", choices=("float32", "bf16"), default="float32", help="bf16 is autocast")
    add("--threads", type=int, help="CPU threads; default: what PyTorch takes")
    add("--seconds", type=float, help="measuring time a case")
    add(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: this process's CPU time, for a machine in use; with --threads 1",
    )
    add("--out", type=Path, default=ROOT / "results" / "bench", help="folder of the two files")
    add("--list", action="store_true", help="print the cases and stop")
    add("--memory-of", help=argparse.SUPPRESS)
    add("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    return parser


def _cases(device: Any) -> list[Any]:
    from tests.bench import exhibits, image, prepare, reference, text

    parts = text, reference, image, prepare
    return [*(case for part in parts for case in part.cases(device)), *exhibits.cases()]


def _matches(case: Any, wanted: list[str]) -> bool:
    return not wanted or any(text in case.group or text in case.name for text in wanted)


def _memory(name: str, side: str, cases: list[Any], setting: Any) -> int:
    from tests.bench.measure import peak_bytes_here, side_step

    (case,) = (case for case in cases if case.name == name)
    peak = peak_bytes_here(lambda: side_step(case, side, setting), setting)
    print(json.dumps({"bytes": peak}))
    return 0


def _report(chosen: list[Any], setting: Any, given: Any) -> int:
    import dataclasses

    import torch

    from harness.cost import device_name
    from tests.bench import exhibits, report
    from tests.bench.measure import FULL, QUICK, matmul_peak
    from tests.bench.run import run

    effort = QUICK if given.quick else FULL
    if given.seconds is not None:
        effort = dataclasses.replace(effort, seconds=given.seconds)
    if given.clock == "cpu":
        effort = dataclasses.replace(effort, clock=time.process_time)
    limited = [case for case in chosen if isinstance(case, exhibits.Limited)]
    alone = len(limited) == len(chosen)
    peak = None if alone else matmul_peak(setting, effort.clock)
    device = device_name(setting.device, torch.get_num_threads())
    machine = {
        "device": device,
        "precision": setting.precision,
        "PyTorch": torch.__version__,
        "threads": torch.get_num_threads(),
        "matrix product": "not timed" if peak is None else f"{peak * 1e-9:.0f} GFLOP/s",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "effort": "quick" if given.quick else "full",
        "clock": given.clock,
    }
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    results = []
    for case in chosen:
        if case in limited:
            results.append(exhibits.run(case, repeats=1 if given.quick else 3))
        else:
            assert peak is not None
            results.append(run(case, setting, effort, peak))
        print("  ".join(text for text in report.cells(results[-1]) if text), flush=True)
        if results[-1].reason:
            print(f"    {results[-1].status}: {results[-1].reason}", flush=True)
    name = device if setting.precision == "float32" else f"{device} {setting.precision}"
    # Beside the record of all cases, not instead of it.
    name = f"exhibits {name}" if alone else name
    for path in report.write(given.out, name, machine, results):
        print(path)
    return int(any(result.status == "failed" for result in results))


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
