"""`harness doctor`: whether this installation can run, one line per check and what to do."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from rich.text import Text

from harness.data.embedded.text import DOCS_SHA256, SNAPSHOTS, SOURCE_SHA256
from harness.errors import HarnessError
from harness.launch.slurm import commands
from harness.launch.slurm.limits import array_size
from harness.provenance import git_state
from harness.quantities import si
from harness.records import locked
from harness.registry import adapter, adapter_names
from harness.show.console import terminal

DISTRIBUTION = "ebt-harness"
PYTHON = ((3, 11), (3, 13))
_STYLES = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}

Verdict = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True)
class Check:
    """What one check found; `advice` says what to do about a warning or failure."""

    name: str
    verdict: Verdict
    found: str
    advice: str | None = None


def examine(*, as_json: bool, results: Path | None = None) -> int:
    """Run and print every check; returns 1 where one fails, else 0.

    `results` is the folder whose disk is checked: HARNESS_RESULTS, or `results`, unless given.
    """
    folder = results or Path(os.environ.get("HARNESS_RESULTS", "results"))
    groups: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _requirements,
        _torch,
        _videos,
        _adapters,
        _snapshots,
        _machine,
        lambda: _results(folder),
        _slurm,
        _git,
    )
    checks: list[Check] = []
    console = terminal()
    for group in groups:
        for check in group():
            checks.append(check)
            if not as_json:
                console.print(_line(check), soft_wrap=True)
    failed = [check for check in checks if check.verdict == "FAIL"]
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [asdict(c) for c in checks]}, indent=1))
    elif failed:
        console.print(f"\n[bold red]{len(failed)} failed[/]; this installation cannot run suites.")
    else:
        console.print("\nReady. Next: harness plan suites/quickstart.yaml")
    return 1 if failed else 0


def _line(check: Check) -> Text:
    text = Text.assemble(
        (f"{check.verdict:<5}", _STYLES[check.verdict]), (f"{check.name}: ", "bold"), check.found
    )
    return text.append(f"\n      {check.advice}") if check.advice else text


def _python() -> Iterator[Check]:
    found = platform.python_version()
    lowest, highest = PYTHON
    if lowest <= sys.version_info[:2] <= highest:
        yield Check("python", "ok", found)
        return
    verdict: Verdict = "FAIL" if sys.version_info[:2] < lowest else "warn"
    yield Check(
        "python",
        verdict,
        f"{found}; the harness is tested on 3.11 to 3.13",
        "make a virtual environment with one of them",
    )


def _requirements() -> Iterator[Check]:
    """Each declared dependency's installed version against the range that pyproject asks for."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement

        declared = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    except (ImportError, PackageNotFoundError, InvalidRequirement) as error:
        yield Check("dependencies", "FAIL", f"cannot be read: {error}", "run `make setup`")
        return
    good: list[str] = []
    for requirement in declared:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Check(
                requirement.name,
                "FAIL",
                "is not installed",
                f'pip install "{requirement.name}{requirement.specifier}"',
            )
            continue
        if requirement.specifier.contains(found, prereleases=True):
            good.append(f"{requirement.name} {found}")
        else:
            yield Check(
                requirement.name,
                "FAIL",
                f"{found}, needed {requirement.specifier}",
                f'pip install "{requirement.name}{requirement.specifier}"',
            )
    yield Check("dependencies", "ok" if good else "FAIL", ", ".join(good) or "none is installed")


def _torch() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check(
            "torch",
            "FAIL",
            f"does not import: {error}",
            "run `make setup`, with TORCH=cpu where there is no NVIDIA driver",
        )
        return
    yield Check("torch", "ok", f"{torch.__version__}, imports")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16: use precision float32"
        yield Check("device", "ok", f"CUDA {torch.version.cuda}: {', '.join(names)}; {bf16}")
    elif shutil.which("nvidia-smi"):
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        yield Check(
            "device",
            "warn",
            f"nvidia-smi exists, but torch ({build}) finds no CUDA",
            "run `make setup TORCH=cuda`, or check the driver with nvidia-smi",
        )
    else:
        yield Check("device", "ok", "CPU; no CUDA")


