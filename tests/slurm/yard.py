"""A room whose suites go to a cluster by the real command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.launch.claims import claim_of
from harness.launch.slurm.submission import Submission
from harness.planning.planned import PlannedRun
from harness.records import RunFolder
from tests.launch.room import HARNESS, Room
from tests.slurm.cluster import Cluster
from tests.training.tiny import assert_same_training, trained

PROFILE = {"partition": "low", "time": 10, "signal_seconds": 60, "checkpoint_seconds": 2}


def slow(seconds: float, **settings: Any) -> dict[str, Any]:
    """A toy that trains for about so long."""
    budget = {"steps": round(seconds / 0.05)}
    return {"adapter": "toy", "config": {"delay": 0.05}, "budget": budget, **settings}


@dataclass
class Yard(Room):
    cluster: Cluster

    def profile(self, **settings: Any) -> Path:
        path = self.folder / "profile.yaml"
        path.write_text(yaml.safe_dump(PROFILE | settings))
        return path

    # --- the command line ----------------------------------------------------------------

    def begin(self, verb: str, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [HARNESS, verb, *map(str, arguments), "--json"],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ask(self, verb: str, suite: Path, *options: str | Path) -> dict[str, Any]:
        """The JSON that a verb prints; it must succeed."""
        process = self.begin(verb, suite.name, *options)
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        found: dict[str, Any] = json.loads(out)
        return found

    def submit(self, suite: Path, **profile: Any) -> dict[str, Any]:
        return self.ask("submit", suite, "--profile", self.profile(**profile))

    def states(self, suite: Path) -> dict[str, int]:
        counts: dict[str, int] = self.ask("status", suite)["counts"]
        return counts

    # --- what happens there --------------------------------------------------------------

    def wait(self, condition: Callable[[], Any], what: str, *, seconds: float = 120.0) -> Any:
        """Until it holds; returns what it returned, or says what the jobs printed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds:g} s for {what}\n{self.said()}")

    def wait_over(self, suite: Path, *, seconds: float = 180.0) -> dict[str, int]:
        """Until no run of the suite is with Slurm; returns how many are in each state."""
        runs = [RunFolder(self.results, run.run_id) for run in self.runs(suite)]

        def over() -> bool:
            self.states(suite)  # settles what is gone
            return not any(folder.claim.exists() for folder in runs)

        self.wait(over, "the jobs to end", seconds=seconds)
        return self.states(suite)

    def said(self) -> str:
        """The end of all that the jobs printed, and the queue."""
        parts = [self.cluster.run("squeue", "--array", "--states=all")]
        for path in sorted(self.results.glob("submissions/*/logs/*.out")):
            parts.append(f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-15:]))
        for path in sorted(self.results.glob("runs/*/logs/*.log")):
            parts.append(f"--- {path}\n" + "\n".join(path.read_text().splitlines()[-15:]))
        return "\n".join(parts)

    def job(self, folder: RunFolder) -> str:
        """The array element that the run is with."""
        claim = claim_of(folder)
        assert claim is not None
        job_id = Submission(self.results, claim.submission).known_job_id(claim.array)
        return f"{job_id}_{claim.index}"

    def events(self, folder: RunFolder) -> list[str]:
        """Every start, requeue and end of the run, over all its submissions."""
        found: list[dict[str, Any]] = []
        for path in self.results.glob("submissions/*/submission.json"):
            submission = Submission(self.results, path.parent.name)
            for number, array in enumerate(submission.plan.arrays):
                for index, element in enumerate(array):
                    if element.run_id == folder.run_id:
                        log = submission.path / "attempts" / f"{number}-{index}.jsonl"
                        lines = log.read_text().splitlines() if log.exists() else []
                        found += [json.loads(line) for line in lines]
        return [event["event"] for event in sorted(found, key=lambda event: event["time"])]


def assert_as_undisturbed(
    yard: Yard, runs: Sequence[PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimizer and log are those of the same runs trained here in one go."""
    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", lambda seconds: None)
        for run in runs:
            reference, _ = trained(run.spec, yard.folder / "undisturbed")
            assert_same_training(RunFolder(yard.results, run.run_id), reference)
