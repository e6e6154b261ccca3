"""EvalSpec: one evaluation of a run, frozen and identified by the hash of its full content."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.planning.spec import content_hash
from harness.protocol import Descent, Frozen, Thinking

Windows = Literal["as_trained", "rolling"]
Counted = Literal["all", "answer"]
OnOverlap = Literal["refuse", "drop"]


class EvalBase(Frozen):
    """What every evaluation states. `metric_version` rises when a metric's meaning changes."""

    data: str
    split: Literal["train", "validation", "test"]
    limit: int | None = Field(default=None, ge=1, description="first rows, documents or images")
    batch_size: int = Field(default=32, ge=1)
    noise_seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    checkpoint: Literal["final"] = "final"
    metric_version: int = 1

    @property
    def eval_id(self) -> str:
        return content_hash(self)


class DisjointEval(EvalBase):
    """An evaluation on what was not trained on. `overlap` says what is done where some of it was:
    the evaluation is refused, or does without those documents, images or clips, and counts them.
    """

    LATER: ClassVar[tuple[str, ...]] = ("overlap",)

    overlap: OnOverlap = "refuse"


def drops(spec: EvalBase) -> bool:
    """Whether the evaluation does without what was trained on; otherwise it is refused."""
    return isinstance(spec, DisjointEval) and spec.overlap == "drop"


class TextEval(DisjointEval):
    """Losses of text. With `prompt` and `answer`, templates over a record's fields, a document is
    the two joined. `rolling` windows take each document alone, after end of text, and give every
    token as much context as fits.
    """

    prompt: str | None = None
    answer: str | None = None
    windows: Windows = "as_trained"

    @property
    def templates(self) -> tuple[str, str] | None:
        """Prompt and answer; None where the data are plain text."""
        if self.prompt is None or self.answer is None:
            return None
        return self.prompt, self.answer


class LikelihoodEval(TextEval):
    """Token-weighted loss over the whole set with n-gram reference lines.

    Where there are answers, their tokens are counted apart too.
    """

    kind: Literal["likelihood"] = "likelihood"
    thinking: Thinking


class ThinkingEval(TextEval):
    """Loss at every steps x samples of a grid; one flat line for a model that cannot think.

    `tokens`: whose loss it is, every token's or the answers' alone.
    """

    kind: Literal["thinking"] = "thinking"
    thinking: tuple[Thinking, ...] = Field(min_length=1)
    tokens: Counted = "all"
    timing_repeats: int = Field(default=3, ge=1)


class EnergyEval(EvalBase):
    """Energy of every prediction over the optimization steps, beside what is random."""

    kind: Literal["energy"] = "energy"
    thinking: Descent
    texts: tuple[str, ...] = Field(default=(), description="texts whose energies are kept whole")


class LmTaskEval(EvalBase):
    """A task of lm-eval; `data` is its name, `split` nominal: the task's own file names it.

    `include` is the folder of the task's file, and `digest` its content's and its local data's;
    None for the tasks that come with lm-eval or with this harness.
    """

    kind: Literal["lm_task"] = "lm_task"
    thinking: Thinking
    num_fewshot: int | None = Field(default=None, ge=0)
    include: str | None = None
    digest: str | None = None


class DenoisingEval(DisjointEval):
    """PSNR, SSIM and MSE of denoised images at one noise level against each thinking's cost."""

    kind: Literal["denoising"] = "denoising"
    level: float = Field(gt=0, le=1, description="test noise, a fraction of the schedule")
    thinking: tuple[Thinking, ...] = Field(min_length=1)
    timing_repeats: int = Field(default=3, ge=1)
    examples: int = Field(default=8, ge=0, description="images kept for the example strip")


class ProbeEval(DisjointEval):
    """Accuracy of a linear classifier on the model's features of labelled images.

    `data`, `split` are what it is tested on; it is fitted on the same set's `train` split, a
    `holdout` of which chooses among the penalties `l2`. `limit` and `train_limit` draw images, the
    same for every model: the first ones of a set in folders are all of one class. Minibatches read
    features from disk and hold no more than a chunk of them in memory. Neither the model nor the
    classifier was trained on an image of the test.
    """

    kind: Literal["probe"] = "probe"
    train_limit: int | None = Field(default=None, ge=1, description="training images, drawn")
    holdout: float = Field(default=0.1, gt=0, lt=1)
    l2: tuple[float, ...] = Field(min_length=1)
    solver: Literal["full_batch", "minibatch"] = "full_batch"
    epochs: int = Field(default=20, ge=1, description="of minibatches")
    timing_repeats: int = Field(default=3, ge=1)


class NextFrameEval(DisjointEval):
    """Error of the predicted next frames over the whole set, beside that of copying the last."""

    kind: Literal["next_frame"] = "next_frame"
    thinking: Thinking
    timing_repeats: int = Field(default=3, ge=1)
    examples: int = Field(default=4, ge=0, description="rows whose last frames are kept")


EvalSpec = Annotated[
    LikelihoodEval
    | ThinkingEval
    | EnergyEval
    | LmTaskEval
    | DenoisingEval
    | ProbeEval
    | NextFrameEval,
    Field(discriminator="kind"),
]
