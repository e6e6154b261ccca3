"""Names of text that is not embedded: `file:PATH#FIELD?options` and `hub:OWNER/NAME@REV:CONFIG#…`.

Without `#FIELD` they name whole records, of which templates make texts.
Parsing reads nothing and needs no network, so that planning can do it.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.data.corpora.templates import Template
from harness.data.names import (
    FILE_PREFIX,
    HUB_PREFIX,
    Option,
    Source,
    check_held_out,
    count,
    fraction,
    is_hub_place,
    is_source,
    parse_hub_place,
    parts_of,
    read_options,
)
from harness.errors import HarnessError

#: Suffixes of files, and whether a record's field is to be named.
_PLAIN = (".txt", ".txt.gz")
_RECORDS = tuple(f".{kind}{packed}" for kind in ("jsonl", "json") for packed in ("", ".gz", ".zst"))
_RECORDS += (".parquet", ".arrow")
_FORMS = (
    *(f"{FILE_PREFIX}PATH{suffix}" for suffix in _PLAIN),
    *(f"{FILE_PREFIX}PATH{suffix}#FIELD" for suffix in _RECORDS),
)
_HUB_RECORDS = f"{HUB_PREFIX}OWNER/NAME[@REVISION][:CONFIG]"
_HUB_FORM = f"{_HUB_RECORDS}#FIELD"
#: The forms of whole records.
RECORD_FORMS = (*(f"{FILE_PREFIX}PATH{suffix}" for suffix in _RECORDS), _HUB_RECORDS)

_OPTIONS = {
    "holdout": Option(
        fraction,
        "the fraction of documents to hold out",
        "a number between 0 and 1, such as 0.005",
    ),
    "documents": Option(count, "how many documents to take", "a whole number from 1"),
}

#: A template may hold what else begins a field or options.
_TEMPLATED = re.compile(
    r"(?P<place>[^#]*)#(?P<field>[^{]*\{.*?)(?:\?(?P<options>(?:holdout|documents)=[^?#/\s]*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class TextSource(Source):
    """Where documents come from.

    `field` is the text's in each record, dotted where it is nested, or a template of several
    (`{question} {answer}`); '' for plain text and for whole records. `documents`: how many
    documents or records are taken, from the beginning.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = _OPTIONS

    documents: int | None = None

    @property
    def template(self) -> Template | None:
        """What makes a document of a record, where `field` is more than one field's name."""
        return Template.parse(self.field) if "{" in self.field else None

    def files(self, split: str) -> list[Path]:
        """The files that hold `split`: one, those of a pattern, or a folder's."""
        if not self.is_local:
            return []
        given = str(Path(self.place.replace("{split}", split)).expanduser())
        if self.kind == "hub":
            return _folder_files(Path(given), str(self))
        if Path(given).is_file():
            return [Path(given)]
        found = sorted(path for path in map(Path, glob.glob(given, recursive=True)))
        found = [path for path in found if path.is_file()]
        if not found:
            raise HarnessError(
                "no such file" if given == glob.escape(given) else "no file has such a path",
                given=given,
                hint="give file:path.txt, or file:path.jsonl#field, relative to the current folder",
            )
        return found


def _parts(name: str) -> re.Match[str]:
    """Place, field and options of a source's name, where the field may be a template."""
    found, templated = parts_of(name), _TEMPLATED.fullmatch(name.partition(":")[2])
    if templated is None or _is_place(name, found["place"]):
        return found
    return templated if _is_place(name, templated["place"]) else found


def _is_place(name: str, place: str) -> bool:
    if name.startswith(HUB_PREFIX):
        return is_hub_place(place)
    return place.endswith((*_PLAIN, *_RECORDS))


def names_records(name: str) -> bool:
    """Whether a source's name is that of whole records: it names no field, and is no plain text."""
    found = _parts(name)
    whole = name.startswith(HUB_PREFIX) or found["place"].endswith(_RECORDS)
    return is_source(name) and whole and found["field"] is None


def parse_records(name: str) -> TextSource:
    """The source of whole records that `name` stands for, of which no field is named."""
    if not is_source(name) or not names_records(name):
        raise HarnessError(
            "templates need records",
            given=name,
            allowed=RECORD_FORMS,
            hint="without #FIELD: the templates name the fields" if "#" in name else None,
        )
    found = _parts(name)
    options = read_options(found["options"], name, _OPTIONS)
    if "holdout" in options:
        raise HarnessError(
            "no records are held out for questions",
            given=name,
            hint="give a file of their own, or the first records: ?documents=N",
        )
    if name.startswith(FILE_PREFIX):
        return TextSource("file", found["place"], **options)
    return _hub_source(name, found["place"], "", options)


def parse_source(name: str) -> TextSource:
    """The source that `name` stands for; HarnessError says what is wrong with it, and where."""
    kind = "hub" if name.startswith(HUB_PREFIX) else "file"
    found = _parts(name)
    place, field, options = (
        found["place"],
        found["field"],
        read_options(found["options"], name, _OPTIONS),
    )
    if kind == "file":
        _check_file_form(name, place, field)
        source = TextSource("file", place, field or "", **options)
    else:
        source = _hub_source(name, place, field or "", options)
        if not field:
            raise HarnessError(
                "a Hub dataset needs the name of its text field",
                given=name,
                hint=f"write {HUB_PREFIX}{place}#text if the field is called text",
            )
    try:
        _ = source.template
    except HarnessError as error:
        raise error.located(name) from error
    check_held_out(source, name)
    return source


def _check_file_form(name: str, place: str, field: str | None) -> None:
    plain, records = place.endswith(_PLAIN), place.endswith(_RECORDS)
    if records and not field:
        suffix = next(suffix for suffix in _RECORDS if place.endswith(suffix))
        raise HarnessError(
            f"a {suffix} dataset needs the name of its text field",
            where=place,
            hint=f"write {FILE_PREFIX}{place}#text if the field is called text",
        )
    if not plain and not records:
        hint = None
        if place.endswith((".csv", ".tsv")):
            hint = "convert other tables to .jsonl or .parquet"
        raise HarnessError(
            "no text is read from a file of this kind", given=name, allowed=_FORMS, hint=hint
        )
    if plain and field is not None:
        raise HarnessError(
            "a text file is one document and has no fields",
            given=name,
            hint=f"write {FILE_PREFIX}{place}",
        )


def _hub_source(name: str, place: str, field: str, options: dict[str, Any]) -> TextSource:
    return TextSource("hub", field=field, **parse_hub_place(name, place, form=_HUB_FORM), **options)


def _folder_files(folder: Path, name: str) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    if not found:
        raise HarnessError(
            "no such folder of a dataset",
            where=name,
            given=str(folder),
            hint=f"a dataset of the Hub is named {_HUB_FORM}",
        )
    return found
