"""The GRU itself, behind the harness's contract."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gru_text.record import GRUTextConfig
from harness.protocol import (
    Noise,
    OnState,
    ParamGroup,
    Passes,
    Prediction,
    Single,
    State,
    StepOutput,
    TextBatch,
    TextShape,
)

ONE_PASS = Passes(nfe=1, forward=1, backward=0)


class GRUText(nn.Module):
    """A gated recurrent unit (Cho et al. 2014) on next-token prediction."""

    def __init__(self, config: GRUTextConfig, shape: TextShape) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.vocab_size, config.width)
        self.input = nn.Linear(config.width, 3 * config.width)
        self.state = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, shape.vocab_size, bias=False)

    def read(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, S, V) after each of `tokens` (B, S), and the last state (B, D)."""
        states = []
        for given in self.input(self.embed(tokens)).unbind(dim=1):  # (B, 3D) each
            reset, update, fresh = given.chunk(3, dim=-1)
            own_reset, own_update, own_fresh = self.state(state).chunk(3, dim=-1)
            candidate = torch.tanh(fresh + torch.sigmoid(reset + own_reset) * own_fresh)
            keep = torch.sigmoid(update + own_update)
            state = keep * state + (1 - keep) * candidate
            states.append(state)
        return self.output(torch.stack(states, dim=1)), state

    def initial(self, rows: int) -> Tensor:
        """The state (B, D) before the first token."""
        return self.embed.weight.new_zeros(rows, self.embed.embedding_dim)

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        """Cross-entropy in nats, summed over valid targets."""
        logits, _ = self.read(batch.tokens[:, :-1], self.initial(len(batch.tokens)))
        targets = batch.tokens[:, 1:].masked_fill(~batch.mask, -100)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        return StepOutput(loss, int(batch.mask.sum()))

    def predict(
        self, batch: TextBatch, thinking: Single, noise: Noise, on_state: OnState | None = None
    ) -> Prediction:
        """Logits (B, S, V); the one state is step 1."""
        with torch.inference_mode(False), torch.no_grad():
            tokens = batch.tokens[:, :-1].clone()
            logits, _ = self.read(tokens, self.initial(len(tokens)))
        logits = logits.to(self.embed.weight.dtype)  # under autocast they are bfloat16
        if on_state is not None:
            on_state(State(step=1, samples=range(1), value=logits[:, None], energy=None))
        return Prediction(logits, None, ONE_PASS)

    def param_groups(self) -> list[ParamGroup]:
        """Matrices, decayed; biases, not."""
        matrices = [p for p in self.parameters() if p.dim() > 1]
        biases = [p for p in self.parameters() if p.dim() == 1]
        return [
            ParamGroup("matrices", matrices),
            ParamGroup("biases", biases, weight_decay=False),
        ]

    def decoder(self, rows: Tensor, thinking: Single, noise: Noise) -> GRUDecoder:
        """A capability: sequences that grow token by token."""
        return GRUDecoder(self, len(rows))


class GRUDecoder:
    """All that is kept of what was fed is the state."""

    def __init__(self, model: GRUText, rows: int) -> None:
        self.model, self.state = model, model.initial(rows)

    def feed(self, tokens: Tensor) -> Prediction:
        """Read `tokens` (B, T) and predict the next: logits (B, V)."""
        with torch.no_grad():
            logits, self.state = self.model.read(tokens, self.state)
        return Prediction(logits[:, -1], None, ONE_PASS)
