"""Documents of files and Hub datasets, one after the other, none of them held."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.data.sources import TextSource
from harness.errors import HarnessError

_BATCH_ROWS = 1024

#: (name, text) of a document.
Named = tuple[str, bytes]


@dataclass
class Meter:
    """How far reading is: `done` of `total` bytes on disk, or rows; total is None if unknown."""

    done: int = 0
    total: int | None = None


def read_source(source: TextSource, split: str, meter: Meter) -> Iterator[Named]:
    """Every document of the source in order, empty ones left out, whichever split it belongs to.

    Raises HarnessError for what cannot be read, with file and line or row.
    """
    if source.kind == "hub":
        yield from _hub(source, split, meter)
        return
    paths = source.files(split)
    meter.total = sum(path.stat().st_size for path in paths)
    before = 0
    for path in paths:
        shown = path.name if len(paths) == 1 else str(path)
        meter.done = before
        with _readable(path):
            for name, text in _file(path, shown, source.field, meter):
                if text:
                    yield name, text
        before += path.stat().st_size
    meter.done = before


def _file(path: Path, shown: str, field: str, meter: Meter) -> Iterator[Named]:
    if path.name.endswith((".txt", ".txt.gz")):
        with _opened(path, meter) as content:
            yield shown, content.read()
    elif path.suffix == ".parquet":
        yield from _parquet(path, shown, field, meter)
    elif path.suffix == ".arrow":
        yield from _arrow(path, shown, field, meter)
    else:
        yield from _json_lines(path, shown, field, meter)


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


def _json_lines(path: Path, shown: str, field: str, meter: Meter) -> Iterator[Named]:
    with _opened(path, meter) as lines:
        for number, line in enumerate(lines, start=1):
            if line.isspace():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise HarnessError(f"not JSON: {error}", where=f"{path}:{number}") from error
            value = _field(record, field)
            if not isinstance(value, str):
                fields = sorted(record) if isinstance(record, dict) else []
                raise HarnessError(
                    "the line has no text in this field",
                    where=f"{path}:{number}",
                    given=field,
                    allowed=fields,
                )
            yield f"{shown}:{number}", value.encode("utf-8", "surrogatepass")


def _field(record: Any, field: str) -> Any:
    """The value under a field's own name, or under a dotted path; None where there is none."""
    if not isinstance(record, dict) or field in record:
        return record.get(field) if isinstance(record, dict) else None
    first, dot, rest = field.partition(".")
    return _field(record.get(first), rest) if dot else None


# --- tables ----------------------------------------------------------------------------------


def _parquet(path: Path, shown: str, field: str, meter: Meter) -> Iterator[Named]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        column = _column(file.schema_arrow.names, field, str(path))
        before, size, rows = meter.done, path.stat().st_size, max(1, file.metadata.num_rows)
        row = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[column]):
            yield from _texts(batch, field, row, shown, str(path))
            row += batch.num_rows
            meter.done = before + size * row // rows


def _arrow(path: Path, shown: str, field: str, meter: Meter) -> Iterator[Named]:
    import pyarrow

    with pyarrow.memory_map(str(path)) as mapped:
        try:
            batches: Any = pyarrow.ipc.open_stream(mapped)
        except pyarrow.ArrowInvalid:
            file = pyarrow.ipc.open_file(mapped)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        before, row = meter.done, 0
        for batch in batches:
            _column(batch.schema.names, field, str(path))
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                part = batch.slice(start, _BATCH_ROWS)
                yield from _texts(part, field, row + start, shown, str(path))
                meter.done = before + mapped.tell()
            row += batch.num_rows


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


def _hub(source: TextSource, split: str, meter: Meter) -> Iterator[Named]:
    """Stream a Hub dataset, or a folder in one of its formats, by the `datasets` library."""
    import datasets

    name = str(source)
    chosen = "train" if source.holdout is not None else split
    source.files(split)  # a folder that is not there is not looked for on the Hub
    place = str(Path(source.place).expanduser()) if source.is_local else source.place
    meter.total = source.documents
    with _from_hub(name, source):
        rows: Any = datasets.load_dataset(
            place, source.config, split=chosen, revision=source.revision, streaming=True
        )
        columns = rows.column_names
        if columns is not None:
            rows = rows.select_columns([_column(columns, source.field, name)])
        count = 0
        for table in rows.with_format("arrow").iter(batch_size=_BATCH_ROWS):
            for named in _texts(table, source.field, count, source.place, name):
                if named[1]:
                    yield named
            count += table.num_rows
            meter.done = count


@contextmanager
def _from_hub(name: str, source: TextSource) -> Iterator[None]:
    """Whatever goes wrong between here and the Hub, on one line, and what to do."""
    try:
        yield
    except (HarnessError, GeneratorExit):
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HarnessError(
            f"the dataset cannot be read: {said}",
            where=name,
            hint=None
            if source.is_local
            else "check its name, revision, configuration and split on https://huggingface.co/"
            f"datasets/{source.place}; without network, download its files and give "
            f"file:PATH/*.parquet#{source.field}",
        ) from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """HarnessError where the file is damaged or cannot be opened."""
    try:
        yield
    except HarnessError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pyarrow's are of these too
        raise HarnessError(
            f"the file cannot be read: {str(error).strip() or type(error).__name__}",
            where=str(path),
        ) from error
