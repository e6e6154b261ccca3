"""Encoded images of folders, records and MNIST's files, one after the other, none of them held."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.data.disk import readable
from harness.data.effort import Meter
from harness.data.hub import from_hub
from harness.data.pixels.folder_classes import folder_classes
from harness.data.pixels.recipes import LINK_TO_NOTHING, Item, size_of
from harness.data.pixels.sources import IMAGE_SUFFIXES, PixelSource
from harness.errors import HarnessError

#: Records that are held at a time.
_BATCH_ROWS = 32
_IMAGES, _LABELS = 0x803, 0x801


def read_images(source: PixelSource, split: str, meter: Meter) -> Iterator[Item]:
    """The images of the source in order, whichever split they belong to; files are not opened.

    An item's content is the path or address of its file, or its bytes. Raises HarnessError for what
    cannot be read, and for a record whose field holds something else than an image or a class.
    """
    reader = {"folder": _folder, "parquet": _parquet, "idx": _idx, "hub": _hub}[source.layout]
    yield from islice(reader(source, split, meter), source.images)


def class_names(source: PixelSource, split: str) -> tuple[str, ...] | None:
    """The names of the classes by number; None where there are no labels, or they have no names.

    A folder's are of its subfolders, as `folder_classes` says.
    """
    if source.layout == "folder":
        return folder_classes(source, split)
    if source.label is None:
        return None
    if source.layout == "parquet":
        return _parquet_classes(source, split)
    with _from_hub(source, split):
        features = _opened_hub(source, split).features
    return _names(features, source.label)


def _names(features: Any, label: str) -> tuple[str, ...] | None:
    """Names of a Hugging Face dataset's class labels."""
    names = getattr((features or {}).get(label), "names", None)
    return None if names is None else tuple(names)


# --- folders ---------------------------------------------------------------------------------


def _folder(source: PixelSource, split: str, meter: Meter) -> Iterator[Item]:
    (root,) = source.files(split)
    classes = folder_classes(source, split)
    numbers = None if classes is None else {name: i for i, name in enumerate(classes)}
    for path, size in _image_files(root):
        name = path.removeprefix(f"{root}{os.sep}").replace(os.sep, "/")
        label = None if numbers is None else numbers[name.partition("/")[0]]
        if size is None:
            yield Item(name, path, None, label, LINK_TO_NOTHING)
        else:
            meter.done += size
            yield Item(name, path, path, label)


def _image_files(folder: Path) -> Iterator[tuple[str, int | None]]:
    """(path, bytes) of every image in a folder and its subfolders, by name; none that is hidden.

    None bytes where a link leads to nothing.
    """
    with readable(folder, "it"), os.scandir(folder) as entries:
        found = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in found:
        with readable(Path(entry.path), "it"):
            is_folder = entry.is_dir()
        if is_folder:
            yield from _image_files(Path(entry.path))
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            yield entry.path, size_of(entry.path)


# --- records ---------------------------------------------------------------------------------


def _parquet(source: PixelSource, split: str, meter: Meter) -> Iterator[Item]:
    import pyarrow.parquet

    wanted = _columns(source)
    paths = source.files(split)
    meter.total = sum(path.stat().st_size for path in paths)
    for path in paths:
        with readable(path, "it"), pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20) as file:
            names = file.schema_arrow.names
            for column in wanted:
                _check_field(column, names, str(path))
            rows, size = max(1, file.metadata.num_rows), path.stat().st_size
            begun, row = meter.done, 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
                for record in batch.to_pylist():
                    row += 1
                    meter.done = begun + size * row // rows
                    yield _record(record, source, f"{path.name}:{row}", f"{path}:{row}")


def _parquet_classes(source: PixelSource, split: str) -> tuple[str, ...] | None:
    """The names that Hugging Face's `datasets` writes into a file's schema."""
    import pyarrow.parquet

    path = source.files(split)[0]
    with readable(path, "it"):
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[source.label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names))


def _hub(source: PixelSource, split: str, meter: Meter) -> Iterator[Item]:
    """Records of a Hub dataset, or of a folder in one of its formats, streamed by `datasets`."""
    name = str(source)
    with _from_hub(source, split):
        rows = _opened_hub(source, split)
        wanted = _columns(source)
        if rows.column_names is not None:
            for column in wanted:
                _check_field(column, rows.column_names, name)
            rows = rows.select_columns(list(wanted))
        meter.total, meter.done = source.images or _rows_of(rows, split), 0
        for table in rows.with_format("arrow").iter(batch_size=_BATCH_ROWS):
            for record in table.to_pylist():
                meter.done += 1
                yield _record(record, source, f"row {meter.done}", f"{name}:{meter.done}")


def _opened_hub(source: PixelSource, split: str) -> Any:
    import datasets

    source.files(split)  # a folder that is not there is not looked for on the Hub
    place = str(Path(source.place).expanduser()) if source.is_local else source.place
    chosen = _whole(source, split)
    return datasets.load_dataset(
        place, source.config, split=chosen, revision=source.revision, streaming=True
    )


