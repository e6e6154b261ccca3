"""`harness prepare` on images: what it says, what it leaves, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from harness.cli import app
from harness.data import measured
from harness.data.datasets import load_images
from harness.data.pixels import prepared_images
from harness.errors import HarnessError

NAME = "file:{split}?size=8"
SUITE = """
suite: prepared
version: 1
description: reads two sets
experiments:
  images:
    base:
      task: {kind: denoising, data: "file:{split}?size=8"}
      batch_size: 2
      budget: {steps: 2}
      optimizer: {lr: 1e-3}
    adapters:
      dit: {adapter: dit_image, config: {depth: 1, width: 8, heads: 1, patch_size: 4}}
    seeds: [0, 1]
    evaluations:
      held:
        kind: denoising
        data: "file:{split}?size=8"
        levels: [0.1]
        thinking: [{kind: diffusion, steps: 1}]
      seen:
        kind: denoising
        data: "file:{split}?size=8"
        split: train
        levels: [0.1]
        thinking: [{kind: diffusion, steps: 1}]
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two splits in two classes, and a suite that reads them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    for split, first in (("train", 0), ("val", 50)):
        for index in range(first, first + 6):
            path = tmp_path / split / ("cat" if index % 2 else "dog") / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path)
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


def harness(*arguments: str) -> Any:
    """The verb's exit code and output; what `main` would print as an error is raised."""
    result = CliRunner().invoke(app, ["prepare", *arguments, "--results", "r"])
    if isinstance(result.exception, HarnessError):
        raise result.exception
    return result


def test_a_suite_is_prepared_once() -> None:
    first = harness("suite.yaml", "--json")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert told["problems"] == []
    assert [(each["data"], each["split"]) for each in told["prepared"]] == [
        (NAME, "train"),
        (NAME, "validation"),
    ]
    images = load_images(NAME, "train", cache=Path("r/data"))
    found = told["prepared"][0]
    assert found["digest"] == images.digest
    assert (found["items"], found["shape"], found["classes"]) == (6, [3, 8, 8], 2)
    assert (found["skipped"], found["empty"], found["sources"]) == ([], 0, 6)
    assert found["seconds"] > 0
    again = json.loads(harness("suite.yaml", "--json").stdout)["prepared"]
    assert {each["seconds"] for each in again} == {None}
    lock = json.loads(Path("r/data.lock.json").read_text())
    assert lock[f"{NAME}/train"]["digest"] == images.digest
    assert lock[f"{NAME}/train"]["items"] == 6


def test_shared_images_are_found_before_anything_is_trained(place: Path) -> None:
    (place / "val" / "cat" / "copy.png").write_bytes(
        (place / "train" / "cat" / "3.png").read_bytes()
    )
    result = harness("suite.yaml")
    assert result.exit_code == 1
    assert "not disjoint 1 of 7 images" in " ".join(result.output.split())
    dropping = "\n        levels: [0.1]\n        overlap: drop\n"
    held, seen = SUITE.split("      seen:")
    held = held.replace("\n        levels: [0.1]\n", dropping)
    (place / "suite.yaml").write_text(f"{held}      seen:{seen}")
    result = harness("suite.yaml", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["problems"] == []
    said = " ".join(result.stderr.split())
    assert f"{NAME} (validation): 1 of 7 images are in {NAME} (train) too" in said
    assert "overlap: drop do without them" in said
    refusing = seen.replace("split: train", "split: validation")
    (place / "suite.yaml").write_text(f"{held}      seen:{refusing}")
    assert harness("suite.yaml").exit_code == 1, "one evaluation that refuses is enough"


def test_a_suite_says_where_it_names_what_cannot_be_read(place: Path) -> None:
    (place / "val" / "cat" / "bad.jpg").write_bytes(b"")
    with pytest.raises(HarnessError, match=r"bad\.jpg") as caught:
        harness("suite.yaml")
    line = next(n for n, text in enumerate(SUITE.splitlines(), 1) if "file:{split}?size=8" in text)
    assert str(caught.value.where).startswith(f"suite.yaml:{line} experiments.")
    with pytest.raises(HarnessError, match=r"bad\.jpg") as caught:
        harness("suite.yaml", "--set", "experiments.images.evaluations.held.data=file:val?size=8")
    assert caught.value.where == "--set"


def test_one_set_says_what_it_became_and_what_was_left_out(place: Path) -> None:
    (place / "val" / "cat" / "bad.jpg").write_bytes(b"")
    with pytest.raises(HarnessError, match=r"bad\.jpg(.|\n)*broken=skip"):
        harness(NAME, "--split", "validation")
    said = " ".join(harness(f"{NAME}&broken=skip", "--split", "validation").output.split())
    assert "6 images of 3 x 8 x 8, 2 classes (cat, dog)" in said
    assert "images/s" in said
    assert "left out, because broken: 1 cat/bad.jpg: it is empty" in said
    again = harness(f"{NAME}&broken=skip", "--split", "validation").output
    assert "found prepared" in again
    assert "cat/bad.jpg" in again


def test_what_is_interrupted_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepared_images, "prepare_pixels", interrupted)
        result = harness(NAME)
        streamed = harness("hub:owner/name#image?size=8")
    assert result.exit_code == streamed.exit_code == 130
    assert "The same command goes on" in result.output
    assert "hf download" not in result.output
    assert "streams it again from the Hub" in streamed.output
    assert harness(NAME).exit_code == 0


def test_a_prepared_name_does_not_change_its_meaning(place: Path) -> None:
    harness(NAME)
    (place / "train" / "cat" / "1.png").unlink()
    with pytest.raises(HarnessError, match=r"the data changed(.|\n)*delete its entry"):
        harness(NAME)
    Path("r", measured.LOCK).unlink()
    assert "5 images" in harness(NAME).output


@pytest.mark.parametrize(
    ("prepared", "again"),
    [
        ("channels=1&size=8", "size=8&channels=1"),
        ("size=8&holdout=0.10", "holdout=0.1&size=8"),
        ("size=8&channels=3", "size=8"),
        ("size=08", "size=8"),
    ],
)
def test_a_name_is_the_same_in_whatever_form(prepared: str, again: str, place: Path) -> None:
    harness(f"file:train?{prepared}")
    for path in place.glob("train/*/*.png"):
        path.write_bytes(
            path.with_name("0.png" if path.parent.name == "dog" else "1.png").read_bytes()
        )
    for options in (prepared, again):
        with pytest.raises(HarnessError, match="the data changed since they were prepared"):
            harness(f"file:train?{options}")


def test_an_entry_in_another_form_is_the_names(place: Path) -> None:
    harness("file:train?size=8&channels=1")
    lock = Path("r", measured.LOCK)
    (entry,) = json.loads(lock.read_text()).values()
    lock.write_text(json.dumps({"file:train?channels=1&size=8/train": entry, "no: name": {}}))
    (place / "train" / "cat" / "1.png").unlink()
    with pytest.raises(HarnessError, match="the data changed since they were prepared"):
        harness("file:train?size=8&channels=1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], r"a folder of images is named file:train\?size=32"),
        (["file:train"], r"write file:train\?size=32"),
        (["file:{split}?size=8", "--split", "test"], "no such folder"),
        (["file:{split}?size=8", "--split", "dev"], "no such split"),
        (["file:train?size=8", "--tokenizer", "gpt2"], "only text has a tokenizer"),
        (["file:suite.yaml?size=8"], "it is a file, of none of the kinds"),
    ],
)
def test_wrong_input_is_explained(arguments: list[str], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        harness(*arguments)
    assert not Path("r").exists(), "nothing is written"
