"""`harness ls`: adapters, data sets, suites, runs, and the suite files' JSON schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined
from rich.table import Table
from rich.text import Text

from harness.data.datasets import list_datasets
from harness.errors import HarnessError
from harness.planning.document import json_schema
from harness.planning.suite import load_suite
from harness.protocol import AdapterRecord
from harness.records import RunFolder, read_json
from harness.registry import adapter, adapter_names
from harness.show.console import terminal

#: Where suites are looked for, under the current directory.
SUITES = Path("suites")

#: How data of the user's own are named, a line for each kind.
_OWN = (
    "Your own text: file:PATH.txt, or file:PATH.jsonl#FIELD",
    "Your own images: file:FOLDER?size=32, file:PATH.parquet#FIELD?size=32 (&label=FIELD), or "
    "MNIST's file:PATH-images-idx3-ubyte.gz?size=28&channels=1",
    "Your own clips: file:FOLDER?size=64&frames=16 of videos, or of a subfolder of frames each; or "
    "file:PATH.npz, .npy or .safetensors",
    "Of the Hub: hub:OWNER/NAME#FIELD is text, hub:OWNER/NAME#FIELD?size=32 images",
    "All forms and options are in suites/README.md",
)

Rows = list[dict[str, Any]]


def print_listing(what: str, results: Path, *, as_json: bool) -> None:
    """List one kind of thing; an adapter's name shows that adapter's settings.

    Raises HarnessError for anything else, and where the results cannot be read.
    """
    listings: dict[str, Callable[[], None]] = {
        "adapters": lambda: _print_adapters(as_json=as_json),
        "data": lambda: _print_data(as_json=as_json),
        "suites": lambda: _print_suites(as_json=as_json),
        "runs": lambda: _print_runs(results, as_json=as_json),
        "schema": lambda: _print_json(json_schema()),
    }
    if what in listings:
        listings[what]()
    elif what in adapter_names():
        _print_adapter(adapter(what), as_json=as_json)
    else:
        raise HarnessError(
            "nothing of this kind to list",
            given=what,
            allowed=list(listings),
            hint="an adapter's name lists its settings",
        )


# --- what there is ---------------------------------------------------------------------------


def adapter_rows() -> Rows:
    """Every registered adapter; one that does not load is listed with its error."""
    rows: Rows = []
    for name in adapter_names():
        try:
            rows.append(_adapter_row(adapter(name)))
        except HarnessError as error:
            rows.append({"name": name, "error": str(error)})
    return rows


def _adapter_row(record: AdapterRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "family": record.family,
        "modality": record.modality,
        "version": record.version,
        "thinking": list(record.thinking),
        "description": record.description,
        "source": record.source,
        "config": _settings(record),
    }


def _settings(record: AdapterRecord) -> Rows:
    """Each config field: name, type as JSON schema, default (absent where required), meaning."""
    properties = record.config.model_json_schema()["properties"]
    rows: Rows = []
    for name, field in record.config.model_fields.items():
        row = {"name": name, "type": _type(properties[name])}
        if field.get_default(call_default_factory=True) is not PydanticUndefined:
            row["default"] = properties[name].get("default")
        rows.append(row | {"description": field.description or ""})
    return rows


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " | ".join(_type(member) for member in schema["anyOf"])
    return str(schema.get("type", "any"))


def data_rows() -> Rows:
    """Every named data set."""
    return [
        {
            "name": record.name,
            "modality": record.modality,
            "splits": list(record.splits),
            "size": record.size,
            "image_shape": None if record.image_shape is None else list(record.image_shape),
            "description": record.description,
        }
        for record in list_datasets()
    ]


def suite_rows(folder: Path) -> Rows:
    """Every suite file under a folder; one with a mistake is listed with its error."""
    rows: Rows = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".yaml", ".yml")):
        row: dict[str, Any] = {"path": str(path)}
        try:
            suite = load_suite(path)
        except HarnessError as error:
            rows.append(row | {"error": str(error)})
            continue
        rows.append(
            row
            | {
                "suite": suite.name,
                "version": suite.version,
                "description": suite.description,
                "runs": len({run.run_id for run in suite.runs}),
            }
        )
    return rows


def run_rows(results: Path) -> Rows:
    """Every run folder; one whose records are damaged is listed with its error."""
    runs = results / "runs"
    try:
        names = sorted(p.name for p in runs.iterdir() if p.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HarnessError(
            f"cannot read the results: {error.strerror or error}",
            where=str(runs),
            hint="--results names the folder that holds runs/",
        ) from error
    return [_run_row(RunFolder(results, name)) for name in names]


def _run_row(folder: RunFolder) -> dict[str, Any]:
    row: dict[str, Any] = {"run": folder.run_id, "adapter": None}
    try:
        if folder.spec.exists():
            row["adapter"] = read_json(folder.spec).get("adapter")
        status = folder.status()
    except (HarnessError, OSError, AttributeError, TypeError) as error:
        return row | {"error": f"damaged records: {error}"}
    return row | {
        "state": status.state,
        "step": status.step,
        "total_steps": status.total_steps,
        "reason": status.reason,
    }


# --- how it is shown -------------------------------------------------------------------------


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def _print_adapters(*, as_json: bool) -> None:
    rows = adapter_rows()
    if as_json:
        _print_json(rows)
        return
    shown = [row | {"thinking": ", ".join(row.get("thinking", ()))} for row in rows]
    _print_table(shown, ("name", "family", "modality", "version", "thinking", "description"))
    terminal().print("\nThe settings of one: harness ls NAME; of all: harness ls adapters --json")


def _print_adapter(record: AdapterRecord, *, as_json: bool) -> None:
    row = _adapter_row(record)
    if as_json:
        _print_json(row)
        return
    console = terminal()
    console.print(f"[bold]{record.name}[/] version {record.version}: {record.description}")
    console.print(f"modality: {record.modality}   thinking: {', '.join(record.thinking)}")
    console.print(Text(f"source: {record.source}"))
    console.print("\nsettings under `config`:")
    shown = [r | {"default": _default(r)} for r in row["config"]]
    _print_table(shown, ("name", "type", "default", "description"))


def _default(setting: dict[str, Any]) -> str:
    return json.dumps(setting["default"]) if "default" in setting else "(required)"


def _print_data(*, as_json: bool) -> None:
    rows = data_rows()
    if as_json:
        _print_json(rows)
        return
    shown = [row | {"splits": ", ".join(row["splits"])} for row in rows]
    _print_table(shown, ("name", "modality", "splits", "size", "description"))
    terminal().print()
    for line in _OWN:
        terminal().print(line, markup=False, soft_wrap=True)


def _print_suites(*, as_json: bool) -> None:
    rows = suite_rows(SUITES)
    if as_json:
        _print_json(rows)
    elif rows:
        _print_table(rows, ("path", "suite", "version", "runs", "description"))
    else:
        terminal().print(f"No suite files under {SUITES.absolute()}.", soft_wrap=True)


def _print_runs(results: Path, *, as_json: bool) -> None:
    rows = run_rows(results)
    if as_json:
        _print_json(rows)
    elif rows:
        shown = [row | {"step": _step(row)} for row in rows]
        _print_table(shown, ("run", "adapter", "state", "step", "reason"))
    else:
        terminal().print(f"No runs under {results / 'runs'}.", soft_wrap=True)


def _step(row: dict[str, Any]) -> str:
    if row.get("step") is None:
        return ""
    total = row.get("total_steps")
    return f"{row['step']:,}" + ("" if total is None else f" / {total:,}")


def _print_table(rows: Rows, columns: Sequence[str]) -> None:
    """One line per row; a row with an `error` shows it in the last column."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        right = column in ("version", "runs", "step")
        table.add_column(
            column, justify="right" if right else "left", no_wrap=column in ("name", "run", "path")
        )
    for row in rows:
        cells = [Text("" if row.get(c) is None else str(row[c])) for c in columns]
        if "error" in row:
            cells[-1] = Text(row["error"], style="red")
        table.add_row(*cells)
    terminal().print(table)
