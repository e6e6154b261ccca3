"""Files of a finished folder that were read through once and found whole: not again at each start.

The state of the files is kept beside them, and speaks for them until one changes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CHECKED = "checked.json"
#: Files of fewer bytes in all are read through whenever they are opened.
LARGE_BYTES = 1 << 24
#: A file that changed this recently may change again within one tick of its clock.
SETTLED_SECONDS = 2.0


def is_checked(folder: Path, names: Sequence[str]) -> bool:
    """These very files were read through before and were as they should be."""
    state = _state(folder, names)
    if state is None or not (folder / CHECKED).is_file():
        return False
    try:
        return bool(json.loads((folder / CHECKED).read_bytes()) == state)
    except ValueError:
        return False


def note_checked(folder: Path, names: Sequence[str]) -> None:
    """So that large files are not read at each start. One just written may change unseen."""
    state = _state(folder, names)
    if state is None or time.time_ns() - max(s[2] for s in state) < SETTLED_SECONDS * 1e9:
        return
    with contextlib.suppress(OSError):  # another's folder: it is read each time
        temporary = folder / f".{CHECKED}.{time.time_ns()}"
        temporary.write_text(json.dumps(state))
        temporary.replace(folder / CHECKED)


def set_aside(folder: Path) -> None:
    """Remove a damaged folder, out of the way at once."""
    if folder.exists():
        damaged = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        try:
            folder.rename(damaged / folder.name)
        finally:
            shutil.rmtree(damaged, ignore_errors=True)


def _state(folder: Path, names: Sequence[str]) -> list[list[int]] | None:
    """What changes when a large file of the folder is written; None for small ones."""
    stats = [(folder / name).stat() for name in names]
    if sum(s.st_size for s in stats) < LARGE_BYTES:
        return None
    return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in stats]
