"""The folder that an export becomes, which appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError

#: What a run is exported as: for transformers, or for this package's own registry.
Format = Literal["hf", "safetensors"]


def check_free(out: Path) -> None:
    """HarnessError where `out` is a file, or a folder that holds something."""
    if out.is_dir():
        if not any(out.iterdir()):
            return
        problem = "the folder is not empty, and an export replaces nothing"
    elif out.exists():
        problem = "this is a file, not a folder"
    else:
        return
    raise HarnessError(
        problem, where=f"--out {out}", hint="give a folder that does not exist yet, or remove it"
    )


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write to, which becomes `out` in the end.

    Removed where anything goes wrong. HarnessError where it cannot be written.
    """
    check_free(out)
    target = out.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise _cannot_write(out, error) from error
    try:
        yield building
        for path in building.iterdir():
            path.chmod(0o644)
        building.chmod(0o755)
        os.replace(building, target)
    except OSError as error:
        raise _cannot_write(out, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _cannot_write(out: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"cannot write here: {error.strerror or error}",
        where=f"--out {out}",
        hint="choose another folder",
    )
