"""Generated datasets: arithmetic word problems, Dyck words, random bytes, moving digits.

Each item has its own key (set, index), so a set is the same everywhere and a longer set starts
with the shorter one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.keyed import Draws, keyed_words

_PEOPLE = (
    "Ana", "Ben", "Chloe", "Dev", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena",
    "Mia", "Noor", "Omar", "Priya", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Victor", "Wei", "Zoe",
)  # fmt: skip
_THINGS = (
    "apples", "beads", "books", "buttons", "cards", "coins", "eggs", "marbles", "oranges",
    "pencils", "shells", "stamps", "stickers", "stones", "tickets",
)  # fmt: skip
_PLACES = ("a bag", "a basket", "a box", "a drawer", "a jar", "a tin")
#: The size of builtin/dyck.
DYCK_DOCUMENTS = 1000
_BRACKETS = ("( )", "[ ]", "{ }", "< >")


def arithmetic_problem(index: int) -> str:
    """Return the word problem `index`: a question, and its worked answer `a op b op c = result`."""
    draws = Draws("builtin/arithmetic", index)
    kind = draws.below(4)
    person = _PEOPLE[draws.below(len(_PEOPLE))]
    other = _PEOPLE[draws.below(len(_PEOPLE))]
    thing, place = _THINGS[draws.below(len(_THINGS))], _PLACES[draws.below(len(_PLACES))]
    if other == person:
        other = "a friend"
    if kind == 0:
        a, b = draws.between(2, 99), draws.between(2, 99)
        c = draws.between(1, a + b - 1)
        text = f"{person} has {a} {thing} and finds {b} more. {person} gives {c} to {other}."
        text += f" How many {thing} does {person} have now?"
        work, result = f"{a} + {b} - {c}", a + b - c
    elif kind == 1:
        a, b, c = draws.between(2, 12), draws.between(2, 12), draws.between(2, 50)
        text = f"There are {a} {thing} in {place}. {person} fills {b} of them and has {c} {thing}"
        text += f" left over. How many {thing} are there in all?"
        work, result = f"{a} * {b} + {c}", a * b + c
    elif kind == 2:
        b, result = draws.between(2, 12), draws.between(2, 20)
        a = b * result
        text = f"{person} shares {a} {thing} equally among {b} friends."
        text += f" How many {thing} does each friend get?"
        work = f"{a} / {b}"
    else:
        a, b = draws.between(20, 99), draws.between(2, 9)
        c = draws.between(1, a - 1)
        text = f"{person} had {a} {thing}, lost {c}, and then bought {b} packs of 10 from {other}."
        text += f" How many {thing} does {person} have?"
        work, result = f"{a} - {c} + {b} * 10", a - c + b * 10
    return f"Question: {text}\nAnswer: {work} = {result}\n"


def dyck_word(index: int) -> tuple[str, str]:
    """Return (prefix, completion) of the Dyck word `index`, brackets separated by spaces.

    As in BIG-bench's dyck_languages: four kinds of brackets; the completion closes, in order,
    the one to three brackets that the prefix leaves open.
    """
    draws = Draws("builtin/dyck", index)
    length, left_open = draws.between(1, 98), draws.between(1, 3)
    length += (length + left_open) % 2
    length = max(length, left_open)
    prefix: list[str] = []
    stack: list[str] = []
    while len(prefix) < length:
        # Open when nothing is open; close when the rest is just enough to come down.
        spare = length - len(prefix) - abs(left_open - len(stack))
        opening = draws.below(2) == 0 if spare > 0 else len(stack) < left_open
        if opening or not stack:
            opener, closer = _BRACKETS[draws.below(len(_BRACKETS))].split()
            prefix.append(opener)
            stack.append(closer)
        else:
            prefix.append(stack.pop())
    return " ".join(prefix), " ".join(reversed(stack))


def dyck_text(index: int) -> str:
    """Return the Dyck word `index` as a document."""
    prefix, completion = dyck_word(index)
    return f"Input: {prefix}\nOutput: {completion}\n"


def random_bytes(index: int) -> bytes:
    """Return 1000 independent uniform bytes: no model can do better than ln 256 nats per byte."""
    return keyed_words(125, "builtin/random-bytes", index).astype("<u8").tobytes()


def moving_digits(
    digits: NDArray[np.float32], *, key: str, clips: int, frames: int, size: int = 16
) -> NDArray[np.float32]:
    """Return clips float32[clips, frames, 1, size, size]: two of `digits` bounce off the walls.

    digits: float32[N, 1, h, w] in [-1, 1], smaller than `size`. Speeds are 1 or 2 pixels a frame
    on each axis and change sign at the walls; where digits overlap the brighter pixel shows.
    """
    height, width = digits.shape[2:]
    canvas = np.full((clips, frames, 1, size, size), -1.0, np.float32)
    for clip in range(clips):
        draws = Draws("builtin/moving-digits", key, clip)
        for _ in range(2):
            digit = digits[draws.below(len(digits)), 0]
            rows = _bounce(draws, room=size - height, frames=frames)
            columns = _bounce(draws, room=size - width, frames=frames)
            for frame, (row, column) in enumerate(zip(rows, columns, strict=True)):
                patch = canvas[clip, frame, 0, row : row + height, column : column + width]
                np.maximum(patch, digit, out=patch)
    return canvas


def _bounce(draws: Draws, *, room: int, frames: int) -> NDArray[np.int64]:
    speed = draws.between(1, 2) * (1 if draws.below(2) else -1)
    unfolded = draws.between(0, room) + speed * np.arange(frames)
    folded = np.mod(unfolded, 2 * room)
    return np.where(folded > room, 2 * room - folded, folded)
