"""What evaluations of several models need alike: found by the first, kept for the others."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.provenance import package_folder
from harness.records import locked, read_json, write_json

#: The engine's packages that read data and evaluate; a model's source changes none of this.
_SOURCES = ("data", "evals")


def kept(folder: Path, identity: Mapping[str, Any], find: Callable[[], Any]) -> Any:
    """The JSON that `find` returns, read from `folder` where that of the same `identity` was found
    by the same source code before. Others that look for it at once wait.
    """
    content = json.dumps({"source": source_digest(), **identity}, sort_keys=True)
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"
    with locked(path.with_suffix(".lock"), wait_seconds=math.inf):
        if not path.exists():
            write_json(path, find())
        return read_json(path)


@cache
def source_digest() -> str:
    """Digest of the source code that what is kept comes from."""
    engine, digest = package_folder("harness"), hashlib.sha256()
    for name in _SOURCES:
        for file in sorted((engine / name).rglob("*.py")):
            known = file.relative_to(engine).as_posix().encode()
            digest.update(known + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
