"""A set of clips, and the ones that come from the user's own arrays of frames or latents."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from harness.data.disk import readable
from harness.data.documents import check_split
from harness.data.images import scaled
from harness.data.names import FILE_PREFIX, FILE_SPLITS
from harness.data.pixels.array_shards import ArrayShards
from harness.errors import HarnessError

CLIP_SUFFIXES = (".npy", ".npz", ".safetensors")
_AXES = "clips, frames, channels, height, width"
_FORMS = tuple(f"{FILE_PREFIX}path{suffix}" for suffix in CLIP_SUFFIXES)
#: safetensors' names of the types that are read.
_FLOATS = {"F16": "float16", "F32": "float32", "F64": "float64"}

ClipShape = tuple[int, int, int, int, int]


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of one split: numbers [N, F, C, H, W], F frames each, read-only.

    Pixels are float in [-1, 1], or uint8 from 0 to 255; latents are float, as they are. digest:
    sha256 of the content. `hashes` uint8[N, 32] are the sha256 of each clip's uint8 pixels, and
    `videos` int64[N] the numbers of the videos they were cut from, where those are known; None of
    arrays, whose clips are taken for a video each.
    """

    name: str
    split: str
    pixels: NDArray[Any] | ArrayShards
    digest: str
    source: str
    licence: str
    hashes: NDArray[np.uint8] | None = None
    videos: NDArray[np.int64] | None = None


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: str


def is_clip_file(name: str) -> bool:
    """Whether a `file:` dataset holds clips, by its suffix."""
    return Path(name.partition("#")[0]).suffix in CLIP_SUFFIXES


def find_clip_file(name: str, *, split: str) -> tuple[Path, str]:
    """The path of a `file:` dataset of clips, and the array's name in it or ''; reads nothing.

    Raises HarnessError for a missing file, or one of another kind.
    """
    check_split(name, split=split, splits=FILE_SPLITS)
    given, _, array = name.removeprefix(FILE_PREFIX).partition("#")
    path = Path(given.replace("{split}", split)).expanduser()
    if path.suffix not in CLIP_SUFFIXES or (path.suffix == ".npy" and array):
        raise HarnessError(
            "no file of this kind is read as clips",
            given=name,
            allowed=_FORMS,
            hint="path.npz#NAME or path.safetensors#NAME chooses among several arrays",
        )
    if not path.is_file():
        raise HarnessError(
            "no such file of clips",
            given=str(path),
            hint="give file:path relative to the current folder; {split} in it stands for train, "
            "validation or test",
        )
    return path, array


def clip_file_shape(name: str, *, split: str) -> ClipShape:
    """The shape of a file's array, from its header alone.

    Raises HarnessError unless it is float[clips, frames, channels, height, width], none empty.
    """
    path, array = find_clip_file(name, split=split)
    with readable(path, "the file of clips"):
        shape, dtype = _header(path, array)
    if len(shape) != 5 or 0 in shape:
        raise HarnessError(
            f"clips are an array of ({_AXES}), none of them empty",
            where=str(path),
            given=f"shape {tuple(shape)}",
        )
    if dtype not in _FLOATS.values():
        raise HarnessError(
            "clips are floating-point numbers",
            where=str(path),
            given=dtype,
            allowed=tuple(_FLOATS.values()),
            hint="scale pixels to [-1, 1]; keep latents as the autoencoder gives them",
        )
    clips, frames, channels, height, width = shape
    return clips, frames, channels, height, width


def load_clip_file(name: str, *, split: str) -> Clips:
    """Load `file:path.npy`, `file:path.npz#NAME` or `file:path.safetensors#NAME`.

    A file is one split; `{split}` in the path names a file per split. An .npy file is mapped, the
    others are read whole. Raises HarnessError as `clip_file_shape` does, and for a number that is
    not finite.
    """
    clip_file_shape(name, split=split)
    path, array = find_clip_file(name, split=split)
    stat = path.stat()
    with readable(path, "the file of clips"):
        numbers, digest = _load(path, array, stat.st_size, stat.st_mtime_ns)
    return Clips(name, split, numbers, digest, "the user's file", "the user's own")


def clips_digest(pixels: NDArray[Any]) -> str:
    """sha256 over type, shape and numbers, a clip at a time."""
    little = pixels.dtype.newbyteorder("<")
    digest = hashlib.sha256(f"{little.str}{pixels.shape}".encode())
    for clip in pixels:
        digest.update(clip.astype(little).tobytes())
    return digest.hexdigest()


def shared_clips(training: Clips, evaluation: Clips) -> NDArray[np.int64]:
    """The places in `evaluation` of clips whose numbers are those of one of `training`, in order.

    Clips that are prepared have their pixels' hashes with them; others are read one at a time.
    """
    if training.hashes is not None and evaluation.hashes is not None:
        known = set(map(bytes, training.hashes))
        others: Iterator[bytes] = map(bytes, evaluation.hashes)
    else:
        known = set(_contents(training))
        others = _contents(evaluation)
    return np.array([place for place, each in enumerate(others) if each in known], np.int64)


def _contents(clips: Clips) -> Iterator[bytes]:
    for place in range(len(clips.pixels)):
        yield hashlib.sha256(scaled(clips.pixels[place]).tobytes()).digest()


@functools.lru_cache(maxsize=4)
def _load(path: Path, array: str, size: int, changed_ns: int) -> tuple[NDArray[Any], str]:
    """The numbers and their digest, kept for as long as the file has this size and time."""
    numbers = _numbers(path, array)
    for index, clip in enumerate(numbers):
        if not np.isfinite(clip).all():
            raise HarnessError(
                "a clip holds numbers that are not finite", where=str(path), given=f"clip {index}"
            )
    numbers.flags.writeable = False
    return numbers, clips_digest(numbers)


def _header(path: Path, array: str) -> _Header:
    if path.suffix == ".npy":
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return _Header(mapped.shape, mapped.dtype.name)
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as packed:
            names = [name.removesuffix(".npy") for name in packed.namelist()]
            with packed.open(_chosen(array, names, path) + ".npy") as member:
                old = np.lib.format.read_magic(member) == (1, 0)
                read = np.lib.format.read_array_header_1_0
                shape, _, dtype = (read if old else np.lib.format.read_array_header_2_0)(member)
        return _Header(shape, dtype.name)
    with safe_open(path, framework="np") as tensors:
        part = tensors.get_slice(_chosen(array, list(tensors.keys()), path))
        dtype = part.get_dtype()
        return _Header(tuple(part.get_shape()), _FLOATS.get(dtype, dtype))


def _numbers(path: Path, array: str) -> NDArray[Any]:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as packed:
            return np.asarray(packed[_chosen(array, packed.files, path)])
    with safe_open(path, framework="np") as tensors:
        return np.asarray(tensors.get_tensor(_chosen(array, list(tensors.keys()), path)))


def _chosen(array: str, names: list[str], path: Path) -> str:
    """The array meant: the one named, or the only one there is."""
    if array in names:
        return array
    if not array and len(names) == 1:
        return names[0]
    raise HarnessError(
        "no such array in the file" if array else f"the file holds {len(names)} arrays",
        where=str(path),
        given=array or None,
        allowed=names,
        hint=f"write {FILE_PREFIX}{path}#NAME",
    )
