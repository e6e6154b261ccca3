"""What the benchmark is made of: cases, the two things each compares, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any, Literal

import torch

from harness.protocol import AdapterRecord

Step = Callable[[], object]
#: What `value` is made of: seconds or peak bytes (theirs over ours), or FLOPs a second (ours over).
Compares = Literal["time", "memory", "rate"]


class NotYet(Exception):
    """The adapter does not offer what the case measures."""


def made(record: AdapterRecord, config: Any, shape: Any) -> Any:
    """The adapter that the harness would build."""
    return resolve_name(record.factory)(config, shape)


@dataclass(frozen=True)
class Setting:
    """Where and how cases run; `scale` shrinks them for tests."""

    device: torch.device
    precision: Literal["float32", "bf16"] = "float32"
    tiny: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        """The context under which both sides compute."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


@dataclass(frozen=True)
class Pair:
    """The same work done by us and by the reference.

    `tokens` (or images) a call; `minimum` the exact-gradient FLOPs (performance section of the
    report) where known; `gap` compares the two numerically: the largest relative error. `prepare`
    is called untimed before each timed call of ours; `count` stands for `ours` under the FLOP
    counter, which sees eager code only.
    """

    ours: Step
    theirs: Step
    tokens: int
    minimum: float | None = None
    gap: Callable[[], float] | None = None
    prepare: Step | None = None
    count: Step | None = None


@dataclass(frozen=True)
class Case:
    """One row of the report; `build` raises NotYet where the capability is missing.

    `memory` asks for the peak of a step beside its time. `bf16_tolerance` is for cases that compare
    numbers in the setting's own precision.
    """

    name: str
    group: str
    against: str
    build: Callable[[Setting], Pair]
    target: float
    compares: Compares = "time"
    tolerance: float = 5e-3
    bf16_tolerance: float = 5e-3
    memory: bool = False


@dataclass
class Result:
    """What one case gave; None is not measured."""

    name: str
    group: str
    against: str
    compares: Compares
    target: float
    status: Literal["passed", "missed", "not yet", "failed"] = "failed"
    reason: str = ""
    value: float | None = None
    spread: tuple[float, float] | None = None
    pairs: int = 0
    seconds: tuple[float, float] | None = None
    tokens_per_second: float | None = None
    flops: tuple[float, float] | None = None
    minimum_flops: float | None = None
    share_of_peak: float | None = None
    peak_bytes: tuple[int, int] | None = None
    gap: float | None = None
    notes: list[str] = field(default_factory=list)
