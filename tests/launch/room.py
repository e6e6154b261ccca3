"""A room to run suites in by the real command line: corpus, toy adapter, processes to disturb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.planning.planned import PlannedRun
from harness.planning.suite import load_suite
from harness.records import RunFolder
from tests.training.tiny import CORPUS, TEXT

HARNESS = Path(sys.executable).with_name("harness")
PLUGIN = Path(__file__).parent / "plugin"
PATIENCE_SECONDS = 60


@dataclass
class Room:
    """A working folder whose `results` the command line writes."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def suite(self, adapters: dict[str, Any], *, name: str = "suite", **changes: Any) -> Path:
        """Write a suite of one experiment of `label: settings`, on text unless they say else."""
        adapters = {label: {"task": TEXT} | own for label, own in adapters.items()}
        base = {
            "batch_size": 4,
            "budget": {"steps": 20},
            "optimizer": {"lr": 1e-3},
        }
        evaluations = {"validation": {"kind": "likelihood", "data": CORPUS, "split": "validation"}}
        experiment = {"base": base, "adapters": adapters, "evaluations": evaluations} | changes
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"suite": name, "experiments": {"e": experiment}}))
        return path

    def start(self, suite: Path, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [HARNESS, "run", suite.name, "--json", *options],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, suite: Path, *options: str) -> tuple[int, dict[str, Any]]:
        """Run to the end; exit code and the JSON summary."""
        return self.finish(self.start(suite, *options))

    @staticmethod
    def finish(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
        out, error = process.communicate(timeout=PATIENCE_SECONDS)
        assert out, error
        return process.returncode, json.loads(out)

    def folder_of(self, suite: Path, label: str) -> RunFolder:
        """The folder of the one run of an adapter of the suite."""
        (spec,) = (run.spec for run in self.runs(suite) if run.adapter_label == label)
        return RunFolder(self.results, spec.run_id)

    def runs(self, suite: Path) -> tuple[PlannedRun, ...]:
        return load_suite(suite).runs


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for `condition` to hold; returns what it returned."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.002)
    raise AssertionError(f"waited in vain for {what}")


def workers(parent: int) -> list[int]:
    """Process ids of the living children of `parent`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent_id = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent_id) == parent and state != "Z":
                found.append(int(entry.name))
    return found


def holder(parent: int, folder: RunFolder) -> int | None:
    """The worker of `parent` that holds the run."""
    for worker in workers(parent):
        try:
            opened = {os.readlink(link) for link in Path(f"/proc/{worker}/fd").iterdir()}
        except OSError:
            continue
        if str(folder.lock.resolve()) in opened:
            return worker
    return None


def has_checkpoint(folder: RunFolder, step: int = 1) -> bool:
    """There is a checkpoint of `step` or later."""
    found = folder.checkpoints.glob("step-*")
    return any(int(path.name.removeprefix("step-")) >= step for path in found)
