"""Images as they are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shown_pixels(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) in [-1, 1] as (H, W) grey or (H, W, 3), in [0, 1]."""
    scaled = np.clip((image + 1) / 2, 0, 1)
    if scaled.shape[0] == 1:
        return np.asarray(scaled[0], dtype=np.float32)
    return np.asarray(np.moveaxis(scaled[:3], 0, -1), dtype=np.float32)
