"""A toy adapter with everything an adapter may offer besides, small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.protocol import Noise, ParamGroup, StepOutput, TextBatch

WIDTH, VOCABULARY = 8, 257


class Rehearsing(nn.Module):
    """Mixes each token's embedding a random number of times; learns its last rows once more.

    `done` lists (mixes, rows) of every call of `training_loss`. Unless `keeps`, checkpoints leave
    the replay buffer out.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embed, self.mixer, self.output = (
            nn.Parameter(torch.randn(shape, generator=generator))
            for shape in ((VOCABULARY, WIDTH), (WIDTH, WIDTH), (WIDTH, VOCABULARY))
        )
        self.keeps = keeps
        self.mix: Callable[[Tensor, Tensor], Tensor] = _mix
        self.done: list[tuple[int, int]] = []
        self.compiled_mixes = 0
        self._buffer: dict[str, Tensor] = {}

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        mixes, rows = self.work(batch, noise)
        tokens, mask = batch.tokens, batch.mask
        if self._buffer:
            tokens = torch.cat([tokens, self._buffer["tokens"]])
            mask = torch.cat([mask, self._buffer["mask"]])
        self._buffer = {"tokens": batch.tokens, "mask": batch.mask}
        self.done.append((mixes, rows))
        hidden = self.embed[tokens[:, :-1]].flatten(0, 1)
        for _ in range(mixes):
            hidden = self.mix(hidden, self.mixer)
        targets = tokens[:, 1:].masked_fill(~mask, -100).flatten()
        loss = F.cross_entropy(hidden @ self.output, targets, reduction="sum")
        return StepOutput(loss, int(mask.sum()))

    def work(self, batch: TextBatch, noise: Noise) -> tuple[int, int]:
        drawn = noise.uniform(batch.rows[:1], (1,), purpose="mixes")
        return 1 + int(3 * drawn), len(batch.rows) + len(self._buffer.get("tokens", ()))

    def replay_state(self) -> Mapping[str, Tensor]:
        return self._buffer if self.keeps else {}

    def load_replay_state(self, state: Mapping[str, Tensor]) -> None:
        self._buffer = dict(state)

    def compile_body(self) -> None:
        def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
            def run(*arguments: Any) -> Any:
                self.compiled_mixes += 1
                return graph.forward(*arguments)

            return run

        self.mix = torch.compile(_mix, backend=backend)

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("weights", [self.embed, self.mixer, self.output])]


def _mix(hidden: Tensor, mixer: Tensor) -> Tensor:
    return torch.tanh(hidden @ mixer)


def flops(mixes: int, rows: int, context: int) -> int:
    """Forward, and twice that backward, of one call of `Rehearsing.training_loss`."""
    return 3 * 2 * rows * context * (mixes * WIDTH**2 + WIDTH * VOCABULARY)
