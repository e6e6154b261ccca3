"""Text adapters: a network, its objective and its predictions behind `harness.protocol`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.ebt import EnergyNetwork
from baselines.text_descent import MIN_STEP_SIZE, s1_objective, trajectory
from baselines.text_records import EBTTextConfig, TransformerPPTextConfig, landscape_schedule
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

#: A chunk of samples holds at most this many logits (256 MiB of float32), or one sample.
CHUNK_LOGITS = 2**26


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
        if not isinstance(thinking, Single):
            raise TypeError(f"transformer_pp_text cannot think; got thinking {thinking.kind!r}")
        with torch.inference_mode(False), torch.no_grad():
            logits = self.network(batch.tokens[:, :-1].clone())
            if on_state is not None:
                on_state(State(1, range(1), logits[:, None], None))
        return Prediction(logits, None, Passes(nfe=1, forward=1, backward=0))

    def param_groups(self) -> Sequence[ParamGroup]:
        """Everything, decayed: norms and embeddings included (paper section 3)."""
        return [ParamGroup("weights", list(self.parameters()))]


class EBTText(nn.Module):
    """EBT S1 on next-token prediction: energy descent from random logits, best of M samples."""

    def __init__(self, config: EBTTextConfig, shape: TextShape) -> None:
        super().__init__()
        self.config, self.vocab_size = config, shape.vocab_size
        self.network = EnergyNetwork(config, shape.vocab_size)

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        """Cross-entropy in nats, mean over optimization steps, summed over valid targets."""
        start = self._start(batch.rows, batch.mask.shape[1], sample=0, noise=noise)
        steps = self.config.steps
        sums = s1_objective(self.network, batch.tokens, batch.mask, start, steps=steps)
        n = int(batch.mask.sum())
        metrics = {
            "loss_last": (sums.loss_last, n),
            "energy_first": (sums.energy_first, n),
            "energy_last": (sums.energy_last, n),
        }
        return StepOutput(sums.loss, n, metrics)

    def predict(
        self,
        batch: TextBatch,
        thinking: Descent,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Per position, the sample of lowest final energy (paper section 3.3).

        `on_state` gets steps 0..K of every sample; state (k, m) is exactly what a run of k steps
        and m samples ends with under `extra_steps: last`. Energies that are not free are read for
        selection only (more than one sample); those of intermediate states only when somebody
        listens, and outside `passes`, which are the prediction's own. Raises TypeError for another
        kind of thinking, ValueError where `every` does not divide the steps.
        """
        if not isinstance(thinking, Descent):
            raise TypeError(f"ebt_text thinks by 'descent'; got thinking {thinking.kind!r}")
        schedule = landscape_schedule(self.config, thinking)
        with torch.inference_mode(False), torch.no_grad():
            tokens, rows = batch.tokens[:, :-1].clone(), batch.rows.clone()
            observed = {k: self.network.context(tokens, k) for k in sorted(set(schedule))}
            alpha = thinking.step_size or max(float(self.network.alpha), MIN_STEP_SIZE)
            spend: frozenset[int] = frozenset()
            if thinking.samples > 1:
                spend = frozenset([len(schedule)] if on_state is None else range(len(schedule) + 1))
            best = _Best()
            for chunk in _chunks(thinking.samples, tokens.numel() * self.vocab_size):
                draws = [self._start(rows, tokens.shape[1], sample=i, noise=noise) for i in chunk]
                path = trajectory(
                    self.network,
                    observed,
                    torch.stack(draws, dim=1),
                    alpha=alpha,
                    schedule=schedule,
                    spend=spend,
                )
                for point in path:
                    if on_state is not None:
                        on_state(State(point.step, chunk, point.logits, point.energy))
                best.offer(point.logits, point.energy)
        nfe = thinking.steps * thinking.samples
        extra = thinking.samples if thinking.samples > 1 else 0
        return Prediction(best.value, best.energy, Passes(nfe, forward=nfe + extra, backward=nfe))

    def param_groups(self) -> Sequence[ParamGroup]:
        """Weights, decayed; alpha apart, with its own learning rate and no decay."""
        alpha = self.network.alpha
        groups = [ParamGroup("weights", [p for p in self.parameters() if p is not alpha])]
        if alpha.requires_grad:
            multiplier = self.config.step_size_lr_multiplier
            assert multiplier is not None, "resolved by the config"
            groups.append(ParamGroup("alpha", [alpha], multiplier, weight_decay=False))
        return groups

    def _start(self, rows: Tensor, length: int, *, sample: int, noise: Noise) -> Tensor:
        """Initial logits (B, S, V), standard normal."""
        start = noise.normal(rows, (length, self.vocab_size), purpose="start", sample=sample)
        return start.to(self.network.alpha.dtype)


class _Best:
    """The lowest-energy sample of each position so far; the earlier one on a tie."""

    def __init__(self) -> None:
        self.value = torch.empty(0)
        self.energy: Tensor | None = None

    def offer(self, logits: Tensor, energy: Tensor | None) -> None:
        """Take `logits` (B, m, S, V) where `energy` (B, m, S) is lower; None is a lone sample."""
        if energy is None:
            self.value = logits[:, 0]
            return
        lowest, index = energy.min(dim=1)  # (B, S)
        pick = index[:, None, :, None].expand(-1, 1, -1, logits.shape[-1])
        value = logits.gather(1, pick)[:, 0]  # (B, S, V)
        if self.energy is None:
            self.value, self.energy = value, lowest
            return
        better = lowest < self.energy
        self.value = torch.where(better[..., None], value, self.value)
        self.energy = torch.where(better, lowest, self.energy)


def _chunks(samples: int, logits_each: int) -> list[range]:
    size = max(1, CHUNK_LOGITS // logits_each)
    return [range(i, min(i + size, samples)) for i in range(0, samples, size)]
