"""What a suite may say of an evaluation, by kind, before it is expanded into specs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.planning.eval_spec import Counted, OnOverlap, Windows
from harness.protocol import Frozen


class EvaluationSetting(Frozen):
    """What an evaluation may say, whatever its kind."""

    kind: str
    limit: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    noise_seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    only: dict[str, list[Any]] = Field(
        default_factory=dict, description="axis name, or `adapter` -> labels to evaluate"
    )


class DataSetting(EvaluationSetting):
    """An evaluation on data sets."""

    data: str | list[str]
    split: Literal["train", "validation", "test"] | None = None


class DisjointSetting(DataSetting):
    """An evaluation on what was not trained on."""

    overlap: OnOverlap = Field(
        default="refuse",
        description="of documents that share a run of 13 words with training, of images and clips "
        "that are in it; `drop` does without them",
    )


class TextSetting(DisjointSetting):
    """Losses of text: plain, or questions made of records by templates."""

    prompt: str | None = Field(
        default=None, description="what stands before the answer: `Question: {question}\\nAnswer: `"
    )
    answer: str | None = Field(
        default=None, description="the answer, whose tokens are counted apart: `{answer}`"
    )
    windows: Windows | None = Field(
        default=None, description="`rolling` by default where there is an answer"
    )

    @property
    def asks(self) -> bool:
        """Its data are records, of which templates make prompts and answers."""
        return self.prompt is not None or self.answer is not None


class LikelihoodSetting(TextSetting):
    """Loss over a whole set, at the thinking the model was trained with unless given."""

    kind: Literal["likelihood"]
    thinking: Literal["trained"] | dict[str, Any] = "trained"


class ThinkingSetting(TextSetting):
    """Loss over a grid of thinking; lists inside an entry span the grid."""

    kind: Literal["thinking"]
    thinking: list[dict[str, Any]] = Field(min_length=1)
    tokens: Counted = Field(default="all", description="whose loss it is; `answer` needs answers")
    timing_repeats: int = Field(default=3, ge=1)


class EnergySetting(DataSetting):
    """Energies over optimization steps, of the texts given and of a whole set."""

    kind: Literal["energy"]
    thinking: dict[str, Any] = Field(description="one descent, such as {kind: descent, steps: 12}")
    texts: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="texts to keep whole; of clips the first ones are kept"
    )


class LmTaskSetting(EvaluationSetting):
    """Tasks of lm-eval, at the thinking the model was trained with unless given."""

    kind: Literal["lm_task"]
    tasks: list[str] = Field(min_length=1)
    thinking: Literal["trained"] | dict[str, Any] = "trained"
    num_fewshot: int | None = Field(default=None, ge=0)
    include: str | None = Field(default=None, description="folder of your own task YAMLs")


class DenoisingSetting(DisjointSetting):
    """Denoising at each level with each thinking; lists inside an entry span a grid."""

    kind: Literal["denoising"]
    levels: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    thinking: list[dict[str, Any]] = Field(min_length=1)
    timing_repeats: int = Field(default=3, ge=1)
    examples: int = Field(default=8, ge=0)


class ProbeSetting(DisjointSetting):
    """A linear classifier on features of labelled images, fitted on the set's train split."""

    kind: Literal["probe"]
    train_limit: int | None = Field(
        default=None, ge=1, description="training images, drawn alike for every model"
    )
    holdout: float = Field(
        default=0.1, gt=0, lt=1, description="part of them that chooses the penalty"
    )
    l2: list[Annotated[float, Field(gt=0)]] = Field(
        default=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0], min_length=1
    )
    solver: Literal["full_batch", "minibatch"] = Field(
        default="full_batch", description="minibatch where the features of all do not fit"
    )
    epochs: int = Field(default=20, ge=1, description="of minibatches")
    timing_repeats: int = Field(default=3, ge=1)


class NextFrameSetting(DisjointSetting):
    """Error over a whole set, at the thinking the model was trained with unless given."""

    kind: Literal["next_frame"]
    thinking: Literal["trained"] | dict[str, Any] = "trained"
    timing_repeats: int = Field(default=3, ge=1)
    examples: int = Field(default=4, ge=0)


@dataclass(frozen=True)
class Kind:
    """A kind of evaluation: its settings, the kinds of task it fits, and what its numbers mean.

    `metric_version` rises when what a number means changes.
    """

    setting: type[EvaluationSetting]
    tasks: tuple[str, ...]
    metric_version: int = 1


KINDS: dict[str, Kind] = {
    "likelihood": Kind(LikelihoodSetting, ("next_token",)),
    "thinking": Kind(ThinkingSetting, ("next_token",)),
    "energy": Kind(EnergySetting, ("next_token", "next_frame")),
    "lm_task": Kind(LmTaskSetting, ("next_token",)),
    "denoising": Kind(DenoisingSetting, ("denoising",), metric_version=2),
    "probe": Kind(ProbeSetting, ("denoising",)),
    "next_frame": Kind(NextFrameSetting, ("next_frame",), metric_version=2),
}
