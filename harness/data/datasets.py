"""Every dataset by its name: the embedded ones, and the user's `file:…` and `hub:…`.

Embedded text is frozen in `snapshots/` or generated from keys, so its digests are the same
everywhere; embedded images are scikit-learn's own files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.data.clips import (
    Clips,
    clip_file_shape,
    find_clip_file,
    is_clip_file,
    load_clip_file,
)
from harness.data.corpora.questions import questions_digest
from harness.data.corpora.sources import names_records, parse_source
from harness.data.corpora.streams import load_source_documents, split_source
from harness.data.documents import Documents, check_split
from harness.data.embedded.corrupted import TYPO_PERCENTS
from harness.data.embedded.images import CLIP_FRAMES, embedded_clips, embedded_images
from harness.data.embedded.text import embedded_documents
from harness.data.images import Images
from harness.data.measured import measure_source
from harness.data.names import FILE_PREFIX, FILE_SPLITS, is_source
from harness.data.pixels.autoencoders import latent_shape
from harness.data.pixels.image_checks import check_images
from harness.data.pixels.latent_clips import latent_clips
from harness.data.pixels.prepared_clips import prepare_clips, prepared_clips_digest
from harness.data.pixels.prepared_images import images_digest, load_prepared_images
from harness.data.pixels.sources import names_pixels, parse_pixels, split_pixels
from harness.data.pixels.video_files import check_videos
from harness.errors import HarnessError

_LEARNING = ("train", "validation")
_OOD = ("test",)

Modality = Literal["text", "image", "video"]
Split = Literal["train", "validation", "test"]
#: Frames of a clip, and channels, height and width of each.
FrameShape = tuple[int, int, int, int]


@dataclass(frozen=True)
class DatasetRecord:
    """What `harness ls data` shows of a named dataset; `size` is approximate, over all splits.

    `image_shape` is (channels, height, width) of an image or video set, else None. `labelled` says
    whether images have classes; None where that is not known before they are read.
    """

    name: str
    modality: Modality
    splits: tuple[str, ...]
    description: str
    size: str
    image_shape: tuple[int, int, int] | None = None
    labelled: bool | None = None


_RECORDS = (
    DatasetRecord(
        "builtin/docs",
        "text",
        _LEARNING,
        "docstrings and language topics of CPython 3.11.7, distinct; the text to train on",
        "1.9 MB, 7,000 documents",
    ),
    DatasetRecord(
        "builtin/exercises",
        "text",
        _LEARNING,
        "generated: closing brackets, arithmetic, copying, as the tasks harness_… ask for them",
        "0.9 MB, 4,200 documents",
    ),
    *(
        DatasetRecord(
            f"builtin/docs-typos-{percent}",
            "text",
            _OOD,
            f"validation docs, {percent} % of the letters replaced, nested; OOD by construction",
            "80 KB, 354 documents",
        )
        for percent in TYPO_PERCENTS
    ),
    DatasetRecord(
        "builtin/docs-shuffled",
        "text",
        _OOD,
        "validation docs, each with its words in random order; OOD by construction",
        "80 KB, 354 documents",
    ),
    DatasetRecord(
        "builtin/source",
        "text",
        _OOD,
        "Python code of the standard library without docstrings and comments; OOD, near",
        "380 KB, 454 documents",
    ),
    DatasetRecord(
        "builtin/arithmetic",
        "text",
        _OOD,
        "generated arithmetic word problems with worked answers; OOD",
        "105 KB, 770 documents",
    ),
    DatasetRecord(
        "builtin/dyck",
        "text",
        _OOD,
        "generated Dyck words of four bracket kinds, prefix and completion; OOD, far",
        "120 KB, 1,000 documents",
    ),
    DatasetRecord(
        "builtin/random-bytes",
        "text",
        _OOD,
        "uniform random bytes; OOD, farthest: nothing can be learnt",
        "100 KB, 100 documents",
    ),
    DatasetRecord(
        "builtin/digits",
        "image",
        _LEARNING,
        "scikit-learn's real handwritten digits, 1x8x8, labelled",
        "1,797 images",
        (1, 8, 8),
        labelled=True,
    ),
    DatasetRecord(
        "builtin/photos",
        "image",
        _LEARNING,
        "3x16x16 patches of scikit-learn's two photographs: one to train on, one to validate",
        "5,148 patches",
        (3, 16, 16),
        labelled=False,
    ),
    DatasetRecord(
        "builtin/photos-32",
        "image",
        _LEARNING,
        "3x32x32 patches, as large as CIFAR's, of the same two; the right quarters validate",
        "5,830 patches",
        (3, 32, 32),
        labelled=False,
    ),
    DatasetRecord(
        "builtin/moving-digits",
        "video",
        _LEARNING,
        "two real digits bouncing in 1x16x16 frames, 16 frames a clip; other digits to validate",
        "1,152 clips",
        (1, 16, 16),
    ),
)


def list_datasets() -> tuple[DatasetRecord, ...]:
    """Return a record of every named dataset; loads nothing."""
    return _RECORDS


def find_dataset(name: str) -> DatasetRecord:
    """The record of a named dataset, or of `file:...` and `hub:...`; HarnessError if unknown."""
    if name.startswith(FILE_PREFIX) and is_clip_file(name):
        return DatasetRecord(name, "video", FILE_SPLITS, "the user's file", "")
    if names_pixels(name):
        return _pixel_record(name)
    if is_source(name):
        source = parse_source(name)
        what = "the user's file" if source.kind == "file" else "a dataset of the Hub"
        return DatasetRecord(name, "text", source.splits, what, "")
    return _record(name)


def check_file(name: str, split: str, modality: str) -> None:
    """HarnessError unless the file of the user's `file:...` exists and is of a kind that is read.

    Of `hub:...` only the name is looked at. Does nothing for other names, and reads at most what
    a file of records says of its columns.
    """
    if names_pixels(name):
        found = split_pixels(name, split)
        check = {"image": check_images, "video": check_videos}[found.source.modality]
        check(found)
    elif modality == "video" and name.startswith(FILE_PREFIX):
        find_clip_file(name, split=split)
    elif is_source(name):
        split_source(name, split)


def frame_shape(name: str, split: str, autoencoder: str | None = None) -> FrameShape:
    """Frames, channels, height and width of a split's clips, or latents, reading no numbers.

    Raises HarnessError as `load_clips` does.
    """
    frames, channels, height, width = _frame_shape(name, split)
    if autoencoder is not None:
        channels, height, width = latent_shape(autoencoder, (channels, height, width))
    return frames, channels, height, width


def _frame_shape(name: str, split: str) -> FrameShape:
    if names_pixels(name):
        source = parse_pixels(name)
        assert source.frames is not None, "find_dataset tells its modality"
        return source.frames, *source.shape
    if name.startswith(FILE_PREFIX):
        return clip_file_shape(name, split=split)[1:]
    record = _record(name, split=split, modality="video")
    assert record.image_shape is not None
    return CLIP_FRAMES, *record.image_shape


def dataset_digest(name: str, split: str, *, cache: Path | None = None) -> str:
    """Return the sha256 of the content of a split. Raises HarnessError for an unknown name.

    What was measured of large files is kept in `cache` for as long as they stay as they are.
    """
    if names_pixels(name):
        of = {"image": images_digest, "video": prepared_clips_digest}
        return of[parse_pixels(name).modality](name, split, cache=cache)
    if is_source(name) and names_records(name):
        return questions_digest(name, split, cache=cache)
    if name.startswith(FILE_PREFIX) and is_clip_file(name):
        return load_clip_file(name, split=split).digest
    if is_source(name):
        return measure_source(name, split, cache=cache).digest
    by_modality: dict[Modality, Callable[[], Documents | Images | Clips]] = {
        "text": lambda: load_documents(name, split),
        "image": lambda: load_images(name, split),
        "video": lambda: load_clips(name, split),
    }
    return by_modality[_record(name, split=split).modality]().digest


def load_documents(name: str, split: str) -> Documents:
    """Return the documents of a builtin text dataset, or of `file:...` or `hub:...`.

    `builtin/docs` is split by the hash of each text; training documents that share a word 13-gram
    with validation are dropped. Raises HarnessError for an unknown name or split, a wrong
    modality, or a damaged snapshot.
    """
    if is_source(name):
        return load_source_documents(name, split)
    _record(name, split=split, modality="text")
    return embedded_documents(name, split)


def load_images(name: str, split: str, *, cache: Path | None = None) -> Images:
    """Return the images of a split; those of `file:…` and `hub:…` are prepared into `cache`.

    Raises HarnessError for an unknown name or split, a wrong modality, images that cannot be read,
    and a dataset of the Hub that was not prepared before.
    """
    if is_source(name):
        assert cache is not None, "what is decoded is kept"
        return load_prepared_images(name, split, cache=cache)
    _record(name, split=split, modality="image")
    return embedded_images(name, split)


def load_clips(
    name: str,
    split: str,
    *,
    cache: Path | None = None,
    autoencoder: str | None = None,
    frames: int = CLIP_FRAMES,
) -> Clips:
    """Return the clips of a split, or their latents under an `autoencoder`; generated ones have
    `frames`. What is decoded or encoded is kept in `cache`.

    Raises HarnessError for an unknown name or split, a wrong modality, a file that holds none, or
    an autoencoder that is not there or not for such frames.
    """
    clips = _load_clips(name, split, cache, frames)
    if autoencoder is None:
        return clips
    assert cache is not None, "what is encoded is kept"
    return latent_clips(clips, autoencoder, cache=cache)


def _load_clips(name: str, split: str, cache: Path | None, frames: int) -> Clips:
    if names_pixels(name):
        assert cache is not None, "what is decoded is kept"
        return prepare_clips(name, split, cache=cache)
    if name.startswith(FILE_PREFIX):
        return load_clip_file(name, split=split)
    _record(name, split=split, modality="video")
    return embedded_clips(split, frames=frames)


def _pixel_record(name: str) -> DatasetRecord:
    source = parse_pixels(name)
    # A folder's classes are its subfolders, and labels may lie beside MNIST's images.
    labelled = source.label is not None if source.layout in ("parquet", "hub") else None
    what = "the user's files" if source.kind == "file" else "a dataset of the Hub"
    return DatasetRecord(
        name, source.modality, source.splits, what, "", source.shape, labelled=labelled
    )


def _record(
    name: str, *, split: str | None = None, modality: Modality | None = None
) -> DatasetRecord:
    names = [record.name for record in _RECORDS if modality in (None, record.modality)]
    if name not in names:
        kind = f"{modality} dataset" if modality else "dataset"
        files = {
            "text": "your own text: file:path.txt, file:path.jsonl#field, .parquet#field and more, "
            "or of the Hub: hub:OWNER/NAME#field (suites/README.md)",
            "image": "your own images: file:FOLDER?size=32, file:path.parquet#image?size=32 and "
            "more, or of the Hub: hub:OWNER/NAME#image?size=32 (suites/README.md)",
            "video": "your own clips: file:FOLDER?size=64&frames=17 of videos or frames, or "
            "file:path.npz, .npy or .safetensors (suites/README.md)",
        }
        hint = files.get(modality or "text")
        if Path(name).is_dir():
            hint = f"a folder of images is named {FILE_PREFIX}{name}?size=32"
        if Path(name).is_file():
            hint = f"a file is named {FILE_PREFIX}{name}, with #FIELD where it holds records"
        raise HarnessError(f"no such {kind}", allowed=names, given=name, hint=hint)
    record = next(record for record in _RECORDS if record.name == name)
    if split is not None:
        check_split(name, split=split, splits=record.splits)
    return record
