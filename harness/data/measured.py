"""What was measured of the user's own data: their digest, kept until a file of them changes.

A lock file beside the cache says what each prepared name stood for, so that a name whose content
has changed since is refused.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from harness.data.corpora.sources import names_records, parse_records, parse_source
from harness.data.corpora.streams import SplitSource, split_named, split_source
from harness.data.documents import TextDigest
from harness.data.names import Source, is_source
from harness.data.pixels.folder_classes import folder_classes
from harness.data.pixels.sources import SplitPixels, names_pixels, parse_pixels, split_pixels
from harness.errors import HarnessError
from harness.records import locked, read_json, write_json

#: Beside the cache folder: what each prepared name stood for.
LOCK = "data.lock.json"
#: Files of fewer bytes in all are read again each time.
SMALL_BYTES = 1 << 22
#: A file that changed this recently may change again within one tick of its clock.
_SETTLED_SECONDS = 2.0

#: Path, bytes, times of last change of content and of anything, and inode, of each file; of a
#: folder, a hash of those of all files in it, their bytes, newest times and number. Of what is no
#: file, a hash and zeros.
Fingerprint = tuple[tuple[str, int, int, int, int], ...]


A = TypeVar("A")


@dataclass(frozen=True)
class Measured:
    """The content of a split: digest, documents, images or clips, bytes of text or as encoded."""

    digest: str
    items: int
    bytes: int


class Split(Protocol):
    """One split of a source."""

    @property
    def source(self) -> Source: ...
    @property
    def split(self) -> str: ...


def measure_source(name: str, split: str, *, cache: Path | None) -> Measured:
    """What a split of `file:…` or `hub:…` holds: as it was measured before, else by reading it.

    HarnessError for a bad name, or what cannot be read; and for what lies on the Hub and was not
    prepared yet, which is not read whole for its digest alone.
    """
    found = split_source(name, split)
    known = recall(found, cache)
    if known is not None:
        return known
    if not found.source.is_local:
        raise HarnessError(
            "this dataset of the Hub is not prepared here",
            where=f"{name} ({split})",
            hint=f"harness prepare '{name}' --split {split}"
            + ("; or `split: test`, if there is none" if split == "validation" else ""),
        )
    before = fingerprint(found)
    digest = TextDigest()
    for _, text in found.documents():
        digest.add(text)
    if digest.documents == 0:
        raise found.nothing()
    measured = Measured(digest.hexdigest(), digest.documents, digest.size)
    remember(found, before, measured, cache)
    return measured


def prepared_digest(name: str, split: str, cache: Path | None) -> str | None:
    """The digest of what was prepared into `cache`; None where nothing was."""
    found = split_pixels(name, split) if names_pixels(name) else split_named(name, split)
    known = recall(found, cache)
    return None if known is None else known.digest


def fingerprint(found: Split) -> Fingerprint:
    """What tells whether a split's files are as they were, without reading them.

    So are the classes of a folder of images, whose numbers depend on other splits too.
    """
    files = tuple(map(_state, found.source.files(found.split)))
    if (
        isinstance(found, SplitPixels)
        and found.source.layout == "folder"
        and not found.source.frames
    ):
        classes = json.dumps(folder_classes(found.source, found.split))
        files += ((hashlib.sha256(classes.encode()).hexdigest(), 0, 0, 0, 0),)
    return files


def _state(path: Path) -> tuple[str, int, int, int, int]:
    if path.is_dir():
        return _folder_state(path)
    s = path.stat()
    return str(path.resolve()), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino


def _folder_state(folder: Path) -> tuple[str, int, int, int, int]:
    """Of a folder that may hold millions of files: none of their names is kept."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    size = changed = any_changed = count = 0
    for name, s in _readable(_walked(str(folder)), folder):
        digest.update(f"{name}\0{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}\n".encode())
        size, count = size + s.st_size, count + 1
        changed, any_changed = max(changed, s.st_mtime_ns), max(any_changed, s.st_ctime_ns)
    return digest.hexdigest(), size, changed, any_changed, count


