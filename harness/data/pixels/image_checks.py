"""What can be known of images before one is read: that there are some, their columns, labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.data.disk import readable
from harness.data.effort import Meter
from harness.data.pixels.reading import class_names, read_images
from harness.data.pixels.sources import IMAGE_SUFFIXES, PixelSource, SplitPixels
from harness.data.pixels.video_files import VIDEO_SUFFIXES
from harness.errors import HarnessError


def check_images(found: SplitPixels) -> None:
    """HarnessError unless a folder holds images, and records have the columns that are named.

    Looks no further than to the first image, and reads one file's footer. Nothing of what lies on
    the Hub or in its formats.
    """
    source = found.source
    if source.layout == "folder":
        (root,) = source.files(found.split)
        if next(read_images(source, found.split, Meter()), None) is None:
            raise _no_images(source, root)
    if source.layout == "parquet":
        _check_columns(source, source.files(found.split)[0])


def is_labelled(found: SplitPixels) -> bool:
    """Whether each image has a class: a field, a folder of its own, or MNIST's file of labels."""
    source = found.source
    if source.layout == "folder":
        return class_names(source, found.split) is not None
    if source.layout == "idx":
        return len(source.files(found.split)) > 1
    return source.label is not None


def _no_images(source: PixelSource, root: Path) -> HarnessError:
    below = (name for _, _, names in os.walk(root, followlinks=True) for name in names)
    if any(name.lower().endswith(VIDEO_SUFFIXES) for name in below):
        return HarnessError(
            "the folder holds videos and not one image",
            where=str(source),
            given=str(root),
            hint=f"clips are named by their frames: {source}&frames=16",
        )
    return HarnessError(
        "there is not one image in the folder",
        where=str(source),
        given=str(root),
        allowed=IMAGE_SUFFIXES,
    )


# --- columns ---------------------------------------------------------------------------------


def _check_columns(source: PixelSource, path: Path) -> None:
    import pyarrow.parquet

    with readable(path):
        schema = pyarrow.parquet.read_schema(path)
    image = _type_of(source.field, schema, path)
    if not _may_be_image(image):
        raise HarnessError(
            f"the field holds {image}, not encoded images",
            where=str(path),
            given=source.field,
            allowed=[each.name for each in schema if _may_be_image(each.type)] or None,
            hint="the bytes of a JPEG, PNG or the like, or {bytes, path}",
        )
    if source.label is None:
        return
    label = _type_of(source.label, schema, path)
    if not _may_be_label(label):
        raise HarnessError(
            f"labels are numbers of classes, from 0, and this field holds {label}",
            where=str(path),
            given=source.label,
            allowed=[each.name for each in schema if _may_be_label(each.type)] or None,
            hint="give each class a number, as `datasets` does with ClassLabel",
        )


def _type_of(field: str, schema: Any, path: Path) -> Any:
    """The type of a field, whose name is dotted where it is nested; else a HarnessError."""
    from pyarrow import types

    kind, inner = None, {each.name: each.type for each in schema}
    for part in field.split("."):
        if part not in inner:
            raise HarnessError(
                "no such field", where=str(path), given=part, allowed=sorted(inner) or None
            )
        kind = inner[part]
        inner = {each.name: each.type for each in kind} if types.is_struct(kind) else {}
    return kind


def _may_be_image(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(holds(kind) for holds in binary)


def _may_be_label(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind.value_type if types.is_dictionary(kind) else kind))
