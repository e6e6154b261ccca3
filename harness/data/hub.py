"""Whether the Hugging Face Hub answers, known in seconds: its own libraries try half a minute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from harness.errors import HarnessError

#: How long an answer is waited for, the name's look-up included.
SECONDS = 5.0
#: How `datasets` says which splits there are.
_SPLITS = re.compile(r"Bad split: .*Available splits: \[(?P<names>.*)\]")


def unreachable() -> str | None:
    """Why the Hub does not answer, on one line; None where it does."""
    said: list[str | None] = []
    # In a thread, as looking up a name has no time limit of its own.
    asking = Thread(target=lambda: said.append(_asked()), daemon=True)
    asking.start()
    asking.join(SECONDS)
    return said[0] if said else f"no answer in {SECONDS:g} s"


@contextmanager
def caches_alone(alone: bool) -> Iterator[None]:
    """Where `alone`, the Hub's libraries look into their caches at once, and try nothing else."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if alone:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def from_hub(name: str, split: str, *, place: str | None, files: str) -> Iterator[None]:
    """Whatever goes wrong while `datasets` reads a set, as a HarnessError, and what to do.

    `place` is the set's name on the Hub, None for a folder; `files` what its files, downloaded, may
    be named by. Where the Hub does not answer, what its cache holds is read.
    """
    silence = None if place is None else unreachable()
    try:
        with caches_alone(silence is not None):
            yield
    except (HarnessError, GeneratorExit):
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        splits = _SPLITS.match(said)
        if splits is not None:
            raise _no_split(name, split, re.findall(r"'([^']*)'", splits["names"])) from error
        if silence is not None:
            said = f"it is not in the Hub's cache, and the Hub does not answer: {silence}"
        raise HarnessError(
            f"the dataset cannot be read: {said}",
            where=name,
            hint=None
            if place is None
            else "check its name, revision, configuration and split on https://huggingface.co/"
            f"datasets/{place}; without network, download its files and give {files}",
        ) from error


def _no_split(name: str, split: str, there: list[str]) -> HarnessError:
    meant = next((each for each in ("validation", "test") if each in there), "train")
    return HarnessError(
        "the dataset has no such split",
        where=name,
        given=split,
        allowed=there or None,
        hint=f"write `split: {meant}` in the suite, or --split {meant}",
    )


def _asked() -> str | None:
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # of the library that speaks HTTP, which changes
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None
