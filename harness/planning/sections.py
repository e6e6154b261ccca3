"""The sections of a report: what each shows, and of which evaluations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from harness.planning.located import Key
from harness.protocol import Descent, Frozen

Axis = Literal["data", "parameters", "flops", "seconds", "depth", "width", "batch"]


#: The exhibits of the paper, by the names that `results/paper/*.csv` has them under.
PaperExhibit = Literal[
    "Fig 4a",
    "Fig 4b",
    "Fig 4c",
    "Fig 5a",
    "Fig 5b",
    "Fig 5c",
    "Fig 6a",
    "Fig 6b",
    "Fig 7",
    "Fig 8",
    "Fig 9",
    "Fig 10",
    "Fig 11",
    "Fig 12",
    "Fig B.2",
    "Fig B.3",
    "Fig C.1",
    "Table 2",
    "Table 3",
    "Table 4",
]


class SectionBase(Frozen):
    """What every section has: its experiment, and the paper's exhibits it is the like of."""

    experiment: str
    paper: list[PaperExhibit] = Field(
        default_factory=list,
        description="the paper's exhibits that this is the counterpart of: their numbers are shown "
        "beside",
    )


class ScalingSection(SectionBase):
    """Losses along an axis and the scaling rate of `candidate` over `baseline`."""

    kind: Literal["scaling"] = "scaling"
    title: str = "Scaling"
    x: Axis
    evaluation: str
    baseline: str
    candidate: str
    only: dict[str, list[str | int | float]] = Field(
        default_factory=dict, description="axis -> labels: holds the axes that are not x"
    )


class ThinkingSection(SectionBase):
    """Gain from thinking against NFE, FLOPs and seconds, per data set."""

    kind: Literal["thinking"] = "thinking"
    title: str = "Thinking"
    evaluation: str


class ThinkingShiftSection(SectionBase):
    """Gain from thinking against how far each data set lies from training (paper Fig 7)."""

    kind: Literal["thinking_shift"] = "thinking_shift"
    title: str = "Thinking out of distribution"
    evaluation: str
    thinking: list[dict[str, Any]] | None = Field(
        default=None,
        description="entries of the evaluation's grid to follow; default: all in the table, and "
        "each model's most expensive one in the figure",
    )


class ThinkingScaleSection(SectionBase):
    """Gain from thinking along an axis of training, per data set (paper Fig 6b)."""

    kind: Literal["thinking_scale"] = "thinking_scale"
    title: str = "Thinking and scale"
    evaluation: str
    x: Axis
    thinking: list[dict[str, Any]] | None = Field(
        default=None, description="entries of the evaluation's grid to follow, as in thinking_shift"
    )
    only: dict[str, list[str | int | float]] = Field(
        default_factory=dict, description="axis -> labels: holds the axes that are not x"
    )


class Effort(Frozen):
    """Steps × samples of an otherwise trained descent."""

    steps: int = Field(ge=1)
    samples: int = Field(default=1, ge=1)

    @property
    def descent(self) -> Descent:
        return Descent(steps=self.steps, samples=self.samples)


class ThinkingAblationSection(SectionBase):
    """Gains of every model beside those of the one that lacks nothing (paper Table 2)."""

    kind: Literal["thinking_ablation"] = "thinking_ablation"
    title: str = "Ablation of thinking"
    evaluation: str
    full: str = Field(description="adapter that the others lack a part of")
    longer: Effort = Field(description="more steps: `{steps: 12}`")
    verify: Effort = Field(description="more steps, and the best of samples")


class UncertaintySection(SectionBase):
    """Energy over the steps, on real, shuffled and random input, and against the loss."""

    kind: Literal["uncertainty"] = "uncertainty"
    title: str = "Uncertainty"
    evaluation: str


class DenoisingSection(SectionBase):
    """PSNR, SSIM and MSE against NFE, FLOPs and seconds per noise level, and example images."""

    kind: Literal["denoising"] = "denoising"
    title: str = "Denoising"
    evaluation: str


class ProbeSection(SectionBase):
    """Accuracies of linear classifiers on every model's features (paper Table 4)."""

    kind: Literal["probe"] = "probe"
    title: str = "Linear probe"
    evaluation: str
    baseline: str | None = Field(
        default=None, description="adapter that the others are compared with, at the same labels"
    )


class NextFrameSection(SectionBase):
    """Error and PSNR of predicted frames beside those of copying the last, and example frames."""

    kind: Literal["next_frame"] = "next_frame"
    title: str = "Next frames"
    evaluation: str
    baseline: str | None = Field(
        default=None, description="adapter that the others are compared with, at the same labels"
    )


class DownstreamSection(SectionBase):
    """Perplexities and accuracies of every model per set and task, beside its pretraining loss."""

    kind: Literal["downstream"] = "downstream"
    title: str = "Downstream"
    pretraining: str = Field(description="likelihood on the training data's held-out split")
    evaluations: list[str] = Field(min_length=1, description="of kinds likelihood and lm_task")
    baseline: str | None = Field(
        default=None, description="adapter that the others are compared with, at the same labels"
    )
    against: dict[str, str] = Field(
        default_factory=dict,
        description="evaluation -> the one that each model's own is compared with, such as the "
        "same tasks without more thinking",
    )
    only: dict[str, list[str | int | float]] = Field(
        default_factory=dict, description="axis -> labels: the models to show"
    )


class TuningSection(SectionBase):
    """Losses at every learning rate per size and model, with equal trials, and which is chosen."""

    kind: Literal["tuning"] = "tuning"
    title: str = "Learning rates"
    evaluation: str
    over: str = Field(description="the axis whose values are tried: that of the learning rate")


Section = Annotated[
    ScalingSection
    | ThinkingSection
    | ThinkingShiftSection
    | ThinkingScaleSection
    | ThinkingAblationSection
    | UncertaintySection
    | DenoisingSection
    | ProbeSection
    | NextFrameSection
    | DownstreamSection
    | TuningSection,
    Field(discriminator="kind"),
]

#: The kinds of evaluation that each kind of section draws.
DRAWN: dict[str, tuple[str, ...]] = {
    "scaling": ("likelihood", "next_frame"),
    "thinking": ("thinking",),
    "thinking_shift": ("thinking",),
    "thinking_scale": ("thinking",),
    "thinking_ablation": ("thinking",),
    "uncertainty": ("energy",),
    "denoising": ("denoising",),
    "probe": ("probe",),
    "next_frame": ("next_frame",),
    "downstream": ("likelihood", "lm_task"),
    "tuning": ("likelihood",),
}


def evaluations_of(section: Section) -> list[tuple[Key, str]]:
    """The evaluations that a section draws: the key that names each, and the name."""
    if isinstance(section, DownstreamSection):
        named = enumerate(section.evaluations)
        return [
            (("pretraining",), section.pretraining),
            *((("evaluations", index), name) for index, name in named),
        ]
    return [(("evaluation",), section.evaluation)]
