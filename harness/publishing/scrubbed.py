"""What tells of a machine or its user, found in texts that others are to read."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from harness.data.names import is_source

#: Texts of a spec that are read, not looked up: a slash in them begins no path.
PROSE = ("prompt", "answer", "texts")
_HIDDEN = "…"
#: Where a path from the root or a home folder begins: at a name, an option or an item of a list.
_ROOTED = re.compile(r"(?:^|(?<=[=:,\s\"'(\[{]))(?:/(?=[^\s/])|~[\w.-]*(?:/|$))")
#: The whole of such a path within a word of a command.
_WHOLE = re.compile(r"(?:^|(?<=[^\w.*?}\])/-]))(?:/+(?=[^\s/])|~[\w.-]*/)[^\s,;\"'\])}]*")
_PROGRAM_AND_VERB = 2


def is_private(text: str) -> bool:
    """Whether it names a place from the root of this machine, or below a home folder."""
    named = text.partition("#")[0] if is_source(text) else text
    return _ROOTED.search(named) is not None


def private_texts(document: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(dotted place, text) of each private text of a JSON document, its keys included.

    Prose is private where it names this user's home folder.
    """
    if isinstance(document, str):
        prose = not set(PROSE).isdisjoint(place.split("."))
        if _names_home(document) if prose else is_private(document):
            yield place, document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            if is_private(key):
                yield place, key
            yield from private_texts(value, f"{place}.{key}".lstrip("."))
    elif isinstance(document, Sequence):
        for value in document:
            yield from private_texts(value, place)


def scrubbed_command(words: Sequence[str]) -> list[str]:
    """A command line as others may read it: rooted paths by their last part, no machine, no user.

    The program and its verb stay, whatever the machine is called.
    """
    shortened = [_WHOLE.sub(lambda found: _last_part(found[0]), word) for word in words]
    kept, rest = shortened[:_PROGRAM_AND_VERB], shortened[_PROGRAM_AND_VERB:]
    names = _names()
    return kept + [names.sub(_HIDDEN, word) for word in rest]


def _names() -> re.Pattern[str]:
    """What this machine and its user are called."""
    host = socket.gethostname()
    names = {host, host.partition(".")[0], _user(), Path.home().name} - {""}
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{either or '(?!)'})(?![\w-])", re.IGNORECASE)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return ""


def _last_part(path: str) -> str:
    return PurePosixPath(path).name or _HIDDEN


def _names_home(text: str) -> bool:
    home = str(Path.home())
    return len(home) > 1 and re.search(rf"{re.escape(home)}(?![\w-])", text) is not None
