"""How data that are not embedded are named, text and pixels alike: `file:PLACE#FIELD?options` and
`hub:OWNER/NAME@REVISION:CONFIG#FIELD?options`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.errors import HarnessError

FILE_PREFIX = "file:"
HUB_PREFIX = "hub:"
FILE_SPLITS = ("train", "validation", "test")
#: The splits of a source of which a fraction is held out.
HELD_OUT_SPLITS = ("train", "validation")

#: Place, field and options, after the prefix.
_PARTS = re.compile(
    r"(?P<place>.*?)(?:#(?P<field>[^#?]*))?(?:\?(?P<options>[^?=#/\s]*=[^?#/]*))?",
    re.DOTALL,
)
#: The place of a Hub dataset: its name, or the path of its folder.
_HUB_PLACE = re.compile(
    r"(?P<place>[./~][^@:]*|[\w-][\w.-]*(?:/[\w-][\w.-]*)?)"
    r"(?:@(?P<revision>[\w][\w./-]*))?(?::(?P<config>[\w.-]+))?"
)
#: What begins the path of a dataset's folder.
_FOLDERS = (".", "/", "~")


def is_source(name: str) -> bool:
    """Whether a dataset's name says where it lies: `file:…` or `hub:…`."""
    return name.startswith((FILE_PREFIX, HUB_PREFIX))


def is_on_hub(name: str) -> bool:
    """Whether a source's name is that of a dataset on the Hub, not of a folder or file."""
    return name.startswith(HUB_PREFIX) and not name.removeprefix(HUB_PREFIX).startswith(_FOLDERS)


@dataclass(frozen=True)
class Option:
    """What may follow after `?`: how its text is read (ValueError where it cannot be), what it is,
    and what it may be.
    """

    read: Callable[[str], Any]
    meaning: str
    allowed: str


@dataclass(frozen=True)
class Source(ABC):
    """Where data of the user's own come from: a name, taken apart.

    `place` is a path, a pattern, or a Hub dataset's name; `field` what is read of its records, ''
    for nothing or all; `holdout` the fraction, by sha256, that are the validation split.
    """

    OPTIONS: ClassVar[Mapping[str, Option]]

    kind: Literal["file", "hub"]
    place: str
    field: str = ""
    revision: str | None = None
    config: str | None = None
    holdout: float | None = None

    def __str__(self) -> str:
        text = f"{self.kind}:{self.place}"
        text += "" if self.revision is None else f"@{self.revision}"
        text += "" if self.config is None else f":{self.config}"
        text += f"#{self.field}" if self.field else ""
        defaults = {each.name: each.default for each in fields(self)}
        options = [
            f"{key}={_shown(value)}"
            for key in self.OPTIONS
            if (value := getattr(self, key)) != defaults[key]
        ]
        return text + ("?" + "&".join(options) if options else "")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it can have."""
        return FILE_SPLITS if self.holdout is None else HELD_OUT_SPLITS

    @property
    def origin(self) -> tuple[str, str]:
        """Where it comes from and under which licence, a line each."""
        if self.kind == "file":
            return "the user's files", "the user's own"
        return "the Hugging Face Hub", "see its page"

    @property
    def is_local(self) -> bool:
        """All of it lies on this machine's disks: files, or a dataset's folder."""
        return not is_on_hub(f"{self.kind}:{self.place}")

    @abstractmethod
    def files(self, split: str) -> list[Path]:
        """What holds `split`, sorted by path; empty for what lies on the Hub.

        Raises HarnessError where there is nothing.
        """


def parts_of(name: str) -> re.Match[str]:
    """Place, field and options of a source's name."""
    found = _PARTS.fullmatch(name.partition(":")[2])
    assert found is not None
    return found


def is_hub_place(place: str) -> bool:
    """Whether a dataset of the Hub, or its folder, can be named so."""
    return _HUB_PLACE.fullmatch(place) is not None


def parse_hub_place(name: str, place: str, *, form: str) -> dict[str, Any]:
    """Place, revision and config; HarnessError where it is none, with the `form` of names."""
    found = _HUB_PLACE.fullmatch(place)
    if found is None:
        raise HarnessError("not the name of a Hub dataset", given=name, allowed=(form,))
    return found.groupdict()


def read_options(
    text: str | None, name: str, options: Mapping[str, Option], *, of: str = "a dataset"
) -> dict[str, Any]:
    """The options written in `text`, read; HarnessError says which is wrong."""
    chosen: dict[str, Any] = {}
    for part in [] if text is None else text.split("&"):
        key, _, value = part.partition("=")
        if key not in options:
            raise HarnessError(
                f"no such option of {of}", where=name, given=key, allowed=tuple(options)
            )
        if key in chosen:
            raise HarnessError("the option is given twice", where=name, given=key)
        try:
            chosen[key] = options[key].read(value)
        except ValueError:
            raise HarnessError(
                f"{key} is {options[key].meaning}",
                where=name,
                given=value,
                allowed=(options[key].allowed,),
            ) from None
    return chosen


def check_held_out(source: Source, name: str) -> None:
    """Nothing is held out of what has a validation split of its own; else a HarnessError."""
    if source.holdout is not None and "{split}" in source.place:
        raise HarnessError(
            "a path with {split} in it has its own validation split, so nothing is held out",
            given=name,
            hint="leave out either {split} or holdout",
        )


def count(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"[0-9]+", text) or int(text) == 0:
        raise ValueError
    return int(text)


def fraction(text: str) -> float:
    """A number between 0 and 1."""
    if not 0 < float(text) < 1:
        raise ValueError
    return float(text)


def _shown(value: Any) -> Any:
    """A number as briefly as it can be read back."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
