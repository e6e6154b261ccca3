"""A probe of files whose labels do not mean the same in both splits is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.data import measured
from harness.data.datasets import load_images
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.probe import probed_images
from harness.planning.eval_spec import ProbeEval
from tests.evals.test_evaluators import context_of
from tests.training.tiny import spec_of

FOLDERS = "file:{split}?size=8"
RECORDS = "file:{split}.parquet#image?size=8&label=label"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalContext:
    """Works in a folder of its own, whose files are taken for old."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    return context_of(spec_of("dit_image"), tmp_path / "cache")


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def folder(place: str, first: int, count: int = 10) -> None:
    Path(place).mkdir(parents=True)
    for seed in range(first, first + count):
        (Path(place) / f"{seed}.png").write_bytes(png(seed))


def records(split: str, first: int, names: list[str]) -> None:
    """As Hugging Face writes them, ten of each class."""
    labels = [i % len(names) for i in range(10 * len(names))]
    content = [{"bytes": png(first + i), "path": None} for i in range(len(labels))]
    described = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": content, "label": labels})
    metadata = {"huggingface": json.dumps(described)}
    pq.write_table(table.replace_schema_metadata(metadata), f"{split}.parquet")


def refused(context: EvalContext, data: str) -> str:
    with pytest.raises(HarnessError) as caught:
        probed_images(ProbeEval(data=data, split="validation", l2=(1e-2,)), context)
    return str(caught.value)


def test_a_validation_split_that_is_not_in_folders_of_classes(context: EvalContext) -> None:
    """As tiny ImageNet is laid out."""
    folder("train/n1/images", 0)
    folder("train/n2/images", 10)
    folder("val/images", 20)
    assert "(validation) have no labels" in refused(context, FOLDERS)
    folder("val/n1", 30)
    message = refused(context, FOLDERS)
    assert "10 of 20 images of file:{split}?size=8 (validation) are of a class" in message
    assert "the first is class 'images'" in message
    assert "train/NAME" in message


def test_a_class_that_validation_has_alone(context: EvalContext) -> None:
    folder("train/n2", 0)
    folder("train/n3", 10)
    load_images(FOLDERS, "train", cache=context.cache)
    for index, name in enumerate(("n1", "n2", "n3")):
        folder(f"val/{name}", 20 + 10 * index)
    message = refused(context, FOLDERS)
    assert "n1" in message


def test_names_in_another_order(context: EvalContext) -> None:
    records("train", 0, ["x", "y"])
    records("validation", 100, ["y", "x"])
    assert "0 is 'x' in train and 'y' in validation" in refused(context, RECORDS)


def test_the_same_classes_in_both(context: EvalContext) -> None:
    records("train", 0, ["x", "y"])
    records("validation", 100, ["x", "y"])
    spec = ProbeEval(data=RECORDS, split="validation", l2=(1e-2,))
    assert probed_images(spec, context).classes == 2
