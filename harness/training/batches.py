"""Training rows as micro-batches: the same rows in the same order for every adapter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.images import ImageRows
from harness.data.tensors import image_batch, text_batch, video_batch
from harness.data.text import TextRows, row_order
from harness.data.video import ClipRows
from harness.planning.spec import TrainSpec
from harness.protocol import Batch
from harness.training.parallel import ALONE, Ranks


@dataclass(frozen=True)
class RowBatches:
    """Rows drawn without replacement in epochs, ordered by the run's seed and the step alone."""

    rows: TextRows | ImageRows | ClipRows
    spec: TrainSpec
    device: torch.device
    ranks: Ranks = ALONE

    def micro_batches(self, step: int) -> list[Batch]:
        """Optimizer step `step`'s rows, cut into `accumulate` equal parts: of each, the rank's."""
        ids = row_order(
            len(self.rows), batch_size=self.spec.batch_size, seed=self.spec.seed, step=step
        )
        parts = ids.reshape(self.spec.accumulate, self.ranks.size, -1)
        return [self._batch(part) for part in parts[:, self.ranks.rank]]

    def _batch(self, ids: NDArray[np.int64]) -> Batch:
        if isinstance(self.rows, TextRows):
            return text_batch(self.rows, ids, self.device)
        if isinstance(self.rows, ClipRows):
            return video_batch(self.rows, ids, self.device)
        return image_batch(self.rows, ids, self.device)
