"""What provenance keeps, and what it leaves out of what others are to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.provenance import is_changed, is_of_old, without_absolute_paths
from harness.records import RunFolder, write_json
from harness.registry import adapter


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("file:/home/a/videos?size=32&frames=4/train", "file:videos?size=32&frames=4/train"),
        ("file:/home/a/*.parquet#img?size=32/validation", "file:*.parquet#img?size=32/validation"),
        ("file:/home/a/{split}.jsonl#text", "file:{split}.jsonl#text"),
        ("file:/home/a/b.txt/test", "file:b.txt/test"),
        ("hub:/home/a/cifar10#img?size=32/train", "hub:cifar10#img?size=32/train"),
        ("autoencoder /home/a/vae", "autoencoder vae"),
        (
            "hub:openai/gsm8k:main#{question} / {answer}",
            "hub:openai/gsm8k:main#{question} / {answer}",
        ),
        ("builtin/digits/train", "builtin/digits/train"),
    ],
)
def test_absolute_paths_are_shortened_to_their_last_part(text: str, kept: str) -> None:
    assert without_absolute_paths({text: [text]}) == {kept: [kept]}


@pytest.mark.parametrize(
    ("run", "evaluation", "said"),
    [
        ({}, {"provenance": None}, "'provenance' must be an object"),
        ({}, {"provenance": {"data": ["a"]}}, "'provenance.data' must be an object"),
        ({"data": {"builtin/docs": 3}}, {"provenance": {}}, "'data.builtin/docs' must be a text"),
    ],
)
def test_a_damaged_record_is_one_error(
    tmp_path: Path, run: dict[str, Any], evaluation: dict[str, Any], said: str
) -> None:
    folder = RunFolder(tmp_path, "run")
    made = folder.evaluation("made")
    for place in (folder.path, made.path):
        place.mkdir(parents=True)
    write_json(folder.provenance, run)
    write_json(made.done, evaluation)
    record = adapter("ebt_text")
    with pytest.raises(HarnessError, match=said) as error:
        is_changed(record, folder, ["made"])
    assert error.value.where in (str(folder.provenance), str(made.done))
    if run == {}:
        with pytest.raises(HarnessError, match=said):
            is_of_old(record, made)
