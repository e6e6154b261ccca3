"""Names of text that is not embedded: `file:PATH#FIELD?options` and `hub:OWNER/NAME@REV:CONFIG#…`.

Without `#FIELD` they name whole records, of which templates make texts.
Parsing reads nothing and needs no network, so that planning can do it.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.data.corpora.templates import Template
from harness.data.names import (
    FILE_PREFIX,
    FILE_SPLITS,
    HELD_OUT_SPLITS,
    HUB_PLACE,
    HUB_PREFIX,
    PARTS,
    is_on_hub,
    is_source,
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
#: Options of text.
OPTIONS = ("holdout", "documents")
_HUB_RECORDS = f"{HUB_PREFIX}OWNER/NAME[@REVISION][:CONFIG]"
_HUB_FORM = f"{_HUB_RECORDS}#FIELD"
#: The forms of whole records.
RECORD_FORMS = (*(f"{FILE_PREFIX}PATH{suffix}" for suffix in _RECORDS), _HUB_RECORDS)

#: A template may hold what else begins a field or options.
_TEMPLATED = re.compile(
    r"(?P<place>[^#]*)#(?P<field>[^{]*\{.*?)(?:\?(?P<options>(?:holdout|documents)=[^?#/\s]*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class TextSource:
    """Where documents come from. `place` is a path, a pattern, or a Hub dataset's name.

    `field` is the text's in each record, dotted where it is nested, or a template of several
    (`{question} {answer}`); '' for plain text and for whole records. `holdout` is the fraction of
    documents, by their sha256, that are the validation split; `documents` how many documents or
    records are taken, from the beginning.
    """

    kind: Literal["file", "hub"]
    place: str
    field: str = ""
    revision: str | None = None
    config: str | None = None
    holdout: float | None = None
    documents: int | None = None

    def __str__(self) -> str:
        text = f"{self.kind}:{self.place}"
        text += "" if self.revision is None else f"@{self.revision}"
        text += "" if self.config is None else f":{self.config}"
        text += f"#{self.field}" if self.field else ""
        options = [f"{k}={v}" for k in OPTIONS if (v := getattr(self, k)) is not None]
        return text + ("?" + "&".join(options) if options else "")

    @property
    def template(self) -> Template | None:
        """What makes a document of a record, where `field` is more than one field's name."""
        return Template.parse(self.field) if "{" in self.field else None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it can have."""
        return FILE_SPLITS if self.holdout is None else HELD_OUT_SPLITS

    @property
    def origin(self) -> tuple[str, str]:
        """Where it comes from and under which licence, a line each."""
        if self.kind == "file":
            return "the user's file", "the user's own"
        return "the Hugging Face Hub", "see its page"

    @property
    def is_local(self) -> bool:
        """All of it lies on this machine's disks: a file, or a dataset's folder."""
        return not is_on_hub(f"{self.kind}:{self.place}")

    def files(self, split: str) -> list[Path]:
        """The files that hold `split`, sorted by path: one, those of a pattern, or a folder's.

        Raises HarnessError where there is none. Empty for what lies on the Hub.
        """
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
    """Place, field and options of a source's name."""
    rest = name.partition(":")[2]
    found, templated = PARTS.fullmatch(rest), _TEMPLATED.fullmatch(rest)
    assert found is not None
    if templated is None or _is_place(name, found["place"]):
        return found
    return templated if _is_place(name, templated["place"]) else found


def _is_place(name: str, place: str) -> bool:
    if name.startswith(HUB_PREFIX):
        return HUB_PLACE.fullmatch(place) is not None
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
    options = _options(found["options"], name)
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
    place, field, options = found["place"], found["field"], _options(found["options"], name)
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
    if source.holdout is not None and "{split}" in place:
        raise HarnessError(
            "a path with {split} in it has its own validation file, so nothing is held out",
            given=name,
            hint="leave out either {split} or holdout",
        )
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
    found = HUB_PLACE.fullmatch(place)
    if found is None:
        raise HarnessError("not the name of a Hub dataset", given=name, allowed=(_HUB_FORM,))
    return TextSource("hub", found["place"], field, found["revision"], found["config"], **options)


def _options(text: str | None, name: str) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for part in [] if text is None else text.split("&"):
        key, _, value = part.partition("=")
        if key not in OPTIONS:
            raise HarnessError(
                "no such option of a dataset", where=name, given=key, allowed=OPTIONS
            )
        if key in chosen:
            raise HarnessError("the option is given twice", where=name, given=key)
        chosen[key] = _fraction(value, name) if key == "holdout" else _count(value, name)
    return chosen


def _fraction(value: str, name: str) -> float:
    try:
        fraction = float(value)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 1:
        raise HarnessError(
            "holdout is the fraction of documents to hold out",
            where=name,
            given=value,
            allowed=("a number between 0 and 1, such as 0.005",),
        )
    return fraction


def _count(value: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]+", value) or int(value) == 0:
        raise HarnessError(
            "documents is how many documents to take",
            where=name,
            given=value,
            allowed=("a whole number from 1",),
        )
    return int(value)


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
