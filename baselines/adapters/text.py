"""Text adapters: a network, its objective and its predictions behind `harness.protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.adapters.autoregressive import (
    AutoregressiveEBT,
    RowNoise,
    check_single,
    predict_once,
    step_output,
)
from baselines.adapters.descending import Draws, Scratch
from baselines.autoregressive_costs import ebt_plan
from baselines.descent_plan import DescentPlan
from baselines.ebt import TextEnergy
from baselines.hf_llama import llama_config, llama_weights
from baselines.key_values import KeyValues
from baselines.modes import inference, plain
from baselines.observed_stream import ObservedStream
from baselines.replay import Record
from baselines.text_descent import Rows, TextLandscapes, plain_objective
from baselines.text_schedule import can_schedule, scheduled_objective
from baselines.text_settings import EBTTextConfig, TransformerPPTextConfig
from baselines.transformer import Transformer
from harness.protocol import (
    Descent,
    Noise,
    OnState,
    ParamGroup,
    Passes,
    Prediction,
    Single,
    StepOutput,
    TextBatch,
    TextShape,
)


class TransformerPPText(nn.Module):
    """Transformer++ on next-token prediction: one forward pass, no thinking."""

    def __init__(self, config: TransformerPPTextConfig, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        self.network = Transformer(config, shape.vocab_size)

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        """Cross-entropy in nats, summed over valid targets."""
        logits = self.network(batch.tokens[:, :-1])
        targets = batch.tokens[:, 1:].masked_fill(~batch.mask, -100)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return StepOutput(loss, int(batch.mask.sum()))

    def compile_body(self) -> None:
        """Compile the blocks."""
        self.network.compile_body()

    def predict(
        self,
        batch: TextBatch,
        thinking: Single,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Logits (B, S, V); the one state is step 1. Raises TypeError if asked to think."""
        return predict_once(
            "transformer_pp_text",
            thinking,
            lambda: self.network(batch.tokens[:, :-1].clone()),
            on_state,
        )

    def decoder(self, rows: Tensor, thinking: Single, noise: Noise) -> TransformerDecoder:
        """An empty decoder for the sequences `rows` (B,)."""
        check_single("transformer_pp_text", thinking)
        return TransformerDecoder(self.network)

    def hugging_face(self) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
        """The config and weights of transformers' `LlamaForCausalLM`."""
        config = self.network.config
        weights = llama_weights(self.network.state_dict(), config.heads)
        return llama_config(config, self.shape), weights

    def param_groups(self) -> Sequence[ParamGroup]:
        """Everything, decayed: norms and embeddings included (paper section 3)."""
        return [ParamGroup("weights", list(self.parameters()))]


