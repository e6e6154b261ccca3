"""Files of a finished folder that were found whole once are not read through at each start.

The state of the files is kept beside them, and speaks for them until one changes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKED = "checked.json"
#: Files of fewer bytes in all are read through whenever they are opened.
LARGE_BYTES = 1 << 24
#: A file that changed this recently may change again within one tick of its clock.
SETTLED_SECONDS = 2.0


def is_checked(folder: Path, names: Sequence[str]) -> bool:
    """These very files were read through before and were as they should be."""
    return not unchecked(folder, names)


def unchecked(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the files of which that is not known: all where they are small."""
    states = _states(folder, names)
    if not _are_large(states) or not (folder / CHECKED).is_file():
        return list(names)
    try:
        known = json.loads((folder / CHECKED).read_bytes())
    except ValueError:
        return list(names)
    known = known if isinstance(known, dict) else {}
    return [name for name in names if known.get(name) != states[name]]


def note_checked(folder: Path, names: Sequence[str]) -> None:
    """So that large files, which were read or written just now, are not read at each start.

    Those that changed within the last tick may change again unseen: they are read once more.
    """
    states = _states(folder, names)
    settled = time.time_ns() - round(SETTLED_SECONDS * 1e9)
    known = {name: state for name, state in states.items() if state[2] < settled}
    if not known or not _are_large(states):
        return
    with contextlib.suppress(OSError):  # another's folder: it is read each time
        temporary = folder / f".{CHECKED}.{time.time_ns()}"
        temporary.write_text(json.dumps(known))
        temporary.replace(folder / CHECKED)


def set_aside(folder: Path) -> None:
    """Remove a damaged folder, out of the way at once."""
    if folder.exists():
        damaged = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        try:
            folder.rename(damaged / folder.name)
        finally:
            shutil.rmtree(damaged, ignore_errors=True)


def _states(folder: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """Bytes of each file, and what changes when it is written."""
    stats = {name: (folder / name).stat() for name in names}
    return {name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in stats.items()}


def _are_large(states: Mapping[str, list[int]]) -> bool:
    return sum(size for size, *_ in states.values()) >= LARGE_BYTES
