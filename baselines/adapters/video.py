"""Video adapters: a network, its objective and its predictions behind `harness.protocol`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.adapters.autoregressive import (
    AutoregressiveEBT,
    RowNoise,
    predict_once,
    step_output,
)
from baselines.adapters.descending import Draws
from baselines.autoregressive_costs import ebt_plan
from baselines.ebt_video import VideoEnergy
from baselines.observed_stream import ObservedStream
from baselines.replay import Record
from baselines.transformer_video import VideoTransformer
from baselines.video_descent import FrameRows, VideoLandscapes, frame_errors, video_objective
from baselines.video_settings import EBTVideoConfig, TransformerPPVideoConfig
from harness.protocol import (
    Descent,
    Noise,
    OnState,
    ParamGroup,
    Prediction,
    Single,
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

    def compile_body(self) -> None:
        """Compile the blocks."""
        self.network.compile_body()

    def predict(
        self,
        batch: VideoBatch,
        thinking: Single,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Frames (B, S, C, H, W); the one state is step 1. Raises TypeError if asked to think."""
        return predict_once(
            "transformer_pp_video",
            thinking,
            lambda: self.network(batch.frames[:, :-1].clone()),
            on_state,
        )

    def param_groups(self) -> Sequence[ParamGroup]:
        """Everything, decayed: norms and biases included (paper section 3)."""
        return [ParamGroup("weights", list(self.parameters()))]


class EBTVideo(AutoregressiveEBT):
    """EBT on next-frame prediction: energy descent from random frames, best of M samples."""

    network: VideoEnergy
    landscapes = VideoLandscapes

    def __init__(self, config: EBTVideoConfig, shape: VideoShape) -> None:
        network = VideoEnergy(config, shape)
        super().__init__(config, network, network.frame, config.width)

    # --- training ------------------------------------------------------------------------

    def training_loss(self, batch: VideoBatch, noise: Noise) -> StepOutput:
        """Smooth-L1 averaged over the numbers of a frame, summed over predicted frames.

        Those of replayed rows are included.
        """
        frames = batch.frames.to(self.network.dtype)
        fresh, length = len(frames), frames.shape[1] - 1
        start = self.start(RowNoise(noise, batch.rows), length)
        record = self.replayed(batch.rows, noise)
        if record is not None:
            frames = torch.cat([frames, record.inputs.type_as(frames)])
            start = torch.cat([start, record.value.type_as(start)])
        steps = self.drawn(Draws(noise, batch.rows, len(frames) - fresh), length)
        with self.network.training_step():
            sums = video_objective(self.network, FrameRows(frames, start), steps)
        if self.remembers:
            assert sums.value is not None
            every = torch.ones(fresh, length, dtype=torch.bool, device=frames.device)
            self.replay.store(Record(frames[:fresh], every, sums.value[:fresh]))
        return step_output(sums, len(frames) * length)

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
            contexts = ObservedStream(self.network, plan.schedule).extend(observed)
            own = RowNoise(noise, rows)
            return self.think(contexts, own, observed.shape[1], plan, on_state)

    def descent_energies(
        self, batch: VideoBatch, noise: Noise, step_size: float
    ) -> tuple[Tensor, Tensor]:
        """Energies (B, S) of the starting frames, and of them after one small step."""
        network = self.network
        with torch.inference_mode(False), torch.no_grad():
            observed = self._observed(batch)
            view = network.view(observed.shape[1])
            context = network.run_context(observed, 0)
            start = self.start(RowNoise(noise, batch.rows.clone()), observed.shape[1])
            before, slope = network.slope(network.project(start), context, view)
            moved = start - step_size * network.to_frames(slope)
            return before, network.energies(network.project(moved), context, view)

    def _observed(self, batch: VideoBatch) -> Tensor:
        """Projected observed frames (B, S, D)."""
        return self.network.project(batch.frames[:, :-1].clone().to(self.network.dtype))
