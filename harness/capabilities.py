"""What an adapter may offer beside `harness.protocol`: it has the method, and that is all.

The loop, the check and whoever generates or exports ask by `isinstance`; an adapter needs to import
nothing of this.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.protocol import ImageBatch, Noise, Prediction

if TYPE_CHECKING:
    from torch import Tensor


class Decoder(Protocol):
    """One sequence per row, extended token by token; keeps what it has already computed."""

    def feed(self, tokens: Tensor) -> Prediction:
        """Append `tokens` (B, T >= 1) and predict the token after them: logits (B, V).

        Equal, up to rounding, to a fresh decoder fed everything at once: noise is drawn by
        position.
        """
        ...


@runtime_checkable
class Generates(Protocol):
    """A text adapter that can extend a sequence."""

    def decoder(self, rows: Tensor, thinking: Any, noise: Noise) -> Decoder:
        """An empty decoder for the sequences `rows` (B,)."""
        ...


@runtime_checkable
class Features(Protocol):
    """An image adapter whose features of clean images a linear probe can read."""

    def features(self, batch: ImageBatch) -> Tensor:
        """Features (B, D) of the batch's images: the mean of its final patch tokens.

        A model that is conditioned on noise is told that there is none. No graph is needed.
        """
        ...


@runtime_checkable
class Exports(Protocol):
    """A text adapter that a class of Hugging Face transformers computes, given its weights."""

    def hugging_face(self) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
        """The class's config.json and its weights by its names.

        The config leaves out the ids of special tokens, which belong to the tokenizer. In float32
        the logits are the adapter's up to rounding.
        """
        ...


@runtime_checkable
class Replays(Protocol):
    """An adapter that appends rows of its own earlier batches; budgets count fresh rows only."""

    def replay_state(self) -> Mapping[str, Tensor]:
        """What a checkpoint must hold to go on bit for bit; empty where the config drops it."""
        ...

    def load_replay_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `replay_state` gave."""
        ...


@runtime_checkable
class VariesWork(Protocol):
    """An adapter whose training steps differ in cost, such as by a random number of steps."""

    def work(self, batch: Any, noise: Noise) -> Hashable:
        """Equal for two calls of `training_loss` exactly where they cost the same FLOPs."""
        ...


@runtime_checkable
class Compiles(Protocol):
    """An adapter that can have its body compiled by `torch.compile`, with the same numbers."""

    def compile_body(self) -> None:
        """Compile what the training step spends its time in; called once, before training."""
        ...


@runtime_checkable
class EnergyLandscape(Protocol):
    """An adapter whose energy can be followed along its gradient, to check that steps lower it."""

    def descent_energies(self, batch: Any, noise: Noise, step_size: float) -> tuple[Tensor, Tensor]:
        """Energies (B, S), or (B,) for images, before and after one small noise-free step.

        The step starts where `predict` on the same batch and noise does and moves what enters the
        network by -step_size times the energy's gradient to it. For text that is the distribution,
        which is not softmaxed again. Both energies are those of the first landscape.
        """
        ...