class TransformerDecoder:
    """Keys and values of every layer so far."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self.past = [KeyValues() for _ in network.layers]

    def feed(self, tokens: Tensor) -> Prediction:
        """Append `tokens` (B, T) and predict the token after them: logits (B, V)."""
        with inference():
            logits = self.network.extend(tokens, self.past)
        return Prediction(plain(logits), None, Passes(nfe=1, forward=1, backward=0))


class EBTText(AutoregressiveEBT):
    """EBT on next-token prediction: energy descent from random logits, best of M samples."""

    network: TextEnergy
    landscapes = TextLandscapes

    def __init__(self, config: EBTTextConfig, shape: TextShape) -> None:
        vocabulary = shape.vocab_size
        super().__init__(config, TextEnergy(config, vocabulary), (vocabulary,), vocabulary)
        self.scratch = Scratch()

    # --- training ------------------------------------------------------------------------

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        """Cross-entropy in nats, summed over valid targets, those of replayed rows included."""
        record = self.replayed(batch.rows, noise)
        rows = self._rows(batch, record, noise)
        draws = Draws(noise, batch.rows, len(rows.mask) - len(batch.rows))
        steps = self.drawn(draws, rows.mask.shape[1])
        schedule = can_schedule(self.network, steps.alpha)
        with self.network.training_step():
            sums = (scheduled_objective if schedule else plain_objective)(self.network, rows, steps)
        if self.remembers:
            assert sums.value is not None
            fresh = sums.value[: len(batch.rows)]
            self.replay.store(Record(batch.tokens, batch.mask, fresh))
        return step_output(sums, int(rows.mask.sum()))

    def _rows(self, batch: TextBatch, record: Record | None, noise: Noise) -> Rows:
        """Fresh rows, then replayed ones, in memory kept for them where that pays."""
        tokens, mask, own = batch.tokens, batch.mask, RowNoise(noise, batch.rows)
        fresh, length = mask.shape
        if record is not None:
            tokens, mask = torch.cat([tokens, record.inputs]), torch.cat([mask, record.mask])
        room = None
        if can_schedule(self.network, self.network.alpha):
            room = self.scratch.pair((*mask.shape, *self.entry), self.network.alpha)
        if room is None:
            start = self.start(own, length)
            if record is not None:
                start = torch.cat([start, record.value.type_as(start)])
            return Rows(tokens, mask, start)
        start, spare = room
        self.start(own, length, out=start[:fresh])
        if record is not None:
            start[fresh:] = record.value
        return Rows(tokens, mask, start, spare)

    # --- prediction ----------------------------------------------------------------------

    def predict(
        self,
        batch: TextBatch,
        thinking: Descent,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Per position, the sample that `thinking` selects (paper section 3.3).

        `on_state` gets steps 0..K of every sample; state (k, m) is exactly what a run of k steps
        and m samples ends with under `extra_steps: last`. Energies read for a listener alone are
        outside `passes`, which are the prediction's own. Raises TypeError for another kind of
        thinking, ValueError where `every` does not divide the steps.
        """
        plan = ebt_plan(self.config, thinking)
        with torch.inference_mode(False), torch.no_grad():
            tokens, rows = batch.tokens[:, :-1].clone(), batch.rows.clone()
            observed = ObservedStream(self.network, plan.schedule)
            contexts = observed.extend(self.network.embed(tokens))
            return self.think(contexts, RowNoise(noise, rows), tokens.shape[1], plan, on_state)

    def decoder(self, rows: Tensor, thinking: Descent, noise: Noise) -> EBTDecoder:
        """An empty decoder for the sequences `rows` (B,)."""
        return EBTDecoder(self, rows.clone(), ebt_plan(self.config, thinking), noise)

    def descent_energies(
        self, batch: TextBatch, noise: Noise, step_size: float
    ) -> tuple[Tensor, Tensor]:
        """Energies (B, S) of the starting distribution, and of it after one small step."""
        network = self.network
        with torch.inference_mode(False), torch.no_grad():
            tokens, rows = batch.tokens[:, :-1].clone(), batch.rows.clone()
            view = network.view(tokens.shape[1])
            context = network.context(tokens, 0)
            start = self.start(RowNoise(noise, rows), tokens.shape[1]).softmax(-1)
            before, slope = network.slope(network.project(start), context, view)
            moved = start - step_size * network.to_vocabulary(slope)
            return before, network.energies(network.project(moved), context, view)


class EBTDecoder:
    """The observed stream of every landscape so far; each feed thinks about one token."""

    def __init__(self, adapter: EBTText, rows: Tensor, plan: DescentPlan, noise: Noise) -> None:
        self.adapter, self.rows, self.plan, self.noise = adapter, rows, plan, noise
        self.observed = ObservedStream(adapter.network, plan.schedule, plan.thinking.samples)

    def feed(self, tokens: Tensor) -> Prediction:
        """Append `tokens` (B, T) and predict the token after them: logits (B, V)."""
        with inference():
            contexts = self.observed.extend(self.adapter.network.embed(tokens))
            own = RowNoise(self.noise, self.rows, position=self.observed.length - 1)
            found = self.adapter.think(contexts, own, 1, self.plan)
        value, energy, steps = (
            None if t is None else plain(t[:, 0]) for t in (found.value, found.energy, found.steps)
        )
        assert value is not None
        return Prediction(value, energy, found.passes, steps)
