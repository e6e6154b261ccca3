"""The suite that CI runs end to end leaves nothing out."""

from __future__ import annotations

from pathlib import Path

from harness.planning.eval_settings import KINDS
from harness.planning.sections import DRAWN
from harness.planning.suite import load_suite
from harness.registry import adapter_names

SMOKE = Path(__file__).parents[2] / "suites" / "smoke.yaml"


def test_smoke_suite_covers_every_adapter_evaluation_and_way_of_thinking() -> None:
    suite = load_suite(SMOKE)
    assert {run.spec.adapter for run in suite.runs} == set(adapter_names())
    evaluations = [e.spec.model_dump() for run in suite.runs for e in run.evaluations]
    assert {e["kind"] for e in evaluations} == set(KINDS)
    assert {section.kind for section in suite.report} == set(DRAWN)
    listed = [t for e in evaluations if isinstance(e.get("thinking"), tuple) for t in e["thinking"]]
    assert {t["kind"] for t in listed} == {"single", "descent", "diffusion"}