def _videos() -> Iterator[Check]:
    """PyAV, which nothing but files of videos needs."""
    try:
        found = version("av")
    except PackageNotFoundError:
        yield Check(
            "videos",
            "ok",
            f"PyAV is not installed; only video files need it: pip install '{DISTRIBUTION}[video]'",
        )
        return
    yield Check("videos", "ok", f"PyAV {found}, optional, reads video files")


def _adapters() -> Iterator[Check]:
    loaded: list[str] = []
    for name in adapter_names():
        try:
            loaded.append(adapter(name).name)
        except HarnessError as error:
            yield Check(f"adapter {name}", "FAIL", error.problem, error.hint)
    if loaded:
        yield Check("adapters", "ok", ", ".join(loaded))
    elif not adapter_names():
        yield Check("adapters", "FAIL", "none is registered", "reinstall: pip install -e .")


def _snapshots() -> Iterator[Check]:
    """The embedded text has the content that results refer to."""
    for name, wanted in (("docs", DOCS_SHA256), ("source", SOURCE_SHA256)):
        path = SNAPSHOTS / f"{name}.jsonl.gz"
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            yield Check(
                f"data {path.name}",
                "FAIL",
                f"cannot be read: {error.strerror}",
                "reinstall the package",
            )
            continue
        if found == wanted:
            yield Check(f"data {path.name}", "ok", f"sha256 {found[:12]}")
        else:
            yield Check(
                f"data {path.name}",
                "FAIL",
                f"sha256 {found[:12]}, must be {wanted[:12]}",
                "reinstall the package; with git, `git checkout` the file",
            )


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("cores", "ok", f"{cores} usable, {os.cpu_count()} in the machine")
    memory = _memory()
    if memory is None:
        yield Check("memory", "warn", "unknown")
    elif memory < 4e9:
        yield Check(
            "memory",
            "warn",
            f"{si(memory)}B",
            "the quickstart takes about 1 GB per run at once: use run --workers 1",
        )
    else:
        yield Check("memory", "ok", f"{si(memory)}B")


def _memory() -> int | None:
    """Bytes of memory, or the control group's limit where that is lower."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(found, int(limit.read_text()))
    except (OSError, ValueError):
        return found


def _results(folder: Path) -> Iterator[Check]:
    """Whether records can be written and how much room they have; creates nothing that stays."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    advice = "choose another folder: --results, or the variable HARNESS_RESULTS"
    try:
        with tempfile.TemporaryDirectory(dir=place) as made, locked(Path(made) / "lock"):
            pass
    except HarnessError as error:
        yield Check("results", "FAIL", f"{folder}: {error.problem}", error.hint)
        return
    except OSError as error:
        yield Check(
            "results", "FAIL", f"{folder}: cannot write to {place}: {error.strerror}", advice
        )
        return
    new = "" if folder.exists() else ", will be made"
    yield Check("results", "ok", f"{folder}: writable{new}")
    free = shutil.disk_usage(place).free
    verdict: Verdict = "FAIL" if free < 2e8 else "warn" if free < 5e9 else "ok"
    yield Check(
        "disk",
        verdict,
        f"{si(free)}B free where results go",
        None if verdict == "ok" else f"make room, or {advice}",
    )


def _slurm() -> Iterator[Check]:
    """A cluster that `harness submit` would speak to, where there is one."""
    if not commands.available():
        yield Check("slurm", "ok", "not on this machine; only submitting to a cluster needs it")
        return
    try:
        found = dict(re.findall(r"^(\w+) *= (.*?) *$", commands.configuration(), re.M))
    except commands.NoSlurm as error:
        advice = "set SLURM_CONF, or submit from a login node"
        yield Check("slurm", "warn", f"its commands are here, but {error.problem}", advice)
        return
    name, release = found.get("ClusterName", "?"), found.get("SLURM_VERSION", "?")
    yield Check("slurm", "ok", f"{release}, cluster {name}, arrays of {array_size()}")


def _git() -> Iterator[Check]:
    state = git_state()
    if state["commit"] is None:
        yield Check(
            "git",
            "warn",
            "no commit found",
            "run from a git checkout, so that records name the code they come from",
        )
    elif state["changed"]:
        yield Check(
            "git",
            "warn",
            f"{state['commit'][:12]}, with uncommitted changes",
            "commit before runs that are to be published",
        )
    else:
        yield Check("git", "ok", state["commit"][:12])
