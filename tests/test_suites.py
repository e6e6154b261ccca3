"""Every shipped suite parses, expands, and can be planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.planning.sections import evaluations_of
from harness.planning.suite import load_suite

ROOT = Path(__file__).parents[1]
SUITES = sorted((ROOT / "suites").rglob("*.yaml"))


#: What a user downloads for suites whose data are on no Hub: a file of each kind, never read here.
DOWNLOADED = (
    "coco2014/train2014/COCO_train2014_000000000009.jpg",
    "coco2014/val2014/COCO_val2014_000000000042.jpg",
    "something-something-v2/20bn-something-something-v2/1.webm",
    *(f"something-something-v2/labels/{split}.json" for split in ("train", "validation", "test")),
)
QUESTIONS = ("gsm8k/train.jsonl", "gsm8k/test.jsonl")


def test_there_are_suites() -> None:
    assert ROOT / "suites" / "quickstart.yaml" in SUITES


@pytest.mark.parametrize("path", SUITES, ids=lambda p: str(p.relative_to(ROOT)))
def test_suite(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DOWNLOADED:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text('[{"id": "1"}]')
    for name in QUESTIONS:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text('{"question": "one?", "answer": "two"}\n')
    monkeypatch.chdir(tmp_path)
    suite = load_suite(path)
    assert suite.description
    for run in suite.runs:
        cost = run.cost
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
