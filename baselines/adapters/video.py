"""Video adapters: a network, its objective and its predictions behind `harness.protocol`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.adapters.autoregressive import AutoregressiveEBT, as_states
from baselines.adapters.descending import Best, Draws, sample_chunks
from baselines.autoregressive_costs import ebt_plan
from baselines.descent import descend
from baselines.descent_plan import DescentPlan
from baselines.ebt import Context
from baselines.ebt_video import VideoEnergy
from baselines.replay import Record
from baselines.transformer_video import VideoTransformer
from baselines.video_descent import FrameRows, VideoLandscapes, frame_errors, video_objective
from baselines.video_records import EBTVideoConfig, TransformerPPVideoConfig
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
    VideoBatch,
    VideoShape,
)


class TransformerPPVideo(nn.Module):
    """Transformer++ on next-frame prediction: one forward pass, no thinking."""

    def __init__(self, config: TransformerPPVideoConfig, shape: VideoShape) -> None:
        super().__init__()
        self.network = VideoTransformer(config, shape)

    def training_loss(self, batch: VideoBatch, noise: Noise) -> StepOutput:
        """Smooth-L1 averaged over the numbers of a frame, summed over predicted frames."""
        errors = frame_errors(self.network(batch.frames[:, :-1]), batch.frames[:, 1:])
        return StepOutput(errors.sum(), errors.numel())

    def predict(
        self,
        batch: VideoBatch,
        thinking: Single,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Frames (B, S, C, H, W); the one state is step 1. Raises TypeError if asked to think."""
        if not isinstance(thinking, Single):
            kind = getattr(thinking, "kind", thinking)
            raise TypeError(f"transformer_pp_video cannot think; got thinking {kind!r}")
        with torch.inference_mode(False), torch.no_grad():
            value = self.network(batch.frames[:, :-1].clone())
            if on_state is not None:
                on_state(State(1, range(1), value[:, None], None))
        return Prediction(value, None, Passes(nfe=1, forward=1, backward=0))

    def param_groups(self) -> Sequence[ParamGroup]:
        """Everything, decayed: norms and biases included (paper section 3)."""
        return [ParamGroup("weights", list(self.parameters()))]


class EBTVideo(AutoregressiveEBT):
    """EBT on next-frame prediction: energy descent from random frames, best of M samples."""

    network: VideoEnergy

    def __init__(self, config: EBTVideoConfig, shape: VideoShape) -> None:
        super().__init__(config, VideoEnergy(config, shape))
        self.config = config

    # --- training ------------------------------------------------------------------------

    def training_loss(self, batch: VideoBatch, noise: Noise) -> StepOutput:
        """Smooth-L1 averaged over the numbers of a frame, summed over predicted frames.

        Those of replayed rows are included.
        """
        frames = batch.frames.to(self.network.dtype)
        fresh, length = len(frames), frames.shape[1] - 1
        slots = torch.empty(0, dtype=torch.long)
        start = self._start(batch.rows, length, 0, noise)
        replayed = self.replayed(batch.rows, noise)
        if replayed is not None:
            slots, record = replayed
            frames = torch.cat([frames, record.inputs.type_as(frames)])
            start = torch.cat([start, record.value.type_as(start)])
        steps = self.drawn(Draws(noise, batch.rows, slots), length, self.config.width)
        sums = video_objective(self.network, FrameRows(frames, start), steps)
        if self.remembers:
            every = torch.ones(fresh, length, dtype=torch.bool, device=frames.device)
            self.replay.store(Record(frames[:fresh], every, sums.frames[:fresh]))
        n = len(frames) * length
        metrics = {
            "loss_last": (sums.loss_last, n),
            "energy_first": (sums.energy_first, n),
            "energy_last": (sums.energy_last, n),
        }
        return StepOutput(sums.loss, n, metrics)

    # --- prediction ----------------------------------------------------------------------

    def predict(
        self,
        batch: VideoBatch,
        thinking: Descent,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Per frame, the sample that `thinking` selects (paper section 3.3).

        `on_state` gets steps 0..K of every sample; state (k, m) is exactly what a run of k steps
        and m samples ends with under `extra_steps: last`. Energies read for a listener alone are
        outside `passes`. Raises TypeError for another kind of thinking, ValueError where `every`
        does not divide the steps.
        """
        plan = ebt_plan(self.config, thinking)
        with torch.inference_mode(False), torch.no_grad():
            rows = batch.rows.clone()
            observed = self._observed(batch)
            contexts = {k: self.network.run_context(observed, k) for k in set(plan.schedule)}
            return self._think(contexts, rows, observed.shape[1], plan, noise, on_state)

    def descent_energies(
        self, batch: VideoBatch, noise: Noise, step_size: float
    ) -> tuple[Tensor, Tensor]:
        """Energies (B, S) of the starting frames, and of them after one small step."""
        network = self.network
        with torch.inference_mode(False), torch.no_grad():
            observed = self._observed(batch)
            view = network.view(observed.shape[1])
            context = network.run_context(observed, 0)
            start = self._start(batch.rows.clone(), observed.shape[1], 0, noise)
            before, slope = network.slope(network.project(start), context, view)
            moved = start - step_size * network.to_frames(slope)
            return before, network.energies(network.project(moved), context, view)

    def _observed(self, batch: VideoBatch) -> Tensor:
        """Projected observed frames (B, S, D)."""
        return self.network.project(batch.frames[:, :-1].clone().to(self.network.dtype))

    def _think(
        self,
        contexts: dict[int, Context],
        rows: Tensor,
        length: int,
        plan: DescentPlan,
        noise: Noise,
        on_state: OnState | None,
    ) -> Prediction:
        thinking, network = plan.thinking, self.network
        alpha = thinking.step_size or float(network.step_size())
        numbers = len(rows) * length * max(network.project_in.weight.shape)
        best = Best(thinking.select)
        for chunk in sample_chunks(thinking.samples, numbers):
            size = (len(rows), length, len(chunk))

            def draw(step: int, chunk: range = chunk) -> Tensor:
                shape = (length, self.config.width)
                key = {"purpose": "langevin", "step": step}
                drawn = [noise.normal(rows, shape, sample=i, **key) for i in chunk]
                return torch.stack(drawn, dim=2).to(network.dtype).mul_(plan.noise_std)

            landscapes = VideoLandscapes(network, contexts, size, alpha, draw)
            listener = None if on_state is None else as_states(on_state, size, chunk)
            starts = [self._start(rows, length, i, noise) for i in chunk]
            start = torch.stack(starts, dim=2).flatten(0, 2)  # (B * S * m, C, H, W)
            best.offer(descend(landscapes, plan, start, listener), size)
        return best.prediction(best.value, plan)

    def _start(self, rows: Tensor, length: int, sample: int, noise: Noise) -> Tensor:
        """Initial frames (B, S, C, H, W)."""
        shape, dtype = (length, *self.network.frame), self.network.dtype
        if self.config.start == "zeros":
            return torch.zeros(len(rows), *shape, device=rows.device, dtype=dtype)
        start = noise.normal(rows, shape, purpose="start", sample=sample).to(dtype)
        return start if self.config.start_scale == 1 else start.mul_(self.config.start_scale)
