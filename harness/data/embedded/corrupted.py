"""Held-out text made less and less like what it was: a ladder of OOD sets by construction.

What happens to a document depends on its name alone, so a set is the same everywhere.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from harness.data.keyed import keyed_words

#: Percentages of a document's letters that the sets `builtin/docs-typos-…` replace.
TYPO_PERCENTS = (2, 5, 10, 20, 40)

_LETTERS = 26
_WORD = re.compile(rb"\S+")


def with_typos(text: bytes, name: str, *, percent: int) -> bytes:
    """`percent` of the ASCII letters, rounded to a whole letter, become other ones of their case.

    Which letters, and what each becomes, does not depend on `percent`: the letters replaced at a
    lower one are among those replaced at a higher one.
    """
    characters = np.frombuffer(text, np.uint8).copy()
    folded = characters | 0x20
    places = np.flatnonzero((folded >= ord("a")) & (folded <= ord("z")))
    count = (len(places) * percent + 50) // 100
    words = keyed_words(2 * len(places), "builtin/docs-typos", name)
    chosen = _order(words[: len(places)])[:count]
    # 1 to 25 places on in the alphabet, so that no letter becomes itself.
    shift = (words[len(places) :][chosen] % np.uint64(_LETTERS - 1)).astype(np.uint8) + 1
    places = places[chosen]
    case = characters[places] & 0x20
    moved = (folded[places] - ord("a") + shift) % _LETTERS + ord("A")
    characters[places] = moved | case
    return characters.tobytes()


def with_words_shuffled(text: bytes, name: str) -> bytes:
    """The words, by which is meant what white space parts, in random order; white space stays."""
    words = _WORD.findall(text)
    order = iter(_order(keyed_words(len(words), "builtin/docs-shuffled", name)).tolist())
    return _WORD.sub(lambda _: words[next(order)], text)


def _order(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.argsort(words, kind="stable").astype(np.int64)
