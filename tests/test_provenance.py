"""What provenance keeps, and what it leaves out of what others are to read."""

from __future__ import annotations

import pytest

from harness.provenance import without_absolute_paths


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
