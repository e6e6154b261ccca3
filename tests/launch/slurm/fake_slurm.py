"""A Slurm whose jobs tests move by hand; its commands are scripts, put first on PATH."""

from __future__ import annotations

import fcntl
import getpass
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.launch.slurm.fake_commands import COMMANDS, UNREACHABLE

SCRIPT = Path(__file__).with_name("fake_commands.py")
#: submitit looks for srun; the fake starts nothing by it.
NAMES = (*COMMANDS, "srun")


class FakeSlurm:
    """What the commands know, in a folder; array elements are named as Slurm does: `1000_3`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        for name in NAMES:
            self._install(name)
        state = {
            "next_id": 1000,
            "user": getpass.getuser(),
            "config": {
                "AccountingStorageEnforce": "none",
                "ClusterName": "fake",
                "MaxArraySize": "1001",
                "SchedulerParameters": "bf_interval=30",
            },
            "accounting": True,
            "associations": [],
            "qos": [],
            "trouble": {},
            "refusals": [],
            "elements": {},
        }
        (folder / "state.json").write_text(json.dumps(state))
        monkeypatch.setenv("FAKE_SLURM", str(folder))
        monkeypatch.setenv("PATH", str(self.bin), prepend=":")

    def _install(self, name: str) -> None:
        path = self.bin / name
        words = shlex.join([sys.executable, "-IS", str(SCRIPT), name])
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)

    @contextmanager
    def state(self) -> Iterator[dict[str, Any]]:
        """Everything that the commands know, to read or to change."""
        with (self.folder / "state.json").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            state = json.load(file)
            yield state
            file.seek(0)
            json.dump(state, file)
            file.truncate()

    # --- jobs ----------------------------------------------------------------------------

    def elements(self) -> dict[str, dict[str, Any]]:
        with self.state() as state:
            found: dict[str, dict[str, Any]] = state["elements"]
        return found

    def set(self, element: str, state: str, **details: Any) -> None:
        """Give an element this state; `node`, `reason`, `exit`, `by` as Slurm has them."""
        reason = {"reason": "None"} if state != "PENDING" else {}
        with self.state() as known:
            known["elements"][element] |= {"state": state} | reason | details

    def forget(self, *elements: str, accounting: bool = False) -> None:
        """The controller forgets them (all that there are), and accounting too where it says so."""
        with self.state() as state:
            for element in elements or state["elements"]:
                state["elements"][element]["queue"] = False
                if accounting:
                    state["elements"][element]["sacct"] = False

    # --- trouble -------------------------------------------------------------------------

    def break_(self, *commands: str, how: str = f"slurm_load_jobs error: {UNREACHABLE}") -> None:
        """Let commands fail with this message, or `hang`; all but srun where none is named."""
        with self.state() as state:
            state["trouble"] |= dict.fromkeys(commands or COMMANDS, how)

    def mend(self) -> None:
        with self.state() as state:
            state["trouble"] = {}

    def refuse(self, text: str, *, after: int = 0, taken: bool = False) -> None:
        """Let sbatch refuse one array after so many; `taken`: it is in the queue all the same."""
        with self.state() as state:
            state["refusals"] = [None] * after + [(text, taken)]

    def configure(self, **changes: Any) -> None:
        """Change settings such as MaxArraySize, or what accounting has: `qos`, `associations`."""
        with self.state() as state:
            for name, value in changes.items():
                (state if name in state else state["config"])[name] = value

    # --- what was asked of it ------------------------------------------------------------

    def calls(self, name: str = "") -> list[list[str]]:
        """The command lines so far: all, or those of one command."""
        return [call["words"] for call in self._log() if name in ("", call["words"][0])]

    def rules(self, name: str) -> set[str]:
        """The variables that ruled a command, in any of its calls."""
        calls = [call for call in self._log() if call["words"][0] == name]
        assert calls
        return {variable for call in calls for variable in call["rules"]}

    def misuses(self) -> list[str]:
        """Command lines that the fake does not know, and Slurm perhaps neither."""
        path = self.folder / "misuses"
        return path.read_text().splitlines() if path.exists() else []

    def forget_calls(self) -> None:
        (self.folder / "calls.jsonl").unlink(missing_ok=True)

    def _log(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]
