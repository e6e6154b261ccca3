"""A suite under torchrun, every run trained by all its processes together:

    torchrun --nproc-per-node 2 -m harness.launch.torchrun suites/quickstart.yaml

Runs are worked off one after another; rank 0 evaluates. A batch is cut into equal parts, so that
losses are those of one process up to rounding.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from harness.errors import HarnessError
from harness.launch.job import Job
from harness.launch.missing import local_work
from harness.launch.stop import StopFlag
from harness.launch.worker import Ending, output_to, work
from harness.planning.suite import load_suite
from harness.provenance import user_command
from harness.records import RunFolder
from harness.training.parallel import Ranks, joined

#: The others wait as long for the rank that evaluates.
_TIMEOUT_MIN = 24 * 60.0


def main(arguments: list[str] | None = None) -> int:
    """The exit codes of `harness run`."""
    parser = argparse.ArgumentParser(prog="harness.launch.torchrun")
    parser.add_argument("suite", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    given = parser.parse_args(arguments)
    stop = StopFlag()
    stop.install()
    try:
        with joined(given.device, timeout_min=_TIMEOUT_MIN) as ranks:
            jobs = _jobs(given, ranks)
        endings = []
        for job in jobs:
            if stop.asked:
                break
            endings.append(_work(given, job, stop))
            if endings[-1].how == "failed" and torch.cuda.is_available():
                break  # others may hang in nccl: torchrun ends them when this process ends
    except HarnessError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        return 2
    if stop.asked or any(ending.how == "stopped" for ending in endings):
        return 130
    return 1 if any(ending.how != "done" for ending in endings) else 0


def _jobs(given: argparse.Namespace, ranks: Ranks) -> list[Job]:
    """What rank 0 finds missing, or its error: the others follow it."""
    found: list[Job] | HarnessError | None = None
    if ranks.rank == 0:
        try:
            found = _missing(given)
        except HarnessError as error:
            found = error
    found = ranks.broadcast(found)
    if isinstance(found, HarnessError):
        raise found
    assert found is not None
    return found


def _missing(given: argparse.Namespace) -> list[Job]:
    suite = load_suite(given.suite, overrides=given.overrides)
    found = local_work(suite, given.results, redo_changed=False)
    print(f"{len(found.missing)} runs to do, {len(found.found_done)} found done", flush=True)
    pending = [each.begin(given.results) for each in found.missing]
    command = user_command()
    return [Job(p.run_id, p.eval_ids, device=given.device, command=command) for p in pending]


def _work(given: argparse.Namespace, job: Job, stop: StopFlag) -> Ending:
    with joined(given.device, timeout_min=_TIMEOUT_MIN) as ranks:
        name = "worker.log" if ranks.rank == 0 else f"rank-{ranks.rank}.log"
        with output_to(RunFolder(given.results, job.run_id).logs / name):
            ending = work(given.results, job, stop=stop, emit=lambda event: None, ranks=ranks)
    if ranks.rank == 0:
        print(f"{ending.how}  {job.run_id}" + (f"  {ending.reason}" if ending.reason else ""))
    return ending


if __name__ == "__main__":
    sys.exit(main())
