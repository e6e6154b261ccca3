"""A copy of the source that a submission's jobs will run, so that editing the tree changes none.

Copied are the engine and the packages of the adapters; installed packages are not, so their
versions are noted, and a job that finds others does not run.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.protocol import AdapterRecord
from harness.provenance import (
    SNAPSHOT,
    git_state,
    package_folder,
    package_versions,
    packages_of,
)
from harness.records import read_json, write_json


def take_snapshot(records: Iterable[AdapterRecord], code: Path, *, same_python: bool) -> None:
    """Copy what the adapters' jobs run into the folder `code`.

    `same_python`: jobs run in this interpreter's environment, so its versions must hold there.
    """
    packages = {"harness"}.union(*map(packages_of, records))
    for package in sorted(packages):
        source = package_folder(package)
        if source.is_dir():
            _copy(source, code / package)
        else:
            code.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, code / source.name)
    write_json(code / SNAPSHOT, {"git": git_state(), "environment": _environment(same_python)})


def _copy(source: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".#*")
    try:
        shutil.copytree(source, target, ignore=ignored, ignore_dangling_symlinks=True)
    except (shutil.Error, OSError) as error:
        problem = f"the source cannot be copied: {error}"
        raise HarnessError(problem, where=str(target)) from error


def _environment(same_python: bool) -> dict[str, Any] | None:
    return {"python": platform.python_version(), **package_versions()} if same_python else None


def check_environment(code: Path) -> None:
    """HarnessError where this is not the copied source, or not the packages that were there."""
    running = package_folder("harness").parent.resolve()
    if running != code.resolve():
        raise HarnessError(
            f"the job runs the source in {running}, not the submission's copy",
            hint="let PYTHONPATH, which the script sets, come through to the job's python",
        )
    recorded = read_json(code / SNAPSHOT)["environment"]
    if recorded is None:
        return
    now = _environment(True) or {}
    changed = [
        f"{name} {then} -> {now.get(name)}"
        for name, then in recorded.items()
        if now.get(name) != then
    ]
    if changed:
        raise HarnessError(
            f"the environment changed since the submission: {', '.join(changed)}",
            hint="submit again, so that the run is made whole by one environment",
        )
