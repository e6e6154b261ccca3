"""Suites of next-frame prediction: what they expand into, and mistakes in them as messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from harness.errors import HarnessError
from harness.planning.document import json_schema
from harness.planning.planned import Suite
from harness.planning.suite import load_suite
from harness.protocol import Descent, Single, VideoShape

SIZE = {"depth": 1, "width": 8, "heads": 1}
ADAPTERS = {
    "plain": {"adapter": "transformer_pp_video", "config": SIZE},
    "energy": {"adapter": "ebt_video", "config": SIZE | {"steps": 3}},
}
DIGITS = "builtin/moving-digits"


def load(folder: Path, task: dict[str, Any], **evaluation: Any) -> Suite:
    """A suite of both adapters on a next-frame task, with one evaluation."""
    experiment = {
        "base": {
            "task": {"kind": "next_frame"} | task,
            "batch_size": 8,
            "budget": {"steps": 10},
            "optimizer": {"lr": 1e-3},
        },
        "adapters": ADAPTERS,
        "evaluations": {"e": {"kind": "next_frame", "data": DIGITS} | evaluation},
    }
    document = {"suite": "probe", "experiments": {"video": experiment}}
    jsonschema.validate(document, json_schema())
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_suite(path)


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of clips to name by `file:`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    np.save("train.npy", np.zeros((2, 9, 4, 6, 6), np.float32))
    np.save("validation.npy", np.ones((2, 9, 4, 6, 6), np.float32))
    np.save("small.npy", np.ones((2, 9, 4, 5, 6), np.float32))
    np.save("short.npy", np.ones((2, 4, 4, 6, 6), np.float32))
    np.save("pixels.npy", np.zeros((2, 9, 4, 6, 6), np.uint8))
    return tmp_path


def test_every_model_is_evaluated_as_it_was_trained(tmp_path: Path) -> None:
    suite = load(tmp_path, {"data": DIGITS, "context": 5})
    thinking = {r.adapter_label: r.evaluations[0].spec.model_dump()["thinking"] for r in suite.runs}
    assert thinking["plain"] == Single().model_dump()
    assert thinking["energy"] == Descent(steps=3).model_dump()
    assert {r.evaluations[0].spec.split for r in suite.runs} == {"validation"}
    assert suite.runs[0].shape == VideoShape(context=5, channels=1, height=16, width=16)


def test_a_file_of_latents_decides_the_shape(clips: Path) -> None:
    suite = load(clips, {"data": "file:{split}.npy", "context": 8}, data="file:{split}.npy")
    assert suite.runs[0].shape == VideoShape(context=8, channels=4, height=6, width=6)
    assert suite.runs[0].evaluations[0].spec.data == "file:{split}.npy"


def test_thinking_may_be_given(tmp_path: Path) -> None:
    given = {"kind": "descent", "steps": 6, "samples": 2}
    suite = load(
        tmp_path, {"data": DIGITS, "context": 5}, thinking=given, only={"adapter": ["energy"]}
    )
    (evaluation,) = [e for run in suite.runs for e in run.evaluations]
    assert evaluation.spec.model_dump()["thinking"] == Descent(steps=6, samples=2).model_dump()
    with pytest.raises(HarnessError, match="cannot think that way"):
        load(tmp_path, {"data": DIGITS, "context": 5}, thinking=given)


@pytest.mark.parametrize(
    ("task", "evaluation", "place", "message"),
    [
        ({"context": 16}, {}, "task.context", r"(?s)16 frames, too few.*1 to 15"),
        (
            {"context": 4, "data": "builtin/digits"},
            {},
            "task.data",
            "holds image, this needs video",
        ),
        ({"context": 4, "data": "file:none.npy"}, {}, "task.data", "no such file of clips"),
        ({"context": 4, "data": "file:a.mp4"}, {}, "task.data", r"(?s)no file of this kind.*\.npz"),
        ({"context": 4, "data": "file:pixels.npy"}, {}, "task.data", "floating-point"),
        ({"context": 9, "data": "file:train.npy"}, {}, "task.context", "1 to 8"),
        (
            {"context": 4, "data": "file:train.npy"},
            {},
            "e.data",
            "holds frames of 1 x 16 x 16, the model is trained on 4 x 6 x 6",
        ),
        (
            {"context": 4, "data": "file:train.npy"},
            {"data": "file:small.npy"},
            "e.data",
            "holds frames of 4 x 5 x 6",
        ),
        (
            {"context": 4, "data": "file:train.npy"},
            {"data": "file:short.npy"},
            "e.data",
            "4 frames, too few for a context of 4",
        ),
        (
            {"context": 4, "data": "file:train.npy"},
            {"data": "file:{split}.npy", "split": "test"},
            "e.data",
            "no such file of clips",
        ),
        ({"context": 4}, {"thinking": {"kind": "single", "steps": [1]}}, "e.thinking", "no grid"),
    ],
)
@pytest.mark.usefixtures("clips")
def test_mistakes_are_found_before_anything_runs(
    clips: Path, task: dict[str, Any], evaluation: dict[str, Any], place: str, message: str
) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        load(clips, task, **evaluation)
    assert place in (caught.value.where or "")
