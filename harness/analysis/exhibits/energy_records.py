"""What an energy evaluation leaves beside its measurements, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.arrays import StoredArrays, stored_arrays
from harness.records import read_json

ENERGIES, EXAMPLES = "energies.npz", "examples.json"

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KeptPredictions:
    """Final energies, losses and entropies (contents, kept) under one noise seed."""

    energy: Floats
    loss: Floats
    entropy: Floats | None


@dataclass(frozen=True, eq=False)
class EnergySums:
    """One training seed: sums (contents, steps + 1, documents), means over noise seeds; kept."""

    contents: tuple[str, ...]
    unit: str
    trained_steps: int
    n: Floats
    energy: Floats
    loss: Floats
    kept: tuple[KeptPredictions, ...]
    document: NDArray[np.int64]
    position: NDArray[np.int64]


def read_energies(folder: Path) -> EnergySums:
    """What one evaluation left in `folder`, without the documents that have no prediction."""
    with stored_arrays(folder / ENERGIES) as stored:
        return _sums(stored)


def _sums(stored: StoredArrays) -> EnergySums:
    n = stored["n"]
    covered = n > 0
    entropy = stored.get("kept_entropy")
    numbers = (stored["kept_energy"].astype(float), stored["kept_loss"].astype(float))
    kept = tuple(
        KeptPredictions(
            numbers[0][seed],
            numbers[1][seed],
            None if entropy is None else entropy[seed].astype(float),
        )
        for seed in range(len(numbers[0]))
    )
    return EnergySums(
        contents=tuple(map(str, stored["contents"])),
        unit=str(stored["unit"]),
        trained_steps=int(stored["trained_steps"]),
        n=n[covered].astype(float),
        energy=stored["energy"][..., covered].mean(0),
        loss=stored["loss"][..., covered].mean(0),
        kept=kept,
        document=(np.cumsum(covered) - 1)[stored["kept_document"]],
        position=stored["kept_position"].astype(np.int64),
    )


@dataclass(frozen=True)
class ExampleCourse:
    """A text or clip kept whole: energies (steps + 1, n) and losses (n,), means over noise seeds.

    What is not finite is NaN. `windows` (n,) says which row of the context each piece was in.
    """

    name: str
    content: str
    in_training: bool | None
    pieces: tuple[str, ...]
    windows: tuple[int, ...]
    energies: Floats
    losses: Floats


def load_example_courses(path: Path) -> list[ExampleCourse]:
    """What one evaluation kept whole, in its order."""
    return [
        ExampleCourse(
            name=str(one["name"]),
            content=str(one["content"]),
            in_training=one["in_training"],
            pieces=tuple(one["pieces"]),
            windows=tuple(one["windows"]),
            energies=np.array(one["energies"], dtype=float).mean(0),
            losses=np.array(one["losses"], dtype=float).mean(0),
        )
        for one in read_json(path)["examples"]
    ]
