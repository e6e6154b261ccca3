"""Text adapters: a network, its objective and its predictions behind `harness.protocol`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.adapters.descending import (
    Best,
    Draws,
    Scratch,
    alpha_group,
    drawn_steps,
    sample_chunks,
)
from baselines.autoregressive import replay_rows
from baselines.autoregressive_costs import ebt_plan
from baselines.descent import OnPoint, descend
from baselines.descent_plan import DescentPlan
from baselines.ebt import Context, TextEnergy
from baselines.replay import Record, Replay
from baselines.text_descent import Rows, Steps, TextLandscapes, plain_objective
from baselines.text_records import EBTTextConfig, TransformerPPTextConfig
from baselines.text_schedule import can_schedule, scheduled_objective
from baselines.transformer import Transformer
from harness.protocol import (
    Descent,
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


class TransformerPPText(nn.Module):
    """Transformer++ on next-token prediction: one forward pass, no thinking."""

    def __init__(self, config: TransformerPPTextConfig, shape: TextShape) -> None:
        super().__init__()
        self.network = Transformer(config, shape.vocab_size)

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        """Cross-entropy in nats, summed over valid targets."""
        logits = self.network(batch.tokens[:, :-1])
        targets = batch.tokens[:, 1:].masked_fill(~batch.mask, -100)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return StepOutput(loss, int(batch.mask.sum()))

    def predict(
        self,
        batch: TextBatch,
        thinking: Single,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Logits (B, S, V); the one state is step 1. Raises TypeError if asked to think."""
        _check_single(thinking)
        with torch.inference_mode(False), torch.no_grad():
            logits = self.network(batch.tokens[:, :-1].clone())
            if on_state is not None:
                on_state(State(1, range(1), logits[:, None], None))
        return Prediction(logits, None, Passes(nfe=1, forward=1, backward=0))

    def decoder(self, rows: Tensor, thinking: Single, noise: Noise) -> TransformerDecoder:
        """An empty decoder for the sequences `rows` (B,)."""
        _check_single(thinking)
        return TransformerDecoder(self.network)

    def param_groups(self) -> Sequence[ParamGroup]:
        """Everything, decayed: norms and embeddings included (paper section 3)."""
        return [ParamGroup("weights", list(self.parameters()))]


