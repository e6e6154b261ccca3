"""Whether the Hugging Face Hub answers, known in seconds: its own libraries try half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

#: How long an answer is waited for, the name's look-up included.
SECONDS = 5.0


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


def _asked() -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # of the library that speaks HTTP, which changes
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None
