"""Energy evaluations and uncertainty sections in a suite: what they become, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.planning.eval_spec import EnergyEval
from harness.planning.planned import Suite
from harness.planning.suite import load_suite
from harness.protocol import Descent

SUITE = """\
suite: probe
base: {batch_size: 8, budget: {steps: 10}, optimizer: {lr: 1e-3}}
experiments:
  text:
    base:
      task: {kind: next_token, data: builtin/docs, context: 16}
      config: {depth: 1, width: 8, heads: 1}
    adapters:
      plain: {adapter: transformer_pp_text}
      energy: {adapter: ebt_text}
    evaluations:
      sure:
        kind: energy
        data: [builtin/docs, builtin/dyck]
        limit: 9
        noise_seeds: [3, 4]
        thinking: {kind: descent, steps: 12}
        texts: [one text, another]
        only: {adapter: [energy]}
  video:
    base:
      task: {kind: next_frame, data: builtin/moving-digits, context: 4}
      config: {depth: 1, width: 8, heads: 1}
    adapters:
      moving: {adapter: ebt_video}
    evaluations:
      frames: {kind: energy, data: builtin/moving-digits, thinking: {kind: descent, steps: 3}}
report:
  - {kind: uncertainty, experiment: text, evaluation: sure}
  - {kind: uncertainty, experiment: video, evaluation: frames, title: Frames}
"""
PLAIN = {
    "a model without energy": (
        "        only: {adapter: [energy]}\n",
        "",
        "experiments.text.evaluations.sure.thinking",
        "'transformer_pp_text' cannot think that way",
    ),
    "no descent": (
        "{kind: descent, steps: 12}",
        "{kind: single}",
        "experiments.text.evaluations.sure.thinking",
        "'ebt_text' cannot think that way",
    ),
    "a grid": (
        "steps: 12}",
        "steps: [1, 2]}",
        "experiments.text.evaluations.sure.thinking.steps",
        "takes one value",
    ),
    "an empty text": (
        "[one text, another]",
        "[one text, '']",
        "experiments.text.evaluations.sure.texts[1]",
        "character",
    ),
    "a text twice": (
        "[one text, another]",
        "[one text, one text]",
        "experiments.text.evaluations.sure.texts[1]",
        "is given twice",
    ),
    "texts for clips": (
        "{kind: descent, steps: 3}}",
        "{kind: descent, steps: 3}, texts: [a]}",
        "experiments.video.evaluations.frames.texts",
        "reads no texts",
    ),
    "the section of another evaluation": (
        "evaluation: sure",
        "evaluation: sur",
        "report[0].evaluation",
        "no such evaluation",
    ),
    "an evaluation of another kind": (
        "frames: {kind: energy, ",
        "frames: {kind: next_frame, ",
        "report[1].evaluation",
        "draws evaluations of kind energy",
    ),
}


def suite_of(text: str, folder: Path) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def test_one_evaluation_for_each_set_of_models_with_an_energy(tmp_path: Path) -> None:
    suite = suite_of(SUITE, tmp_path)
    found = {run.adapter_label: [e.spec for e in run.evaluations] for run in suite.runs}
    assert found["plain"] == []
    assert found["energy"] == [
        EnergyEval(
            data=data,
            split=split,
            limit=9,
            noise_seeds=(3, 4),
            thinking=Descent(steps=12),
            texts=("one text", "another"),
        )
        for data, split in (("builtin/docs", "validation"), ("builtin/dyck", "test"))
    ]
    assert [spec.kind for spec in found["moving"]] == ["energy"]
    assert [section.title for section in suite.report] == ["Uncertainty", "Frames"]


@pytest.mark.parametrize("name", PLAIN)
def test_mistakes(name: str, tmp_path: Path) -> None:
    old, new, where, problem = PLAIN[name]
    assert old in SUITE
    with pytest.raises(HarnessError) as caught:
        suite_of(SUITE.replace(old, new, 1), tmp_path)
    assert str(caught.value.where).endswith(where)
    assert problem in caught.value.problem


def test_a_model_that_thinks_otherwise_is_told_of_only(tmp_path: Path) -> None:
    text = SUITE.replace("adapter: [energy]", "adapter: [plain]")
    with pytest.raises(HarnessError, match="cannot think that way") as caught:
        suite_of(text, tmp_path)
    assert "only: {adapter:" in str(caught.value)
    single = text.replace("{kind: descent, steps: 12}", "{kind: single}")
    with pytest.raises(HarnessError, match="follows a descent") as caught:
        suite_of(single, tmp_path)
    assert "only: {adapter:" in str(caught.value)
