"""How data that are not embedded are named, text and pixels alike: `file:PLACE#FIELD?options` and
`hub:OWNER/NAME@REVISION:CONFIG#FIELD?options`.
"""

from __future__ import annotations

import re

FILE_PREFIX = "file:"
HUB_PREFIX = "hub:"
FILE_SPLITS = ("train", "validation", "test")
#: The splits of a source of which a fraction is held out.
HELD_OUT_SPLITS = ("train", "validation")

#: Place, field and options, after the prefix.
PARTS = re.compile(
    r"(?P<place>.*?)(?:#(?P<field>[^#?]*))?(?:\?(?P<options>[^?=#/\s]*=[^?#/]*))?",
    re.DOTALL,
)
#: The place of a Hub dataset: its name, or the path of its folder.
HUB_PLACE = re.compile(
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