def _rows_of(rows: Any, split: str) -> int | None:
    splits = rows.info.splits or {}
    return splits[split].num_examples or None if split in splits else None


def _columns(source: PixelSource) -> dict[str, None]:
    """The columns that hold the fields: of that name, or that a dotted path begins with."""
    fields = [source.field] if source.label is None else [source.field, source.label]
    return dict.fromkeys(field.partition(".")[0] for field in fields)


def _check_field(column: str, names: list[str], where: str) -> None:
    if column not in names:
        raise HarnessError("no such field", where=where, given=column, allowed=sorted(names))


def _record(record: dict[str, Any], source: PixelSource, name: str, where: str) -> Item:
    content, label = _content(record, source, where), _label(record, source, where)
    broken = None
    if content is None:
        broken = f"its {source.field} is null"
    elif label is None and source.label is not None:
        broken = f"its {source.label} is null"
    return Item(name, where, content, label, broken)


def _content(record: dict[str, Any], source: PixelSource, where: str) -> bytes | str | None:
    """Encoded bytes, or the path or address of them; None where the record holds null."""
    value = _value(record, source.field)
    if isinstance(value, dict) and "bytes" in value:
        if value["bytes"] is None and value.get("path"):
            return str(value["path"])
        value = value["bytes"]
    if value is not None and not isinstance(value, bytes):
        raise HarnessError(
            "the record has no encoded image in this field",
            where=where,
            given=source.field,
            hint=f"it holds {type(value).__name__}, not the bytes of a JPEG, PNG or the like, nor "
            "{bytes, path}",
        )
    return value


def _label(record: dict[str, Any], source: PixelSource, where: str) -> int | None:
    if source.label is None:
        return None
    value = _value(record, source.label)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise HarnessError(
            "a label is the number of a class, from 0",
            where=where,
            given=f"{source.label}: {value!r}",
            hint="-1 is how Hugging Face marks images without one"
            if value == -1
            else "give each class a number, as `datasets` does with ClassLabel",
        )
    return value


def _value(record: Any, field: str) -> Any:
    first, dot, rest = field.partition(".")
    value = record.get(first) if isinstance(record, dict) else None
    return _value(value, rest) if dot else value


def _from_hub(source: PixelSource, split: str) -> AbstractContextManager[None]:
    return from_hub(
        str(source),
        _whole(source, split),
        place=None if source.is_local else source.place,
        files=f"file:PATH/*.parquet#{source.field}?size={source.size}",
    )


def _whole(source: PixelSource, split: str) -> str:
    """The split that is read, of which a part may be held out."""
    return "train" if source.holdout is not None else split


# --- MNIST's files ---------------------------------------------------------------------------


def _idx(source: PixelSource, split: str, meter: Meter) -> Iterator[Item]:
    """Images as `P5` files of the format PGM, so that what decodes the others decodes them."""
    path, *beside = source.files(split)
    with readable(path, "it"), _packed(path) as file:
        count, height, width = _idx_header(file, _IMAGES, path)
        labels = None if not beside else _idx_labels(beside[0], count)
        head = f"P5 {width} {height} 255\n".encode()
        meter.total = count * height * width
        for index in range(count):
            pixels = file.read(height * width)
            if len(pixels) != height * width:
                raise HarnessError(
                    f"the file ends in image {index + 1} of {count}", where=str(path)
                )
            meter.done += len(pixels)
            label = None if labels is None else int(labels[index])
            yield Item(f"{path.name}:{index + 1}", f"{path}:{index + 1}", head + pixels, label)
        _check_end(file, path)


def _idx_labels(path: Path, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with readable(path, "it"), _packed(path) as file:
        (labels,) = _idx_header(file, _LABELS, path)
        if labels != count:
            raise HarnessError(f"{labels} labels for {count} images", where=str(path))
        found = np.frombuffer(file.read(count), np.uint8)
        if len(found) != count:
            raise HarnessError(
                f"the file ends in label {len(found) + 1} of {count}", where=str(path)
            )
        _check_end(file, path)
    return found


def _idx_header(file: IO[bytes], magic: int, path: Path) -> tuple[int, ...]:
    """The numbers after the magic one: how many, and the sides of an image."""
    size = 4 * (1 + (magic & 0xFF))
    head = file.read(size)
    if len(head) != size or int.from_bytes(head[:4], "big") != magic:
        kind = "images" if magic == _IMAGES else "labels"
        raise HarnessError(f"not an idx file of {kind}", where=str(path))
    return tuple(int(n) for n in np.frombuffer(head[4:], ">u4"))


def _check_end(file: IO[bytes], path: Path) -> None:
    if file.read(1):
        raise HarnessError("the file goes on after what its header says", where=str(path))


def _packed(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path), 1 << 20)
    return path.open("rb")
