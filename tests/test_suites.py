"""Every shipped suite parses, expands, and can be planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.planning.budget import run_cost
from harness.planning.sections import evaluations_of
from harness.planning.suite import load_suite

ROOT = Path(__file__).parents[1]
SUITES = sorted((ROOT / "suites").rglob("*.yaml"))


def test_there_are_suites() -> None:
    assert ROOT / "suites" / "quickstart.yaml" in SUITES


@pytest.mark.parametrize("path", SUITES, ids=lambda p: str(p.relative_to(ROOT)))
def test_suite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    suite = load_suite(path)
    assert suite.description
    for run in suite.runs:
        cost = run_cost(run)
        assert 0 < cost.non_embedding <= cost.parameters
        assert run.evaluations, f"{run.name} trains and is never evaluated"
        if run.spec.budget.seconds is None:
            assert cost.steps
            assert cost.flops
            assert cost.flops > 0
    for section in suite.report:
        for _, name in evaluations_of(section):
            runs = suite.of(section.experiment)
            chosen = [e for run in runs for e in run.evaluations if e.name == name]
            assert chosen, f"section {section.title!r} draws nothing of {name!r}"
