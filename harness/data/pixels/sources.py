"""Names of images and clips on disk or the Hub: `file:PATH?size=N`, `hub:OWNER/NAME#FIELD?size=N`.

`size=` makes a name one of images, `frames=` besides one of clips. Parsing reads nothing and needs
no network, so that planning can do it.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from harness.data.corpora.sources import TextSource
from harness.data.documents import check_split
from harness.data.names import (
    FILE_PREFIX,
    HUB_PREFIX,
    Option,
    Source,
    check_held_out,
    count,
    fraction,
    is_source,
    parse_hub_place,
    parts_of,
    read_options,
)
from harness.errors import HarnessError, nearest

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
PARQUET = ".parquet"
#: What stands for a split in a path, the first that exists: COCO says val, MNIST t10k.
WORDS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "t10k"),
}
_IDX = re.compile(r"images[.-]idx3-ubyte(\.gz)?$")
#: What text, or clips as arrays, are read from.
_OTHERS = re.compile(r"\.(txt|json|jsonl|csv|tsv|arrow|parquet|npy|npz|safetensors)(\.gz|\.zst)?$")
_HUB_FORM = f"{HUB_PREFIX}OWNER/NAME[@REVISION][:CONFIG]#FIELD?size=N"
_FOLDER_FORM = f"{FILE_PREFIX}FOLDER?size=N"
#: Every form of a name of images.
FORMS = (
    _FOLDER_FORM,
    f"{FILE_PREFIX}PATH{PARQUET}#FIELD?size=N",
    f"{FILE_PREFIX}PATH-images-idx3-ubyte.gz?size=N",
    _HUB_FORM,
)

Layout = Literal["folder", "parquet", "idx", "hub"]


def _channels(text: str) -> int:
    if text not in ("1", "3"):
        raise ValueError
    return int(text)


def _positive(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise ValueError
    return float(text)


def _word(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _skip(text: str) -> Literal["skip"]:
    if text != "skip":
        raise ValueError
    return "skip"


_WHOLE = "a whole number from 1"
_OPTIONS: Mapping[str, Option] = {
    "size": Option(count, "the side of the square that is kept, in pixels", _WHOLE),
    "channels": Option(_channels, "1 for gray or 3 for colour", "1, 3"),
    "label": Option(_word, "the field of each record that holds its class", "a field's name"),
    "images": Option(count, "how many images to take", _WHOLE),
    "frames": Option(count, "how many frames a clip has", _WHOLE),
    "seconds": Option(_positive, "the time between frames", "a number above 0"),
    "fps": Option(_positive, "frames a second of folders of frames", "a number above 0"),
    "clips": Option(count, "how many clips to take", _WHOLE),
    "holdout": Option(
        fraction, "the fraction to hold out", "a number between 0 and 1, such as 0.05"
    ),
    "broken": Option(_skip, "what to do with those that cannot be read", "skip"),
}
#: Options that say that a name is one of pixels, and those of only images or only clips.
_PIXELS = tuple(key for key in _OPTIONS if key != "holdout")
_OF_IMAGES = ("label", "images")
_OF_CLIPS = ("seconds", "fps", "clips")


@dataclass(frozen=True, kw_only=True)
class PixelSource(Source):
    """Where images or clips come from, and what is made of them.

    `field` is the column of encoded images, '' where there are no columns. `size`: side in pixels
    once the shorter side is scaled to it and the middle is cut out. `label`: the column of classes.
    `images`, `clips`: how many are taken, from the beginning. `frames` a clip, `seconds` apart
    (None: every frame), of folders of frames at `fps`; None for images.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = _OPTIONS

    size: int
    channels: int = 3
    label: str | None = None
    images: int | None = None
    frames: int | None = None
    seconds: float | None = None
    fps: float | None = None
    clips: int | None = None
    broken: Literal["skip"] | None = None

    @property
    def modality(self) -> Literal["image", "video"]:
        return "image" if self.frames is None else "video"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image or frame."""
        return self.channels, self.size, self.size

    @property
    def layout(self) -> Layout:
        """How it lies on disk, by its name alone."""
        if self.kind == "hub":
            return "hub"
        if self.place.endswith(PARQUET):
            return "parquet"
        return "idx" if _IDX.search(self.place) else "folder"

    def paths(self, split: str) -> list[str]:
        """The paths where `split` may lie, the first that exists holds it."""
        words = WORDS[split] if "{split}" in self.place else (split,)
        return [str(Path(self.place.replace("{split}", word)).expanduser()) for word in words]

    def files(self, split: str) -> list[Path]:
        """What holds `split`: a folder, or files."""
        if not self.is_local:
            return []
        looked = self.paths(split)
        for given in looked:
            found = self._at(given)
            if found:
                return found
        kind = "folder" if self.layout in ("folder", "hub") else "file"
        hint = "give a path relative to the current folder"
        if len(looked) > 1:
            hint += f"; looked for {', '.join(looked)}"
        if kind == "folder" and Path(looked[0]).is_file():
            hint = f"it is a file, of none of the kinds that are read: {', '.join(FORMS[:3])}"
        raise HarnessError(f"no such {kind}", where=str(self), given=looked[0], hint=hint)

    def _at(self, given: str) -> list[Path]:
        path = Path(given)
        if self.layout in ("folder", "hub"):
            return [path] if path.is_dir() else []
        if self.layout == "idx":
            labels = idx_labels(path)
            return [p for p in (path, labels) if p.is_file()] if path.is_file() else []
        if path.is_file():
            return [path]
        return sorted(p for p in map(Path, glob.glob(given, recursive=True)) if p.is_file())


@dataclass(frozen=True)
class SplitPixels:
    """One split of a source of pixels."""

    source: PixelSource
    split: str

    def nothing(self) -> HarnessError:
        """Why there is not one image or clip."""
        frames, held = self.source.frames, self.source.holdout
        what = "image" if frames is None else "clip"
        if held is None:
            apart = self.source.seconds
            return HarnessError(
                f"there is not one {what}",
                where=f"{self.source} ({self.split})",
                hint=None
                if frames is None
                else f"a video of fewer than {frames} frames"
                f"{'' if apart is None else f', {apart:g} s apart,'} gives none",
            )
        read = "image" if frames is None else "video"
        return HarnessError(
            f"not one {what} is in the {self.split} split",
            where=str(self.source),
            given=f"holdout={held:g}",
            hint=f"each {read} is drawn by its hash, with this chance to be held out: of few, give "
            f"a {'smaller' if self.split == 'train' else 'larger'} holdout, or a folder of its own "
            "to each split with {split} in the path",
        )


def idx_labels(images: Path) -> Path:
    """The file of labels that lies beside an idx file of images."""
    labels = images.name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1")
    return images.with_name(labels)


def names_pixels(name: str) -> bool:
    """Whether a dataset's name is that of images or clips to be decoded.

    So is one that lacks `size=` and can be nothing else: what is wrong with it is said of images.
    """
    if not is_source(name):
        return False
    found = parts_of(name)
    keys = [part.partition("=")[0] for part in (found["options"] or "").split("&")]
    if any(nearest(key, (*_OPTIONS, *TextSource.OPTIONS)) in _PIXELS for key in keys):
        return True
    place = found["place"].lower()
    if name.startswith(HUB_PREFIX) or not place or _OTHERS.search(place):
        return False
    return Path(place).suffix in ("", *IMAGE_SUFFIXES) or _IDX.search(place) is not None


def parse_pixels(name: str) -> PixelSource:
    """The source that `name` stands for; HarnessError says what is wrong with it, and where."""
    found = parts_of(name)
    place, field = found["place"], found["field"] or ""
    options = read_options(found["options"], name, _OPTIONS, of="images or clips")
    if "size" not in options:
        raise HarnessError(
            "images and clips need the size that they are brought to",
            given=name,
            allowed=FORMS,
            hint=f"write {name}{'&' if found['options'] else '?'}size=32",
        )
    if name.startswith(HUB_PREFIX):
        hub = parse_hub_place(name, place, form=_HUB_FORM)
        source = PixelSource("hub", field=field, **hub, **options)
    else:
        source = PixelSource("file", place, field=field, **options)
    _check(source, name)
    return source


def split_pixels(name: str, split: str) -> SplitPixels:
    """The split of a name of pixels. HarnessError for a bad name or split, or missing files."""
    source = parse_pixels(name)
    check_split(name, split=split, splits=source.splits)
    source.files(split)
    return SplitPixels(source, split)


def _check(source: PixelSource, name: str) -> None:
    """The options go together, and with what is read; else a HarnessError."""
    records = source.layout in ("parquet", "hub")
    of = _OF_CLIPS if source.frames is None else _OF_IMAGES
    alien = [key for key in of if getattr(source, key) is not None]
    if alien and source.frames is None:
        raise HarnessError(
            f"{alien[0]} is for clips", where=name, hint="frames=N says how many frames a clip has"
        )
    if alien:
        raise HarnessError(
            f"{alien[0]} is for images, and frames= makes this one of clips",
            where=name,
            hint=f"leave out frames or {alien[0]}",
        )
    if source.frames is not None and records:
        raise HarnessError(
            "clips are read from folders", where=name, allowed=(f"{_FOLDER_FORM}&frames=N",)
        )
    if records and not source.field:
        raise HarnessError(
            "the records need the name of the field that holds the image",
            given=name,
            hint="write #image before the ? if the field is called image",
        )
    if not records and source.field:
        raise HarnessError("only records have fields", where=name, given=source.field)
    if source.label is not None and not records:
        raise HarnessError(
            "only records have a field of labels",
            where=name,
            given=f"label={source.label}",
            hint="a folder's subfolders are its classes; MNIST's labels are read from the file "
            "beside the images",
        )
    check_held_out(source, name)