class TransformerDecoder:
    """Keys and values of every layer so far."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self.past: list[tuple[Tensor, Tensor]] | None = None

    def feed(self, tokens: Tensor) -> Prediction:
        """Append `tokens` (B, T) and predict the token after them: logits (B, V)."""
        with torch.inference_mode(False), torch.no_grad():
            logits, self.past = self.network.extend(tokens.clone(), self.past)
        return Prediction(logits, None, Passes(nfe=1, forward=1, backward=0))


class EBTText(nn.Module):
    """EBT on next-token prediction: energy descent from random logits, best of M samples."""

    def __init__(self, config: EBTTextConfig, shape: TextShape) -> None:
        super().__init__()
        self.config, self.vocab_size = config, shape.vocab_size
        self.network = TextEnergy(config, shape.vocab_size)
        self.replay = Replay(config.replay_records)
        self.scratch = Scratch()

    # --- training ------------------------------------------------------------------------

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        """Cross-entropy in nats, summed over valid targets, those of replayed rows included."""
        replayed = self._replayed(batch, noise)
        draws, rows = self._rows(batch, replayed, noise)
        steps = self._steps(draws, rows.mask.shape[1])
        schedule = can_schedule(self.network, steps.alpha)
        sums = (scheduled_objective if schedule else plain_objective)(self.network, rows, steps)
        if self._remembers:
            assert sums.logits is not None
            fresh = len(batch.rows)
            own = (batch.tokens, batch.mask, sums.logits[:fresh])
            self.replay.store(Record(*own))
        n = int(rows.mask.sum())
        metrics = {
            "loss_last": (sums.loss_last, n),
            "energy_first": (sums.energy_first, n),
            "energy_last": (sums.energy_last, n),
        }
        return StepOutput(sums.loss, n, metrics)

    def work(self, batch: TextBatch, noise: Noise) -> Hashable:
        """Optimization steps and replayed rows."""
        wanted = replay_rows(self.config, len(batch.rows))
        count = drawn_steps(self.config.step_counts, noise, batch.rows.device)
        return count, min(wanted, len(self.replay)), len(batch.rows)

    def replay_state(self) -> Mapping[str, Tensor]:
        """The replay buffer, unless the config drops it."""
        return {} if self.config.replay_checkpoint == "drop" else self.replay.state()

    def load_replay_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `replay_state` gave."""
        self.replay.load(state, self.network.alpha.device)

    def compile_body(self) -> None:
        """Compile the passes of the prediction stream."""
        self.network.compile_body()

    def param_groups(self) -> Sequence[ParamGroup]:
        """Weights, decayed; alpha apart, with its own learning rate and no decay."""
        alpha = self.network.alpha
        weights = [p for p in self.parameters() if p is not alpha]
        return [ParamGroup("weights", weights), *alpha_group(alpha, self.config)]

    @property
    def _remembers(self) -> bool:
        return self.training and torch.is_grad_enabled() and self.config.replay_records > 0

    def _replayed(self, batch: TextBatch, noise: Noise) -> tuple[Tensor, Record] | None:
        if not self._remembers:
            return None
        return self.replay.draw(replay_rows(self.config, len(batch.rows)), batch.rows[:1], noise)

    def _rows(
        self, batch: TextBatch, replayed: tuple[Tensor, Record] | None, noise: Noise
    ) -> tuple[Draws, Rows]:
        """Fresh rows, then replayed ones, in memory kept for them where that pays."""
        tokens, mask, slots = batch.tokens, batch.mask, batch.rows[:0]
        fresh, length = mask.shape
        if replayed is not None:
            slots, record = replayed
            tokens, mask = torch.cat([tokens, record.inputs]), torch.cat([mask, record.mask])
        room = None
        if can_schedule(self.network, self.network.alpha):
            room = self.scratch.pair((*mask.shape, self.vocab_size), self.network.alpha)
        start = self._start(
            batch.rows, length, 0, noise, out=None if room is None else room[0][:fresh]
        )
        if replayed is not None and room is None:
            start = torch.cat([start, record.value.type_as(start)])
        elif room is not None:
            start = room[0]
            if replayed is not None:
                start[fresh:] = record.value
        spare = None if room is None else room[1]
        return Draws(noise, batch.rows, slots), Rows(tokens, mask, start, spare)

    def _steps(self, draws: Draws, length: int) -> Steps:
        config = self.config
        device, dtype = draws.rows.device, self.network.dtype
        alpha = self.network.step_size()
        if config.random_step_size > 1:
            alpha = alpha * draws.factor((length, 1), config.random_step_size).to(dtype)
        count = drawn_steps(config.step_counts, draws.noise, device)
        if config.langevin_noise == 0:
            return Steps(count, alpha, None)
        shape = (length, self.vocab_size)

        def noise(step: int, room: Tensor | None = None) -> Tensor:
            return draws.langevin(shape, step=step, room=room).to(dtype)

        return Steps(count, alpha, noise, config.langevin_noise)

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
            contexts = {k: self.network.context(tokens, k) for k in sorted(set(plan.schedule))}
            return self._think(contexts, rows, tokens.shape[1], plan, noise, on_state=on_state)

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
            start = self._start(rows, tokens.shape[1], 0, noise).softmax(-1)
            before, slope = network.slope(network.project(start), context, view)
            moved = start - step_size * network.to_vocabulary(slope)
            return before, network.energies(network.project(moved), context, view)

    def _think(
        self,
        contexts: dict[int, Context],
        rows: Tensor,
        length: int,
        plan: DescentPlan,
        noise: Noise,
        *,
        on_state: OnState | None = None,
        position: int | None = None,
    ) -> Prediction:
        """Predictions after each of `length` states; with `position` after the last one alone."""
        thinking, network = plan.thinking, self.network
        alpha = thinking.step_size or float(network.step_size())
        counted = length if position is None else 1
        best = Best(thinking.select)
        for chunk in sample_chunks(thinking.samples, len(rows) * counted * self.vocab_size):
            size = (len(rows), counted, len(chunk))

            def draw(step: int, chunk: range = chunk) -> Tensor:
                std = plan.noise_std
                drawn = [self._noise(rows, counted, step, i, noise, position) for i in chunk]
                return torch.stack(drawn, dim=2).to(network.dtype).mul_(std)

            starts = [self._start(rows, counted, i, noise, position) for i in chunk]
            landscapes = TextLandscapes(
                network,
                contexts,
                size,
                alpha,
                draw,
                None if position is None else torch.tensor([position], device=rows.device),
            )
            listener = None if on_state is None else _listener(on_state, size, chunk)
            start = torch.stack(starts, dim=2).flatten(0, 2)  # (B * S * m, V)
            best.offer(descend(landscapes, plan, start, listener), size)
        value = best.value if position is None else best.value[:, 0]
        return best.prediction(value, plan, drop=position is not None)

    def _start(
        self,
        rows: Tensor,
        length: int,
        sample: int,
        noise: Noise,
        position: int | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Initial logits (B, S, V), in `out` if it is given."""
        shape, dtype = (length, self.vocab_size), self.network.dtype
        if self.config.start == "zeros":
            if out is not None:
                return out.zero_()
            return torch.zeros(len(rows), *shape, device=rows.device, dtype=dtype)
        start = noise.normal(
            rows, shape, purpose="start", sample=sample, position=position, out=out
        ).to(dtype)
        return start if self.config.start_scale == 1 else start.mul_(self.config.start_scale)

    def _noise(
        self,
        rows: Tensor,
        length: int,
        step: int,
        sample: int,
        noise: Noise,
        position: int | None,
    ) -> Tensor:
        return noise.normal(
            rows,
            (length, self.vocab_size),
            purpose="langevin",
            step=step,
            sample=sample,
            position=position,
        )


class EBTDecoder:
    """The observed stream of every landscape so far; each feed thinks about one token."""

    def __init__(self, adapter: EBTText, rows: Tensor, plan: DescentPlan, noise: Noise) -> None:
        self.adapter, self.rows, self.plan, self.noise = adapter, rows, plan, noise
        self.contexts: dict[int, Context] = {}
        self.length = 0

    def feed(self, tokens: Tensor) -> Prediction:
        """Append `tokens` (B, T) and predict the token after them: logits (B, V)."""
        network = self.adapter.network
        with torch.inference_mode(False), torch.no_grad():
            embedded = network.embed(tokens.clone())
            for landscape in sorted(set(self.plan.schedule)):
                before = self.contexts.get(landscape)
                self.contexts[landscape] = network.run_context(embedded, landscape, before=before)
            self.length += tokens.shape[1]
            return self.adapter._think(
                self.contexts,
                self.rows,
                self.length,
                self.plan,
                self.noise,
                position=self.length - 1,
            )


def _listener(on_state: OnState, size: tuple[int, int, int], chunk: range) -> OnPoint:
    """Hand points on as states: (B * S * m, ...) to (B, m, S, ...)."""

    def listen(step: int, value: Tensor, energy: Tensor) -> None:
        values, energies = (t.view(*size, *t.shape[1:]).transpose(1, 2) for t in (value, energy))
        on_state(State(step, chunk, values, energies))

    return listen


def _check_single(thinking: object) -> None:
    if not isinstance(thinking, Single):
        kind = getattr(thinking, "kind", thinking)
        raise TypeError(f"transformer_pp_text cannot think; got thinking {kind!r}")
