"""What a data set is called in tables and figures: short where its own name says where it lies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from harness.data.names import HUB_PREFIX, is_source

#: A name that says no more than the split, and perhaps a year or part.
_ONLY_SPLIT = re.compile(r"\{split\}[\d\W_]*")


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> `gsm8k`, `squad/dev.json` or `squad_v2`; whole where two sets would share one."""
    distinct = list(dict.fromkeys(names))
    short = {name: _short(name) for name in distinct}
    shared = Counter(short.values())
    return {name: s if shared[s] == 1 else " ".join(name.split()) for name, s in short.items()}


def _short(name: str) -> str:
    if not is_source(name):
        return name
    place = name.partition(":")[2].partition("#")[0].partition("?")[0]
    if not name.startswith(HUB_PREFIX):
        path = PurePosixPath(place)
        if _ONLY_SPLIT.fullmatch(path.name.partition(".")[0]) and path.parent.name:
            return path.parent.name
        return "/".join(path.parts[-2:]).lstrip("/")
    dataset, _, config = place.partition(":")
    last = PurePosixPath(dataset.partition("@")[0]).name
    return f"{last}:{config}" if config else last
