"""The contract between the harness and a model adapter.

An adapter is a `torch.nn.Module` built as `factory(config, shape)` that meets `Adapter` below. The
training loop and the evaluators know nothing else about it. A torch-free `AdapterRecord` describes
it to planning and names the factory; third parties publish theirs under the entry-point group
`harness.adapters`.

What an adapter may not do: read evaluation data; keep state outside parameters and buffers; draw
random numbers anywhere but from the `Noise` it is handed (so results do not depend on batch size,
rank, order or resumption); choose the task (noise levels, windows and targets are the suite's).
What it may offer besides is in `harness.capabilities`; a replay buffer is the one further state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    runtime_checkable,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Frozen(BaseModel):
    """A frozen, closed pydantic model: the base of everything that enters a content hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Fields left out of the content where they have their default: they came later, and what was
    #: made before them keeps its id.
    LATER: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _content(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        for name in self.LATER:
            if getattr(self, name) == type(self).model_fields[name].default:
                content.pop(name, None)
        return content


# --- what a model is built for ---------------------------------------------------------------


@dataclass(frozen=True)
class TextShape:
    """Next-token prediction: `context` observed tokens give `context` predictions."""

    vocab_size: int
    context: int


@dataclass(frozen=True)
class ImageShape:
    """Denoising of (channels, height, width) images in [-1, 1] under a linear beta schedule.

    `train_timesteps` is the suite's training noise level as a count of schedule steps: a level of
    0.1 of 1000 is 100, so EBT trains at t = 99 and DiT at t in [0, 100) (paper section 4.4).
    """

    channels: int
    height: int
    width: int
    train_timesteps: int
    num_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2


@dataclass(frozen=True)
class VideoShape:
    """Next-frame prediction: `context` observed frames give `context` predictions.

    A frame is (channels, height, width) numbers: pixels in [-1, 1], or an autoencoder's latents.
    """

    context: int
    channels: int
    height: int
    width: int

    @property
    def numbers(self) -> int:
        """Numbers per frame."""
        return self.channels * self.height * self.width


Shape = TextShape | ImageShape | VideoShape


# --- batches ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextBatch:
    """`tokens` (B, S + 1) int64; `mask` (B, S) bool marks targets that count; `rows` (B,) int64."""

    tokens: Tensor
    mask: Tensor
    rows: Tensor


@dataclass(frozen=True)
class ImageBatch:
    """Clean `images` (B, C, H, W) in [-1, 1] to train on; `rows` (B,) int64."""

    images: Tensor
    rows: Tensor


@dataclass(frozen=True)
class NoisyBatch:
    """Noisy images (B, C, H, W) made by the evaluator at one `timestep`; `rows` (B,) int64."""

    noisy: Tensor
    timestep: int
    rows: Tensor


@dataclass(frozen=True)
class VideoBatch:
    """Consecutive `frames` (B, S + 1, C, H, W); each after the first is a target; `rows` (B,)."""

    frames: Tensor
    rows: Tensor


Batch = TextBatch | ImageBatch | NoisyBatch | VideoBatch


# --- thinking --------------------------------------------------------------------------------


class Single(Frozen):
    """One forward pass: the model cannot, or is not asked to, think."""

    kind: Literal["single"] = "single"


class Descent(Frozen):
    """Energy descent: `steps` optimization steps on each of `samples` independent starts.

    One sample is kept, per prediction (paper section 3.3). Models with several landscapes repeat
    either the last one or every one of them when `steps` exceeds the number they were trained with.
    Energies that decide (`accept`, `select`, `tolerance`) are those of the prediction without
    noise, compared under one landscape. Images may be denoised again: each further recursion takes
    the last one's result as its noisy image.
    """

    LATER: ClassVar[tuple[str, ...]] = ("recursions",)

    kind: Literal["descent"] = "descent"
    steps: int = Field(ge=1, description="optimization steps per sample")
    samples: int = Field(default=1, ge=1, description="independent starts; lowest energy wins")
    step_size: float | None = Field(default=None, gt=0, description="override of the trained one")
    extra_steps: Literal["last", "every"] = Field(
        default="last", description="which landscape the steps beyond training repeat"
    )
    noise: Literal["every", "first", "none"] = Field(
        default="every", description="steps that add the Langevin noise of training"
    )
    noise_std: float | None = Field(
        default=None, ge=0, description="override of the trained Langevin noise"
    )
    accept: Literal["always", "lower"] = Field(
        default="always", description="undo a step that does not lower the prediction's energy"
    )
    select: Literal["lowest", "largest_drop"] = Field(
        default="lowest", description="keep the sample of lowest final energy, or of largest drop"
    )
    tolerance: float | None = Field(
        default=None,
        gt=0,
        description="a prediction stops once a step changes its energy by less than this",
    )
    recursions: int = Field(
        default=1, ge=1, description="times the model is applied, to its own output (images)"
    )


class Diffusion(Frozen):
    """Sampling from the noisy image down to a clean one, `recursions` times on its own output.

    Each recursion takes `steps` network calls at evenly strided timesteps: deterministic DDIM, or
    DDPM's ancestral sampling with the learned variance. `start` is the timestep the sampler starts
    from: the highest one trained, or the one that matches the image's noise.
    """

    LATER: ClassVar[tuple[str, ...]] = ("sampler",)

    kind: Literal["diffusion"] = "diffusion"
    steps: int = Field(ge=1, description="network calls per recursion")
    start: Literal["trained", "matched"] = "trained"
    recursions: int = Field(default=1, ge=1)
    sampler: Literal["ddim", "ddpm"] = "ddim"


Thinking = Annotated[Single | Descent | Diffusion, Field(discriminator="kind")]


# --- results ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepOutput:
    """`loss_sum` and `n` of one micro-batch; the loop divides by the global n, then calls backward.

    `metrics` are (sum, count) pairs, so that they add over micro-batches and ranks.
    """

    loss_sum: Tensor
    n: int
    metrics: Mapping[str, tuple[Tensor, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """A point of a prediction's trajectory, handed to the reducer and not kept.

    `value` (B, m, ...) holds samples `samples` after `step` optimization steps (or network calls):
    un-normalised logits (B, m, S, V) for text, images (B, m, C, H, W) for denoising, frames
    (B, m, S, C, H, W) for video. `energy` is (B, m, S), or (B, m) for images: that of `value`
    without noise, under the landscape of its last step. None where the model has no energy.
    """

    step: int
    samples: range
    value: Tensor
    energy: Tensor | None


OnState = Callable[[State], None]


@dataclass(frozen=True)
class Passes:
    """Network passes per prediction: a mean where predictions stop at different steps.

    `nfe` is the paper's count (optimization steps x samples; network calls); `forward` adds the
    passes that only read an energy to decide by; `backward` counts passes to the input.
    """

    nfe: float
    forward: float
    backward: float


@dataclass(frozen=True)
class Prediction:
    """The chosen prediction: logits (B, S, V), images (B, C, H, W) or frames (B, S, C, H, W).

    `energy` (B, S) or (B,) is None also where nothing had to be decided by it. `steps`, of the same
    shape, are those the chosen sample took; None where all took as many as asked.
    """

    value: Tensor
    energy: Tensor | None
    passes: Passes
    steps: Tensor | None = None


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share a learning-rate multiplier and weight decay on or off."""

    name: str
    params: Sequence[torch.nn.Parameter]
    lr_multiplier: float = 1.0
    weight_decay: bool = True


class Noise(Protocol):
    """Keyed random numbers: a function of its arguments, the seed and the scope, and no more.

    Drawn by row; by `position` too where a caller must meet one position alone, as in generation.
    """

    def normal(
        self,
        rows: Tensor,
        shape: Sequence[int],
        *,
        purpose: str,
        step: int = 0,
        sample: int = 0,
        position: int | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Standard normal float32 (len(rows), *shape) on the device of `rows`, or in `out`."""
        ...

    def uniform(
        self,
        rows: Tensor,
        shape: Sequence[int],
        *,
        purpose: str,
        step: int = 0,
        sample: int = 0,
        position: int | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Uniform [0, 1) float32 (len(rows), *shape) on the device of `rows`, or in `out`."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """What the training loop and the evaluators call. Implementations subclass `nn.Module`."""

    def training_loss(self, batch: Any, noise: Noise) -> StepOutput:
        """Summed loss (nats per valid token; mean error per image) of one micro-batch."""
        ...

    def predict(
        self, batch: Any, thinking: Any, noise: Noise, on_state: OnState | None = None
    ) -> Prediction:
        """Predict every position or image; must work under no_grad and inference_mode callers."""
        ...

    def param_groups(self) -> Sequence[ParamGroup]:
        """Every trainable parameter, exactly once."""
        ...


# --- the torch-free description --------------------------------------------------------------


@dataclass(frozen=True)
class ParameterCount:
    """`total` trainable parameters, and those outside vocabulary-sized matrices."""

    total: int
    non_embedding: int


@dataclass(frozen=True)
class FlopCount:
    """Matrix-multiply FLOPs (2 per multiply-add) and the part that touches the vocabulary."""

    total: float
    vocabulary: float = 0.0


@dataclass(frozen=True)
class AdapterRecord:
    """What planning knows about an adapter, without importing torch.

    Formulas are per row (one sequence or image): `training_flops(config, shape)` for forward and
    backward of one training example, `prediction_flops(config, shape, thinking)` for a prediction.
    `trained_thinking(config)` is the thinking training prepares for; `source` cites the method;
    `example` is a small config that `harness check` builds; `compiles` says that the adapter
    offers `compile_body`, `features` that it offers `features`; `replay_bytes(config, shape)` is
    the size of a replay buffer.
    """

    name: str
    version: str
    family: str
    modality: Literal["text", "image", "video"]
    description: str
    config: type[Frozen]
    factory: str
    thinking: tuple[str, ...]
    trained_thinking: Callable[[Any], Single | Descent | Diffusion]
    parameters: Callable[[Any, Any], ParameterCount]
    training_flops: Callable[[Any, Any], FlopCount]
    prediction_flops: Callable[[Any, Any, Any], FlopCount]
    source: str
    example: Mapping[str, Any] = field(default_factory=dict, hash=False)
    compiles: bool = False
    features: bool = False
    replay_bytes: Callable[[Any, Any], int] | None = None
