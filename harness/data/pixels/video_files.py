"""The videos of a folder: files, subfolders of frames, or Something-Something v2 as it is given.

Something-Something v2 is a root with its lists, `labels/train.json` and so on or
`something-something-v2-train.json`, and a folder of `ID.webm`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.names import FILE_SPLITS
from harness.data.pixels.sources import IMAGE_SUFFIXES, PixelSource, SplitPixels
from harness.errors import HarnessError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv", ".mpg", ".mpeg")
_LISTS = ("labels/{split}.json", "something-something-v2-{split}.json")
#: Folders of a root with lists that may hold the files, and the one that is meant in an error.
_LISTED_IN = ("20bn-something-something-v2", "videos", ".")
_LISTED_SUFFIX = ".webm"


class NamedVideo(NamedTuple):
    """A video, what it is called and where it lies; None where a list has it and the disk not."""

    name: str
    where: Path
    video: Path | tuple[Path, ...] | None


class _Folder(NamedTuple):
    """What a folder holds itself: files of videos, and files of frames, sorted."""

    videos: list[Path]
    frames: list[Path]


def check_videos(found: SplitPixels) -> None:
    """HarnessError unless the folder holds videos that the options fit; looks no further than it
    must to know.
    """
    source = found.source
    (root,) = source.files(found.split)
    if _is_listed(root):
        _check_options(source, in_frames=False)
        _check_listed(source)
        _list_file(root, found.split)
        return
    for place, folder in enumerate(_folders(root)):
        if place == 0 and folder.frames and not folder.videos:
            raise HarnessError(
                "images that lie in the folder itself are no video: each has a subfolder of its "
                "frames",
                where=str(source),
                given=_name(folder.frames[0], root),
                hint="put the frames of each video in a folder of its own; without frames= they "
                "are images",
            )
        if folder.videos or folder.frames:
            _check_options(source, in_frames=not folder.videos)
            return
    raise _no_videos(root)


def find_videos(found: SplitPixels) -> Iterator[NamedVideo]:
    """Every video of the source in order, whatever is held out.

    HarnessError where there is none, or a listed one is not there and `broken=skip` is not said.
    """
    check_videos(found)
    (root,) = found.source.files(found.split)
    if _is_listed(root):
        yield from _listed_videos(root, found)
        return
    first: _Folder | None = None
    for folder in _folders(root):
        if not folder.videos and not folder.frames:
            continue
        first = first or folder
        if (folder.videos or first.videos) and (folder.frames or first.frames):
            raise HarnessError(
                "the folder holds both video files and frames as images",
                where=str(root),
                given=", ".join(_name(p, root) for p in _one_of_each(first, folder)),
                hint="give each its own folder: which of them are clips cannot be told",
            )
        for path in folder.videos:
            yield NamedVideo(_name(path, root), path, path)
        if folder.frames:
            inside = folder.frames[0].parent
            yield NamedVideo(_name(inside, root), inside, tuple(folder.frames))


def _one_of_each(*folders: _Folder) -> tuple[Path, Path]:
    videos = [path for folder in folders for path in folder.videos]
    frames = [path for folder in folders for path in folder.frames]
    return videos[0], frames[0]


def _folders(root: Path) -> Iterator[_Folder]:
    """The folder and all below it, sorted; none that is hidden."""
    for place, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        here = [Path(place, name) for name in names if not name.startswith(".")]
        yield _Folder(
            sorted(path for path in here if path.suffix.lower() in VIDEO_SUFFIXES),
            sorted((p for p in here if p.suffix.lower() in IMAGE_SUFFIXES), key=_by_number),
        )


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Names in order, numbers in them by value: frame 2 comes before frame 10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _name(path: Path, root: Path) -> str:
    return root.name if path == root else path.relative_to(root).as_posix()


def _check_options(source: PixelSource, *, in_frames: bool) -> None:
    if in_frames and source.seconds is not None and source.fps is None:
        raise HarnessError(
            "frames as images do not say how many there are a second",
            where=str(source),
            given=f"seconds={source.seconds:g}",
            hint="write &fps=N, or leave out seconds to take every frame",
        )
    if not in_frames and source.fps is not None:
        raise HarnessError(
            "fps is for folders of frames: video files say the time of each frame themselves",
            where=str(source),
            given=f"fps={source.fps:g}",
            hint="leave it out; seconds=S says how far apart the frames of a clip are",
        )


def _no_videos(root: Path) -> HarnessError:
    return HarnessError(
        "the folder holds no video and no frames",
        where=str(root),
        allowed=(*VIDEO_SUFFIXES, f"subfolders of {IMAGE_SUFFIXES[0]} and the like"),
    )


# --- Something-Something v2 ------------------------------------------------------------------


def _is_listed(root: Path) -> bool:
    lists = (form.format(split=split) for form in _LISTS for split in FILE_SPLITS)
    return any((root / name).is_file() for name in lists)


def _check_listed(source: PixelSource) -> None:
    if source.holdout is not None:
        raise HarnessError(
            "the folder has lists of its own splits, so nothing is held out",
            where=str(source),
            given=f"holdout={source.holdout:g}",
            hint="leave it out",
        )


def _list_file(root: Path, split: str) -> Path:
    paths = [root / form.format(split=split) for form in _LISTS]
    for path in paths:
        if path.is_file():
            return path
    raise HarnessError(
        f"the folder has no list of the split {split}",
        where=str(root),
        given=_name(paths[0], root),
        hint=f"looked for {' and '.join(_name(path, root) for path in paths)}",
    )


def _listed_videos(root: Path, found: SplitPixels) -> Iterator[NamedVideo]:
    names = [f"{number}{_LISTED_SUFFIX}" for number in _ids(_list_file(root, found.split))]
    for place in _LISTED_IN:
        if (root / place).is_dir():
            there = set(os.listdir(root / place))
            if place == "." or any(name in there for name in names):
                break
    missing = [name for name in names if name not in there]
    if missing and found.source.broken != "skip":
        raise HarnessError(
            f"{len(missing):,} of {len(names):,} listed videos are not in the folder",
            where=str(root),
            given=missing[0],
            hint=f"they are looked for in {', '.join(_LISTED_IN[:-1])} and the folder itself; "
            "&broken=skip does without those that are not there",
        )
    paths = [(name, root / place / name) for name in names]
    yield from (NamedVideo(name, path, path if name in there else None) for name, path in paths)


def _ids(path: Path) -> list[str]:
    """The ids of a list: of each entry, `id`."""
    try:
        read: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HarnessError(f"the list of videos cannot be read: {error}", where=str(path)) from None
    entries = read if isinstance(read, list) else [read]
    ids = []
    for number, entry in enumerate(entries):
        found = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(found, str | int) or not re.fullmatch(r"[\w-]+", str(found)):
            raise HarnessError(
                "a list of videos holds entries with an id each",
                where=f"{path}, entry {number}",
                given=str(entry)[:80],
                allowed=('[{"id": "78687", ...}, ...]',),
            )
        ids.append(str(found))
    return ids
