"""The classes of a folder of images: its subfolders, with one number in every split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.data.pixels.sources import IMAGE_SUFFIXES, WORDS, PixelSource
from harness.errors import HarnessError


def folder_classes(source: PixelSource, split: str) -> tuple[str, ...] | None:
    """The subfolders' names, of all splits together and sorted, so that a number is the same class
    in each; None where images lie beside them, or there is but one.

    A split's only subfolder, such as `images`, is a class where another split has it too: else it
    holds a split without labels, and its name gives no number to anything.
    """
    (root,) = source.files(split)
    of_splits = {place: _subfolders(place) for place in _roots(source, root)}
    several = {name for names in of_splits.values() if len(names) > 1 for name in names}
    own = of_splits[root]
    if not own or not several.issuperset(own):
        return None
    return tuple(sorted(several))


def _roots(source: PixelSource, root: Path) -> set[Path]:
    """Of each split, the folder that would be read."""
    if "{split}" not in source.place:
        return {root}
    found = (next(filter(Path.is_dir, map(Path, source.paths(split))), None) for split in WORDS)
    return {each for each in found if each is not None}


def _subfolders(folder: Path) -> frozenset[str]:
    """Their names, none that is hidden; none at all where images lie beside them."""
    with _listed(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        if any(e.name.lower().endswith(IMAGE_SUFFIXES) and e.is_file() for e in shown):
            return frozenset()
        return frozenset(entry.name for entry in shown if entry.is_dir())


@contextmanager
def _listed(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise HarnessError(
            f"the folder cannot be read: {error.strerror or error}", where=str(folder)
        ) from error
