"""Documents and records of files and Hub datasets, one after the other, none of them held."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

from harness.data.corpora.sources import TextSource
from harness.data.corpora.templates import Template
from harness.data.disk import readable
from harness.data.effort import Meter
from harness.data.hub import from_hub
from harness.errors import HarnessError

_BATCH_ROWS = 1024

#: (name, text) of a document.
Named = tuple[str, bytes]
#: (where it is, the record).
Record = tuple[str, Mapping[str, Any]]


def read_source(source: TextSource, split: str, meter: Meter) -> Iterator[Named]:
    """Every document of the source in order, empty ones left out, whichever split it belongs to.

    Raises HarnessError for what cannot be read, with file and line or row.
    """
    template = source.template
    if template is not None:
        for where, record in read_records(replace(source, field=""), split, meter):
            rendered = _rendered(template, record, where)
            if rendered:
                yield where, rendered.encode("utf-8", "surrogatepass")
        return
    if source.kind == "hub":
        for row, table in _hub(source, split, meter):
            for named in _texts(table, source.field, row, source.place, str(source)):
                if named[1]:
                    yield named
        return
    for path, shown in _files(source, split, meter):
        with readable(path):
            for name, text in _documents(path, shown, source.field, meter):
                if text:
                    yield name, text


def _rendered(template: Template, record: Mapping[str, Any], where: str) -> str | None:
    """A record's text; None where a field of it is null or beyond its list."""
    try:
        return template.render(record)
    except HarnessError as error:
        raise error.located(where) from error


def read_records(source: TextSource, split: str, meter: Meter | None = None) -> Iterator[Record]:
    """Every record of the source in order, with where it is: `file:number`, counted from 1.

    Raises HarnessError for what cannot be read, with file and line or row.
    """
    meter = meter or Meter()
    if source.kind == "hub":
        for before, table in _hub(source, split, meter):
            for row, record in enumerate(table.to_pylist(), start=before + 1):
                yield f"{source}:{row}", record
        return
    for path, _ in _files(source, split, meter):
        with readable(path):
            for number, record in _records(path, meter):
                where = f"{path}:{number}"
                if not isinstance(record, dict):
                    raise HarnessError("not a record with named fields", where=where)
                yield where, record


def _files(source: TextSource, split: str, meter: Meter) -> Iterator[tuple[Path, str]]:
    """The source's files, and what each is called in the names of its documents."""
    paths = source.files(split)
    meter.total = sum(path.stat().st_size for path in paths)
    before = 0
    for path in paths:
        meter.done = before
        yield path, path.name if len(paths) == 1 else str(path)
        before += path.stat().st_size
    meter.done = before


def _documents(path: Path, shown: str, field: str, meter: Meter) -> Iterator[Named]:
    if path.name.endswith((".txt", ".txt.gz")):
        with _opened(path, meter) as content:
            yield shown, content.read()
    elif path.suffix in _TABLES:
        for before, batch in _TABLES[path.suffix](path, field, meter):
            yield from _texts(batch, field, before, shown, str(path))
    else:
        for number, record in _json(path, meter):
            yield f"{shown}:{number}", _text(record, field, f"{path}:{number}")


def _records(path: Path, meter: Meter) -> Iterator[tuple[int, Any]]:
    """(line or row, record); lines and rows are counted from 1."""
    if path.suffix not in _TABLES:
        yield from _json(path, meter)
        return
    for before, batch in _TABLES[path.suffix](path, "", meter):
        yield from enumerate(batch.to_pylist(), start=before + 1)


class _Metered(io.RawIOBase):
    """A file whose reads count."""

    def __init__(self, file: Any, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._meter.done += count
        return int(count)

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(path: Path, meter: Meter) -> IO[bytes]:
    raw = io.BufferedReader(_Metered(path.open("rb", buffering=0), meter), 1 << 20)
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 20)
    if path.suffix == ".zst":
        import pyarrow  # imported here: it takes a moment

        stream = pyarrow.CompressedInputStream(raw, "zstd")
        return io.BufferedReader(stream, 1 << 20)
    return raw


def _json(path: Path, meter: Meter) -> Iterator[tuple[int, Any]]:
    """(line, record) of JSON lines; (row, record) of one document, which `.json` files may be."""
    with _opened(path, meter) as file:
        if not path.name.removesuffix(".gz").removesuffix(".zst").endswith(".json"):
            yield from _json_lines(file, path)
            return
        begin: list[bytes] = []
        for line in file:
            begin.append(line)
            if not line.isspace() and not all(map(bytes.isspace, begin[:-1])):
                break
        if _is_json_lines(begin):
            yield from _json_lines(chain(begin, file), path)
            return
        whole = b"".join(begin) + file.read()
    try:
        document = json.loads(whole)
    except ValueError:
        yield from _json_lines(io.BytesIO(whole), path)
        return
    yield from enumerate(_rows(document, path), start=1)


def _is_json_lines(begin: list[bytes]) -> bool:
    """Of two lines that are not blank, the first is whole: no document goes on after its end."""
    lines = [line for line in begin if not line.isspace()]
    try:
        json.loads(lines[0] if len(lines) == 2 else b"")
    except ValueError:
        return False
    return True


