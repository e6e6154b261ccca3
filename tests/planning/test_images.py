"""Suites on images of the user's own: planned without reading one, and wrong names explained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.planning.suite import load_suite

SUITE = """\
suite: own
experiments:
  images:
    base:
      task: {kind: denoising, data: "TRAIN"}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
    adapters:
      dit:
        adapter: dit_image
        config: {depth: 1, width: 8, heads: 1, patch_size: 4}
    evaluations:
      clean:
        kind: denoising
        data: "EVALUATION"
        levels: [0.1]
        thinking: [{kind: diffusion, steps: [1]}]
"""
COCO = "file:coco/{split}2014?size=16"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with COCO's, and a file of text."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        (tmp_path / "coco" / f"{split}2014").mkdir(parents=True)
        (tmp_path / "coco" / f"{split}2014" / "1.jpg").touch()
    (tmp_path / "text.parquet").touch()
    return tmp_path


def written(place: Path, train: str = COCO, evaluation: str = COCO) -> Path:
    path = place / "suite.yaml"
    path.write_text(SUITE.replace("TRAIN", train).replace("EVALUATION", evaluation))
    return path


def test_a_name_says_what_a_model_is_built_for(place: Path) -> None:
    (run,) = load_suite(written(place)).runs
    assert (run.shape.channels, run.shape.height, run.shape.width) == (3, 16, 16)
    assert run.evaluations[0].spec.split == "validation"


def test_images_of_the_hub_are_planned_without_network(place: Path) -> None:
    """In a process of its own: nothing that reads images or talks to the Hub is even loaded."""
    name = "hub:ILSVRC/imagenet-1k@abc:default#image?size=128&label=label"
    script = """
import sys
from pathlib import Path
from harness.planning.suite import load_suite
run = load_suite(Path(sys.argv[1])).runs[0]
print(run.shape.width, run.evaluations[0].spec.split)
loaded = {"datasets", "huggingface_hub", "pyarrow", "PIL", "torch"} & sys.modules.keys()
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(written(place, name, name))],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "128 validation\n", done.stderr


@pytest.mark.parametrize(
    ("train", "evaluation", "said"),
    [
        ("file:coco/{split}2015?size=16", COCO, r"suite\.yaml:5 (.|\n)*no such folder"),
        (COCO, "file:coca?size=16", r"suite\.yaml:16 (.|\n)*no such folder"),
        (COCO, "file:coco/{split}2014?size=32", "holds images of 3 x 32 x 32"),
        (COCO, "file:coco/{split}2014?size=16&channels=1", "holds images of 1 x 16 x 16"),
        (COCO, "file:coco/{split}2014?sise=16", "did you mean 'size'"),
        (COCO, "file:coco/{split}2014", "need the size"),
        ("file:text.parquet#text", COCO, r"holds text, this needs image(.|\n)*size=N makes it"),
        (COCO, "file:coco/{split}2014?size=16&frames=4", "holds video, this needs image"),
        ("file:coco/train2014?size=16&holdout=0.1", COCO.replace("}2014", "}2013"), "looked for"),
    ],
)
def test_wrong_names_are_found_before_anything_runs(
    train: str, evaluation: str, said: str, place: Path
) -> None:
    with pytest.raises(HarnessError, match=said):
        load_suite(written(place, train, evaluation))
