"""Runs that decide nothing, whichever suite shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.planning.suite import load_suite

#: Where suites that ship lie: where `harness ls suites` looks, and beside the source.
_SHIPPED = (Path("suites"), Path(__file__).parents[3] / "suites")
_KEY = re.compile(r"^exploratory\s*:", re.MULTILINE)


def distrusted(suites: Sequence[Suite]) -> dict[str, str]:
    """Run id -> why nothing that reads it decides: of the suites given and of those that ship.

    A suite of one's own that lies elsewhere counts only where it is given.
    """
    found: dict[str, str] = {}
    given = {suite.path.resolve() for suite in suites if not suite.overrides}
    for suite in (*suites, *_shipped(given)):
        if suite.exploratory:
            reason = f"suite {suite.name}: {suite.exploratory}"
            found = dict.fromkeys((run.run_id for run in suite.runs), reason) | found
    return found


def _shipped(given: set[Path]) -> Iterator[Suite]:
    paths = (path.resolve() for folder in _SHIPPED for path in sorted(folder.rglob("*.yaml")))
    for path in dict.fromkeys(paths):
        if path not in given and path.is_file():
            suite = _exploratory(path, path.stat().st_mtime_ns)
            if suite is not None:
                yield suite


@lru_cache(maxsize=1024)
def _exploratory(path: Path, changed: int) -> Suite | None:
    """The suite at `path` where it says so; a broken one of no concern to those given is none."""
    try:
        if not _KEY.search(path.read_text(encoding="utf-8")):
            return None
        return load_suite(path, needs_data=False)
    except (HarnessError, OSError, ValueError):
        return None