def _json_lines(lines: Iterable[bytes], path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise HarnessError(f"not JSON: {error}", where=f"{path}:{number}") from error
        yield number, record


def _rows(document: Any, path: Path) -> Iterator[Any]:
    """The records of a list, of one under `data`, or of SQuAD's articles: a row per question."""
    rows = document
    if isinstance(document, dict):
        rows = document["data"] if isinstance(document.get("data"), list) else [document]
    if not isinstance(rows, list):
        raise HarnessError("holds no list of records", where=str(path))
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("paragraphs"), list):
            yield row
            continue
        try:
            for paragraph in row["paragraphs"]:
                for question in paragraph["qas"]:
                    yield {"title": row.get("title"), "context": paragraph["context"], **question}
        except (KeyError, TypeError) as error:
            problem = f"paragraphs without qas and context, unlike SQuAD's: {error!r}"
            raise HarnessError(problem, where=str(path)) from error


def _text(record: Any, field: str, where: str) -> bytes:
    value = _field(record, field)
    if not isinstance(value, str):
        raise HarnessError(
            "the line has no text in this field",
            where=where,
            given=field,
            allowed=sorted(record) if isinstance(record, dict) else [],
        )
    return value.encode("utf-8", "surrogatepass")


def _field(record: Any, field: str) -> Any:
    """The value under a field's own name, or under a dotted path; None where there is none."""
    if not isinstance(record, dict) or field in record:
        return record.get(field) if isinstance(record, dict) else None
    first, dot, rest = field.partition(".")
    return _field(record.get(first), rest) if dot else None


# --- tables ----------------------------------------------------------------------------------


def _parquet(path: Path, field: str, meter: Meter) -> Iterator[tuple[int, Any]]:
    """(rows before it, batch), of the field's column or of all."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        columns = [_column(file.schema_arrow.names, field, str(path))] if field else None
        before, size, rows = meter.done, path.stat().st_size, max(1, file.metadata.num_rows)
        row = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield row, batch
            row += batch.num_rows
            meter.done = before + size * row // rows


def _arrow(path: Path, field: str, meter: Meter) -> Iterator[tuple[int, Any]]:
    """(rows before it, batch) of a stream or file."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as mapped:
        try:
            batches: Any = pyarrow.ipc.open_stream(mapped)
        except pyarrow.ArrowInvalid:
            file = pyarrow.ipc.open_file(mapped)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        before, row = meter.done, 0
        for batch in batches:
            if field:
                _column(batch.schema.names, field, str(path))
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield row + start, batch.slice(start, _BATCH_ROWS)
                meter.done = before + mapped.tell()
            row += batch.num_rows


_TABLES = {".parquet": _parquet, ".arrow": _arrow}


def _column(names: list[str], field: str, where: str) -> str:
    """The column that holds the field: of that name, or that its dotted path begins with."""
    column = field if field in names else field.partition(".")[0]
    if column not in names:
        raise HarnessError("no such field", where=where, given=field, allowed=sorted(names))
    return column


def _texts(table: Any, field: str, row: int, shown: str, where: str) -> Iterator[Named]:
    """(name, text) of each row of a batch or table; rows are counted from 1, `row` came before."""
    import pyarrow

    column = table.column(_column(table.schema.names, field, where))
    rest = "" if field in table.schema.names else field.partition(".")[2]
    if not rest and (pyarrow.types.is_string(column.type)):
        column = column.cast(pyarrow.binary())
    elif not rest and pyarrow.types.is_large_string(column.type):
        column = column.cast(pyarrow.large_binary())
    for number, value in enumerate(column.to_pylist(), start=row + 1):
        text = _field(value, rest) if rest else value
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogatepass")
        if not isinstance(text, bytes):
            raise HarnessError(
                "the row has no text in this field",
                where=f"{where}:{number}",
                given=field,
                allowed=sorted(table.schema.names) if text is not None else None,
                hint=f"it holds {'null' if text is None else type(text).__name__}",
            )
        yield f"{shown}:{number}", text


def _hub(source: TextSource, split: str, meter: Meter) -> Iterator[tuple[int, Any]]:
    """(rows before it, table) of a Hub dataset, or of a folder in one of its formats, streamed by
    the `datasets` library.
    """
    import datasets

    name = str(source)
    chosen = "train" if source.holdout is not None else split
    source.files(split)  # a folder that is not there is not looked for on the Hub
    place = str(Path(source.place).expanduser()) if source.is_local else source.place
    meter.total = source.documents
    on_hub = None if source.is_local else source.place
    files = f"file:PATH/*.parquet{'#' if source.field else ''}{source.field}"
    with from_hub(name, chosen, place=on_hub, files=files):
        rows: Any = datasets.load_dataset(
            place, source.config, split=chosen, revision=source.revision, streaming=True
        )
        columns = rows.column_names
        if columns is not None and source.field:
            rows = rows.select_columns([_column(columns, source.field, name)])
        count = 0
        for table in rows.with_format("arrow").iter(batch_size=_BATCH_ROWS):
            yield count, table
            count += table.num_rows
            meter.done = count
