"""Images for tests, and what is asked of sets of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data import measured
from harness.data.images import Images
from harness.data.pixels import recipes
from harness.data.pixels.array_shards import ArrayShards


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just written are taken for old, and parts hold a few small images."""
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(recipes, "CHUNK_BYTES", 7 * 3 * 8 * 8)


def thirty(place: Path) -> Path:
    """30 images of 8 x 8 in a new folder, read as four parts and a bit."""
    place.mkdir()
    for index in range(30):
        (place / f"{index:02}.png").write_bytes(png(noise(index)))
    return place


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape or (8, 8, 3)).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


NAME = "file:a?size=8"
EXPECTED = np.stack([noise(index).transpose(2, 0, 1) for index in range(30)])


def pixels(images: Images) -> NDArray[Any]:
    assert isinstance(images.pixels, ArrayShards)
    return images.pixels[:]


def index_of(images: Images) -> dict[str, Any]:
    assert isinstance(images.pixels, ArrayShards)
    return images.pixels.index


def classed(root: Path, *names: str) -> None:
    """An image at each name below the root."""
    for name in names:
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(noise(len(list(root.rglob("*.png"))))))


FEATURES = {"y": {"names": ["no", "yes"], "_type": "ClassLabel"}, "picture": {"_type": "Image"}}


def records(path: Path, *, rows: int = 9, labels: list[Any] | None = None) -> Path:
    """A file as Hugging Face writes one: encoded images beside their paths, classes by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [{"bytes": png(noise(index)), "path": f"{index}.png"} for index in range(rows)]
    table = pa.table(
        {"picture": content, "y": [i % 2 for i in range(rows)] if labels is None else labels}
    )
    described = json.dumps({"info": {"features": FEATURES}})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": described}), path, row_group_size=4
    )
    return path
