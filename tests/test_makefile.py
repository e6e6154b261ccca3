"""What the exhibits' make targets would run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
VERBS = {"tables": "table", "figures": "figures", "report": "report"}


def commands(*given: str) -> list[str]:
    done = subprocess.run(
        ["make", "-n", "-o", "setup", *given], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if "/harness " in line]


@pytest.mark.parametrize("target", VERBS)
def test_they_are_of_every_suite_that_ships_but_the_smoke_test(target: str) -> None:
    (command,) = commands(target)
    _, verb, *given = command.split()
    assert verb == VERBS[target]
    shown = {
        file
        for path in (ROOT / name for name in given)
        for file in (path.rglob("*.yaml") if path.is_dir() else [path])
    }
    shipped = set((ROOT / "suites").rglob("*.yaml"))
    assert shipped - shown == {ROOT / "suites" / "smoke.yaml"}
    assert shown <= shipped


@pytest.mark.parametrize("target", VERBS)
def test_one_suite_can_be_asked_for(target: str) -> None:
    (command,) = commands(target, "SUITE=mine.yaml")
    assert command.split()[1:] == [VERBS[target], "mine.yaml"]


def test_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")}
    assert {*VERBS, "setup", "quickstart", "test", "bench"} <= listed
