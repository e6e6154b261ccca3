"""The sections of a report: what each shows, and of which evaluations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.planning.located import Key
from harness.protocol import Frozen

Axis = Literal["data", "parameters", "flops", "seconds", "depth", "width", "batch"]


class ScalingSection(Frozen):
    """Losses along an axis and the scaling rate of `candidate` over `baseline`."""

    kind: Literal["scaling"] = "scaling"
    title: str = "Scaling"
    experiment: str
    x: Axis
    evaluation: str
    baseline: str
    candidate: str
    only: dict[str, list[str | int | float]] = Field(
        default_factory=dict, description="axis -> labels: holds the axes that are not x"
    )


class ThinkingSection(Frozen):
    """Gain from thinking against NFE, FLOPs and seconds, per data set."""

    kind: Literal["thinking"] = "thinking"
    title: str = "Thinking"
    experiment: str
    evaluation: str


class DenoisingSection(Frozen):
    """PSNR and MSE against NFE, FLOPs and seconds, per noise level, with example images."""

    kind: Literal["denoising"] = "denoising"
    title: str = "Denoising"
    experiment: str
    evaluation: str


Section = Annotated[
    ScalingSection | ThinkingSection | DenoisingSection, Field(discriminator="kind")
]

#: The kinds of evaluation that each kind of section draws.
DRAWN: dict[str, tuple[str, ...]] = {
    "scaling": ("likelihood",),
    "thinking": ("thinking",),
    "denoising": ("denoising",),
}


def evaluations_of(section: Section) -> list[tuple[Key, str]]:
    """The evaluations that a section draws: the key that names each, and the name."""
    return [(("evaluation",), section.evaluation)]
