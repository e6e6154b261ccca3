"""Options that several verbs take, and what is checked of them before anything else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.planning.planned import Suite

SuitePath = Annotated[Path, typer.Argument(help="A suite file, such as suites/quickstart.yaml.")]
SuitePaths = Annotated[
    list[Path],
    typer.Argument(help="Suite files, or folders: every suite below them, such as suites/cpu."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a setting, e.g. budget.steps=100."),
]
#: What a suite file has and other YAML has not.
_IS_SUITE = re.compile(rb"^(suite|\"suite\"|'suite')\s*:", re.MULTILINE)
RESULTS = Path("results")
Results = Annotated[
    Path, typer.Option("--results", envvar="HARNESS_RESULTS", help="Where records are kept.")
]
Json = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
ProfilePath = Annotated[
    Path, typer.Option("--profile", help="What to ask of the cluster: slurm/profiles/NAME.yaml.")
]
RedoChanged = Annotated[
    bool, typer.Option(help="Redo finished runs whose code or data have changed (kept aside).")
]


def load(
    suite: Path, overrides: list[str] | None, results: Path, *, needs_data: bool = True
) -> Suite:
    """The suite of a file with `--set` applied; its commands name `--results` where given."""
    from harness.planning.suite import load_suite

    check_results(results)
    loaded = load_suite(suite, overrides=overrides or [], needs_data=needs_data)
    return loaded if results == RESULTS else replace(loaded, results=results)


def load_all(suites: Sequence[Path], overrides: list[str] | None, results: Path) -> list[Suite]:
    """Each suite as `load` gives it, for showing what was measured: its data may be elsewhere.

    No two may have one name, since their files would be one.
    """
    from harness.errors import HarnessError

    loaded: dict[str, Suite] = {}
    for path in suite_files(suites):
        suite = load(path, overrides, results, needs_data=False)
        if suite.name in loaded:
            raise HarnessError(
                f"two suites are called {suite.name!r}, their files would be the same",
                where=f"{path}, {loaded[suite.name].path}",
                hint="give one of them another `suite:` name, or ask for one at a time",
            )
        loaded[suite.name] = suite
    return list(loaded.values())


def suite_files(given: Sequence[Path]) -> list[Path]:
    """The suite files that are given or lie below a given folder, each once, in order.

    HarnessError for a folder without any.
    """
    found: dict[Path, Path] = {}
    for path in given:
        for file in _below(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _below(folder: Path) -> list[Path]:
    """YAML that is no suite (a task of lm-eval, a profile) may lie beside suites."""
    from harness.errors import HarnessError

    files = sorted(p for suffix in ("yaml", "yml") for p in folder.rglob(f"*.{suffix}"))
    suites = [p for p in files if _is_suite(p)]
    if not suites:
        raise HarnessError(
            "no suite lies in this folder or below it",
            where=str(folder),
            hint="a suite is a .yaml file with the key `suite:`; `harness ls suites` lists ours",
        )
    return suites


def _is_suite(path: Path) -> bool:
    try:
        return _IS_SUITE.search(path.read_bytes()) is not None
    except OSError:
        return path.is_file()  # Loading it says what is wrong.


def check_results(results: Path) -> None:
    """HarnessError where it is a file."""
    from harness.errors import HarnessError

    if results.exists() and not results.is_dir():
        raise HarnessError("this is a file, not a folder", where=f"--results {results}")


def check_device(device: str) -> None:
    """HarnessError for a device that is unknown, or not in this machine."""
    from harness.errors import HarnessError

    if device not in ("auto", "cpu", "cuda"):
        raise HarnessError(
            "unknown device", where="--device", given=device, allowed=["auto", "cpu", "cuda"]
        )
    if device == "cuda" and shutil.which("nvidia-smi") is None:
        raise HarnessError(
            "this machine has no NVIDIA driver",
            where="--device",
            given=device,
            hint="use --device cpu, or auto",
        )
