"""Rows of images."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.datasets import load_images
from harness.data.images import ImageRows


def test_rows_are_the_images_and_may_be_written_to() -> None:
    images = load_images("builtin/digits", "validation")
    rows = ImageRows(images)
    batch = rows.get(np.array([5, 0]))
    np.testing.assert_array_equal(batch, images.pixels[[5, 0]])
    batch[:] = 0
    assert images.pixels[5].any(), "a batch is a copy"
    assert rows.shape == (1, 8, 8)
    for bad in (-1, len(rows)):
        with pytest.raises(IndexError):
            rows.get(np.array([bad]))
