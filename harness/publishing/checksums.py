"""The SHA-256 of each file of a published run, in the form that `sha256sum --check` reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from harness.errors import HarnessError
from harness.fields import remedy

CHECKSUMS = "SHA256SUMS"
_DIGITS = 64


def checksums(files: Mapping[str, bytes]) -> bytes:
    """The file that lists these, by their names below the run's folder."""
    lines = (f"{sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return "".join(lines).encode()


def check_files(path: Path, eval_ids: Iterable[str]) -> None:
    """HarnessError where a file of the run at `path`, or of these evaluations, is not as published.

    Of runs that were published before there was a list, nothing is known.
    """
    listed = _listed(path / CHECKSUMS)
    if listed is None:
        return
    wanted = set(eval_ids)
    for name, digest in listed.items():
        if name.startswith("evals/") and name.split("/")[1] not in wanted:
            continue
        if _digest(path / name) != digest:
            raise HarnessError(
                f"the file is not as it was published: {CHECKSUMS} lists another content",
                where=str(path / name),
                hint=remedy(path),
            )
    for eval_id in wanted:
        name = f"evals/{eval_id}/done.json"
        if name not in listed and (path / name).exists():
            raise HarnessError(
                f"this evaluation was not published with the run: {CHECKSUMS} lists none of it",
                where=str((path / name).parent),
                hint=remedy(path),
            )


def _listed(path: Path) -> dict[str, str] | None:
    """Digest by name; None where there is no list."""
    try:
        lines = path.read_text().split("\n")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot read: {error}", where=str(path), hint=remedy(path)) from error
    found = {}
    for number, line in enumerate(lines[:-1], start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != _DIGITS or not name:
            where = f"{path}:{number}"
            raise HarnessError("not a line of checksums", where=where, hint=remedy(path))
        found[name] = digest
    if lines[-1] or not found:
        raise HarnessError("the list is cut off", where=str(path), hint=remedy(path))
    return found


def _digest(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        problem = f"cannot read: {error.strerror or error}"
        raise HarnessError(problem, where=str(path), hint=remedy(path)) from error
