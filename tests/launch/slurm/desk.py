"""A room whose suites go to Slurm by the command line, called in this process: it answers fast."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import cli
from harness.launch.claims import claim_of
from harness.launch.slurm.submission import Submission
from harness.planning.planned import PlannedRun
from harness.provenance import source_digest
from harness.records import RunFolder, write_json
from tests.launch.room import Room

TOY = {"adapter": "toy"}


@dataclass
class Desk(Room):
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def profile(self, name: str = "profile", **settings: Any) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"time": 60} | settings))
        return path

    # --- the command line ----------------------------------------------------------------

    def call(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Exit code, and what was printed to standard output and to standard error."""
        self.capsys.readouterr()
        self.monkeypatch.setattr("sys.argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        written = self.capsys.readouterr()
        return int(end.value.code or 0), written.out, written.err

    def ask(self, verb: str, suite: Path, *options: str | Path) -> dict[str, Any]:
        """The JSON that a verb prints; it must succeed."""
        code, out, error = self.call(verb, suite.name, *options, "--json")
        assert code == 0, error
        found: dict[str, Any] = json.loads(out)
        return found

    def refused(self, verb: str, suite: Path, *options: str | Path) -> str:
        """The message of a verb that must end with code 2."""
        code, out, error = self.call(verb, suite.name, *options)
        assert (code, out) == (2, "")
        assert "Traceback" not in error
        return error

    def submit(self, suite: Path, **profile: Any) -> dict[str, Any]:
        return self.ask("submit", suite, "--profile", self.profile(**profile))

    def status(self, suite: Path) -> dict[str, dict[str, Any]]:
        """Run id -> its row."""
        return {row["run_id"]: row for row in self.ask("status", suite)["runs"]}

    # --- runs ----------------------------------------------------------------------------

    def folders(self, suite: Path) -> list[RunFolder]:
        """In the suite's order."""
        return [RunFolder(self.results, run.run_id) for run in self.runs(suite)]

    def claimed(self, suite: Path) -> list[str]:
        return [folder.run_id for folder in self.folders(suite) if claim_of(folder)]

    def element(self, folder: RunFolder) -> str:
        """`1000_3`: the array element that the run is with."""
        claim = claim_of(folder)
        assert claim is not None
        job_id = Submission(self.results, claim.submission).known_job_id(claim.array)
        return f"{job_id}_{claim.index}"

    def submission(self, folder: RunFolder) -> Submission:
        claim = claim_of(folder)
        assert claim is not None
        return Submission(self.results, claim.submission)


def train(folder: RunFolder, run: PlannedRun, *, evaluated: bool = False) -> None:
    """Leave the records of a run that was trained, and evaluated where it says so."""
    origin = {"source_digest": source_digest(run.record), "data": {}}
    write_json(folder.spec, run.spec.model_dump(mode="json"))
    write_json(folder.provenance, origin)
    write_json(folder.training, {"steps": 20})
    folder.set_status("done", step=20, total_steps=20)
    for planned in run.evaluations:
        evaluation = folder.evaluation(planned.spec.eval_id)
        write_json(evaluation.spec, planned.spec.model_dump(mode="json"))
        if evaluated:
            write_json(evaluation.done, {"finished": time.time(), "provenance": origin})
