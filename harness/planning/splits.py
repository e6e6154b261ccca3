"""The split that an evaluation reads where it names none."""

from __future__ import annotations

from collections.abc import Sequence

from harness.data.clips import find_clip_file, is_clip_file
from harness.data.corpora.streams import split_named
from harness.data.names import is_source
from harness.data.pixels.sources import names_pixels, split_pixels
from harness.errors import HarnessError

_PREFERRED = ("validation", "test", "train")


def default_split(name: str, splits: Sequence[str]) -> str:
    """The first of validation, test and train among those that a set may have.

    Where a path has {split} in it, the first whose files are there. Of the Hub, which planning does
    not ask, it is validation.
    """
    possible = [split for split in _PREFERRED if split in splits]
    if not is_source(name) or "{split}" not in name:
        return possible[0]
    return next((split for split in possible if _is_there(name, split)), possible[0])


def _is_there(name: str, split: str) -> bool:
    try:
        if names_pixels(name):
            split_pixels(name, split)
        elif is_clip_file(name):
            find_clip_file(name, split=split)
        else:
            split_named(name, split)
    except HarnessError:
        return False
    return True
