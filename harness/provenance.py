"""Where a run's numbers come from: code, packages, device, data, command. Torch-free."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.data.datasets import dataset_digest
from harness.data.decoded import DECODER, PIXELS, pixel_digest_now
from harness.data.measured import prepared_digest
from harness.data.named_tokenizers import NAMED
from harness.data.names import is_on_hub, is_source
from harness.data.pixels.autoencoders import AUTOENCODER, local_digest
from harness.data.pixels.sources import names_pixels, parse_pixels
from harness.data.task_files import OURS, digest_of_key
from harness.data.tokenizer import BYTES, load_tokenizer
from harness.errors import HarnessError
from harness.fields import DONE, ORIGIN
from harness.protocol import AdapterRecord
from harness.records import EvalFolder, RunFolder, read_json

#: The engine's files that can change a number; the rest (planning, analysis, display) cannot.
ENGINE = (
    "planning/eval_spec.py",
    "planning/shapes.py",
    "planning/spec.py",
    "cost.py",
    "noise.py",
    "protocol.py",
    "data",
    "evals",
    "training",
    "launch/evaluating.py",
    "launch/preconditions.py",
    "launch/trained.py",
    "launch/worker.py",
)
#: Beside the packages of a copy that a submission's jobs run: where they came from.
SNAPSHOT = "snapshot.json"
#: The digest of what cannot be read here.
_NOT_HERE = "missing"
#: In a text such as `tokenizer /home/a/b.json` or `file:/data/images?size=32/train`.
_ABSOLUTE = re.compile(r"(?:^|(?<=[=: ]))/(?=\S)[^#?]*?(?=[#?]|/(?:train|validation|test)$|$)")
PACKAGES = (
    "torch",
    "numpy",
    "diffusers",
    "safetensors",
    "scikit-learn",
    "tokenizers",
    "lm-eval",
    "pillow",
    "av",
)


@cache
def source_digest(record: AdapterRecord) -> str:
    """Digest of the adapter's package and of the engine's files that can change a number, its tasks
    included.
    """
    engine = package_folder("harness")
    paths = [engine / name for name in ENGINE]
    paths += [package_folder(package) for package in sorted(packages_of(record))]
    paths += sorted(OURS.glob("*.yaml"))
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def is_changed(record: AdapterRecord, folder: RunFolder, eval_ids: Iterable[str]) -> bool:
    """The run, or a finished evaluation of it, was made by other source code or data than now."""
    if not folder.provenance.exists():
        return True
    recorded = [read_json(folder.provenance, ORIGIN)]
    for evaluation in map(folder.evaluation, eval_ids):
        if evaluation.is_done():
            recorded.append(read_json(evaluation.done, DONE).get("provenance", {}))
    cache = folder.path.parents[1] / "data"
    return any(_is_of_old(each, record, cache) for each in recorded)


def is_of_old(record: AdapterRecord, evaluation: EvalFolder) -> bool:
    """A finished evaluation was made by other source code or data than now."""
    recorded = read_json(evaluation.done, DONE).get("provenance", {})
    return _is_of_old(recorded, record, evaluation.path.parents[3] / "data")


def _is_of_old(recorded: Mapping[str, Any], record: AdapterRecord, cache: Path) -> bool:
    return recorded.get("source_digest") != source_digest(record) or data_changed(
        recorded.get("data", {}), cache
    )


def data_changed(
    recorded: Mapping[str, str], cache: Path | None = None, *, needed: bool = True
) -> bool:
    """Some data, tokenizer or autoencoder in `recorded` (name -> digest) have another digest now.

    Embedded data are frozen, so only the user's files are read again; large ones not even they,
    where `cache` says that they are as they were. What is not here has changed, unless it is not
    `needed` here.
    """
    now = ((digest, _digest_now(name, cache)) for name, digest in recorded.items())
    return any(
        found not in (None, digest) and (needed or found != _NOT_HERE) for digest, found in now
    )


@cache
def _digest_now(name: str, cache: Path | None) -> str | None:
    """Digest of a user's file today, `_NOT_HERE` where it is gone; None for what is embedded.

    None too for what was not prepared here, where that takes more than reading files: what lies on
    the Hub, and the first clips of videos.
    """
    kind, _, tokenizer = name.partition("tokenizer ")
    try:
        if not kind and tokenizer not in (BYTES, *NAMED):
            return load_tokenizer(tokenizer).digest
        if name.startswith(DECODER):
            return None
        if name.startswith(PIXELS):
            return pixel_digest_now(name, cache)
        if name.startswith(AUTOENCODER):
            return local_digest(name.removeprefix(AUTOENCODER))
        if (of_task := digest_of_key(name)) is not None:
            return of_task
        if is_source(name):
            data, _, split = name.rpartition("/")
            if is_on_hub(data) or _is_cut(data):
                return prepared_digest(data, split, cache)
            return dataset_digest(data, split, cache=cache)
    except HarnessError:
        return _NOT_HERE
    return None


def _is_cut(data: str) -> bool:
    """Which videos the digest is of is known once they are decoded."""
    return names_pixels(data) and parse_pixels(data).clips is not None


def packages_of(record: AdapterRecord) -> set[str]:
    """The network, and the record's own formulas and defaults, may be two packages."""
    modules = record.factory.partition(":")[0], record.config.__module__
    return {module.partition(".")[0] for module in modules}


def package_folder(package: str) -> Path:
    """Where a package's source lies: its folder, or the file of a lone module."""
    found = find_spec(package)
    assert found is not None, f"package {package!r} is not installed"
    assert found.origin is not None, f"package {package!r} has no files"
    path = Path(found.origin)
    return path.parent if path.name == "__init__.py" else path


def provenance(
    record: AdapterRecord, *, device: str, data: dict[str, str], command: Sequence[str]
) -> dict[str, Any]:
    """Everything needed to make the run again; holds no host name and no absolute path."""
    return {
        "source_digest": source_digest(record),
        "git": git_state(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "device": device,
        "data": data,
        "command": list(command),
    }


def user_command() -> tuple[str, ...]:
    """The command line of this process, with no absolute path in it."""
    return (Path(sys.argv[0]).name, *map(_portable, sys.argv[1:]))


def _portable(argument: str) -> str:
    """An absolute path becomes relative to the working directory, or outside it its last part."""
    return re.sub(r"(?:^|(?<=[=:]))/.*", lambda found: _shortened(found[0]), argument)


def _shortened(text: str) -> str:
    path = Path(text)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


def without_absolute_paths(value: Any) -> Any:
    """The same JSON; absolute paths in its texts are shortened as those of `user_command` are."""
    if isinstance(value, str):
        return _ABSOLUTE.sub(lambda found: _shortened(found[0]), value)
    if isinstance(value, Mapping):
        return {without_absolute_paths(k): without_absolute_paths(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_absolute_paths(each) for each in value]
    return value


def package_versions() -> dict[str, str | None]:
    """The versions of the packages that can change a number."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _git(*arguments: str) -> str | None:
    folder = package_folder("harness").parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_state() -> dict[str, Any]:
    """Commit and whether tracked files differ from it; None where there is no repository.

    In a submission's copy of the source, those of the tree that was copied.
    """
    snapshot = package_folder("harness").parent / SNAPSHOT
    if snapshot.exists():
        state: dict[str, Any] = read_json(snapshot)["git"]
        return state
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if commit is None else bool(changed)}