def _walked(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _walked(entry.path)
            elif entry.is_file():
                yield entry.path, entry.stat()


def _readable(walk: Iterator[A], folder: Path) -> Iterator[A]:
    """HarnessError where the walk cannot go on."""
    try:
        yield from walk
    except OSError as error:
        looped = error.errno == errno.ELOOP
        raise HarnessError(
            "a link in the folder leads into itself"
            if looped
            else f"the folder cannot be read: {error.strerror or error}",
            where=str(folder),
            given=error.filename[:200] if looped and error.filename else None,
            hint="remove it" if looped else None,
        ) from error


def is_small(found: Split) -> bool:
    """Its files are read at once and fit in memory."""
    return found.source.is_local and sum(size for _, size, *_ in fingerprint(found)) < SMALL_BYTES


def recall(found: Split, cache: Path | None) -> Measured | None:
    """What was measured of the split; None where it is soon read again, changed or not known."""
    path = _note(found, cache)
    if path is None or not path.is_file():
        return None
    try:
        note: dict[str, Any] = json.loads(path.read_bytes())
        files = tuple(map(tuple, note["files"]))
        return Measured(**note["measured"]) if files == fingerprint(found) else None
    except (ValueError, KeyError, TypeError):
        return None


def remember(found: Split, before: Fingerprint, measured: Measured, cache: Path | None) -> None:
    """Keep what was measured of the files that were like `before`, unless they changed since."""
    path = _note(found, cache)
    if path is None or fingerprint(found) != before or not _settled(before):
        return
    note = {"name": str(found.source), "split": found.split, "measured": asdict(measured)}
    try:
        write_json(path, note | {"files": before})
    except (OSError, HarnessError):
        return  # a full or foreign cache: it is measured again


def check_unchanged(found: Split, before: Fingerprint) -> None:
    """HarnessError where a file of the split is not what it was before it was read."""
    if fingerprint(found) != before:
        raise HarnessError(
            "a file changed while it was read",
            where=str(found.source),
            hint="run the same command again",
        )


def _settled(files: Fingerprint) -> bool:
    # By the time of any change: that of the content is set by whoever copies a file.
    newest = max((any_ for _, _, _, any_, _ in files), default=0)
    return time.time_ns() - newest > _SETTLED_SECONDS * 1e9


def _note(found: Split, cache: Path | None) -> Path | None:
    # A dataset's folder is read by a library that takes seconds to load, and pixels are decoded.
    read_again = isinstance(found, SplitSource) and found.source.kind == "file"
    if cache is None or (read_again and is_small(found)):
        return None
    here = [str(Path.cwd())] if found.source.is_local else []
    key = json.dumps([str(found.source), found.split, *here])
    return cache / "measured" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


# --- the lock file ---------------------------------------------------------------------------


def check_lock(cache: Path, name: str, split: str, digest: str) -> None:
    """HarnessError where the lock file beside `cache` says that the name stood for other data."""
    path = cache.parent / LOCK
    if not is_source(name) or not path.exists():
        return
    known = _locked_entries(path).get(_entry(name, split))
    if known is None or known["digest"] == digest:
        return
    raise HarnessError(
        f"the data changed since they were prepared: {name}/{split} had digest "
        f"{known['digest'][:12]} and has {digest[:12]} now",
        where=str(path),
        hint="bring the old data back, or give the new data another name; to go on with the new "
        "data under this name, delete its entry from that file",
    )


def write_lock(cache: Path, name: str, split: str, measured: Measured) -> None:
    """Note in the lock file what a name stands for from now on. Embedded data need none."""
    if not is_source(name):
        return
    check_lock(cache, name, split, measured.digest)
    path = cache.parent / LOCK
    with locked(cache.parent / f".{LOCK}", wait_seconds=60) as held:
        if not held:
            raise HarnessError("another process keeps the lock file", where=str(path))
        known = _locked_entries(path) if path.exists() else {}
        entries = known | {_entry(name, split): asdict(measured)}
        if entries != known:
            write_json(path, dict(sorted(entries.items())))


def _locked_entries(path: Path) -> dict[str, Any]:
    """What each name stood for, whatever form it was written in."""
    entries = {}
    for key, entry in read_json(path).items():
        name, _, split = key.rpartition("/")
        with suppress(HarnessError):  # what is no name, nobody asks for: it stays as it is
            key = _entry(name, split)
        entries[key] = entry
    return entries


def _entry(name: str, split: str) -> str:
    """One text for all that name the same, such as `holdout=0.1` and `holdout=0.10`."""
    if names_pixels(name):
        return f"{parse_pixels(name)}/{split}"
    parse = parse_records if names_records(name) else parse_source
    return f"{parse(name)}/{split}"
