"""Reads a page without a browser: its elements, and what is packed in it."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

#: Selects the rows of runs, without those of their details.
RUNS = "#run-table tbody tr:not(.detail)"
_VOID = {"meta", "img", "br", "input", "link", "hr", "wbr"}


@dataclass
class Element:
    """One element with the text directly or indirectly in it."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def all(self, name: str, **attributes: str) -> list[Element]:
        """Every such element below, in order."""
        found = []
        for each in self.inside:
            if each.name == name and attributes.items() <= each.attributes.items():
                found.append(each)
            found += each.all(name, **attributes)
        return found


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> ends <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parsed(html: str) -> Element:
    """The page's elements; every one that is opened is closed, in order."""
    tree = _Tree()
    tree.feed(html)
    tree.close()
    assert len(tree.open) == 1, tree.open[-1].name
    return tree.open[0]


def unpacked(html: str, name: str) -> Any:
    """What is packed in the page under that id."""
    found = re.search(rf'id="{name}">([^<]*)<', html)
    assert found is not None
    return json.loads(zlib.decompress(base64.b64decode(found[1])))
