"""Rows as tensors on a device: the one place where data meet torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.images import ImageRows
from harness.data.text import TextRows
from harness.data.video import ClipRows
from harness.protocol import ImageBatch, TextBatch, VideoBatch


def text_batch(rows: TextRows, ids: NDArray[np.int64], device: torch.device) -> TextBatch:
    """The text rows `ids` (B,)."""
    tokens, mask = rows.get(ids)
    return TextBatch(
        torch.from_numpy(tokens).to(device),
        torch.from_numpy(mask).to(device),
        torch.from_numpy(ids).to(device),
    )


def image_batch(rows: ImageRows, ids: NDArray[np.int64], device: torch.device) -> ImageBatch:
    """The images `ids` (B,)."""
    return ImageBatch(torch.from_numpy(rows.get(ids)).to(device), torch.from_numpy(ids).to(device))


def video_batch(rows: ClipRows, ids: NDArray[np.int64], device: torch.device) -> VideoBatch:
    """The windows of clips `ids` (B,)."""
    return VideoBatch(torch.from_numpy(rows.get(ids)).to(device), torch.from_numpy(ids).to(device))
