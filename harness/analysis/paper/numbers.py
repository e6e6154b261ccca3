"""The paper's own numbers, each with its exhibit and where in it the number was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from harness.planning.sections import PaperExhibit

#: `notes`: from notes on the paper, which do not say where in it the number stands.
Source = Literal[
    "table", "text", "caption", "read off the plot", "notes", "notes, approximate", "worked out"
]
#: What is no exhibit of the paper: its headline claims, its models' sizes, its count of costs.
Elsewhere = Literal["Abstract", "Sizes", "Costs"]
Quantity = Literal[
    "scaling rate",
    "scaling rate on the tail",
    "crossover",
    "worse at each point",
    "higher intercept",
    "perplexity",
    "perplexity gain",
    "PSNR",
    "MSE",
    "about equal PSNR",
    "passes saved",
    "top-1",
    "top-5",
    "hard tokens end high",
    "random text ends higher",
    "FLOPs per token",
    "cost ratio",
    "layers",
    "width",
    "heads",
    "non-embedding parameters",
    "learning rate",
]
Unit = Literal["", "%", "dB", "tokens", "parameters", "×", "× N"]

EXHIBITS: tuple[str, ...] = get_args(PaperExhibit)
SOURCES: tuple[str, ...] = get_args(Source)
PLACES: tuple[str, ...] = (*EXHIBITS, *get_args(Elsewhere))
QUANTITIES: tuple[str, ...] = get_args(Quantity)
UNITS: tuple[str, ...] = get_args(Unit)
#: The paper's models: families, EBT's two variants, and what Table 2 leaves out of the second.
MODELS = (
    "transformer++",
    "dit",
    "ebt",
    "ebt s1",
    "ebt s2",
    "full",
    "no random alpha",
    "no random steps",
    "no Langevin noise",
    "no replay",
)


@dataclass(frozen=True)
class PaperNumber:
    """One number, or a statement without one (`value` None, and `note` says it).

    `against` is the model that a difference or ratio is over; `setting` tells numbers of one
    exhibit apart: a scaling rate's axis, a way of thinking, a size. `x` is where the number lies
    along `x_unit`. `high` makes it a range. `page` is empty where it is not known.
    """

    exhibit: str
    model: str
    against: str
    setting: str
    data: str
    quantity: str
    x: float | None
    x_unit: str
    value: float | None
    high: float | None
    unit: str
    source: str
    page: str
    note: str
    written: str = field(default="", compare=False)

    @property
    def approximate(self) -> bool:
        """Not as it is printed: read off a plot, or approximate in the notes."""
        return self.source in ("read off the plot", "notes, approximate")


@dataclass(frozen=True)
class PaperSetting:
    """What an exhibit of the paper shows, and at which scale where that is known.

    `models` are (depth, width), `tokens` the least and the most training, `data` what models are
    trained on; empty or None where the paper does not say.
    """

    exhibit: str
    shows: str
    models: tuple[tuple[int, int], ...]
    tokens: tuple[float, float] | None
    data: str
    tokenizer: str
    setting: str


@dataclass(frozen=True)
class PaperNumbers:
    """Everything that is known of the paper; empty, with the reason in `note`, where nothing is."""

    numbers: tuple[PaperNumber, ...] = ()
    settings: Mapping[str, PaperSetting] = field(default_factory=dict)
    note: str = ""

    def of(self, *exhibits: str) -> tuple[PaperNumber, ...]:
        """The numbers of these exhibits, in their order in the files."""
        return tuple(number for number in self.numbers if number.exhibit in exhibits)


def cited(exhibits: Sequence[str]) -> str:
    """`Table 4, Figs 10 and 12`."""
    by_kind: dict[str, list[str]] = {}
    for exhibit in exhibits:
        kind, _, number = exhibit.partition(" ")
        by_kind.setdefault(kind, []).append(number)
    return ", ".join(
        f"{kind} {numbers[0]}"
        if len(numbers) == 1
        else f"{kind}s {', '.join(numbers[:-1])} and {numbers[-1]}"
        for kind, numbers in by_kind.items()
    )
