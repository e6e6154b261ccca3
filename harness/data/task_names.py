"""The names of tasks in folders of lm-eval's YAMLs, read by pattern.

lm-eval brings 14,000 files, which take YAML a quarter of a minute and this half a second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_NAME = re.compile(
    r"""^["']?(task|group|tag|include)["']?:[ \t]*(.*?)[ \t]*$"""
    r"""((?:\n[ \t]*-[ \t]+.*$)*)""",
    re.MULTILINE,
)
_IGNORED = ("__pycache__", ".ipynb_checkpoints")


def names_of(folder: Path) -> dict[str, tuple[str, Path]]:
    """Name -> (kind, YAML) of a folder's tasks; of two of one name, the first in order of path."""
    found: dict[str, tuple[str, Path]] = {}
    tags: dict[str, tuple[str, Path]] = {}
    for path in yamls_of(folder):
        named = _names_in(path)
        if "group" in named:
            found.setdefault(named["group"][0], ("group", path))
        elif len(named.get("task", ())) == 1:
            found.setdefault(named["task"][0], ("task", path))
        else:
            continue
        for tag in named.get("tag", ()):
            tags.setdefault(tag, ("tag", path))
    return found | {name: tag for name, tag in tags.items() if name not in found}


def _names_in(path: Path, depth: int = 8) -> dict[str, list[str]]:
    """What a file says of task, group and tag, by itself or by what it includes."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}  # an include that is not there: lm-eval leaves the task out
    named = {key: _listed(value, items) for key, value, items in _NAME.findall(text)}
    for name in named.pop("include", ()) if depth else ():
        named = _included(path.parent / name, depth - 1) | named
    return {key: values for key, values in named.items() if values and values[0]}


@cache
def _included(path: Path, depth: int) -> dict[str, list[str]]:
    return _names_in(path, depth)


def yamls_of(folder: Path) -> Iterator[Path]:
    """Every YAML below a folder, in order."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _IGNORED)
        yield from (Path(place, name) for name in sorted(files) if name.endswith(".yaml"))


def _bare(text: str) -> str:
    """A YAML scalar without quotes and comment."""
    return re.sub(r"\s+#.*$", "", text).strip("'\"")


def _listed(value: str, items: str) -> list[str]:
    """A YAML scalar, or list in either style."""
    written = value.strip("[]").split(",") if value else re.findall(r"-[ \t]+(.*)", items)
    return [name for each in written if (name := _bare(each.strip()))]
