"""lm-eval's tasks by name: which file says them, what they read, and the digest of it all.

A name is looked for among the user's own YAMLs, then among ours (`harness/data/tasks`), then among
those that come with lm-eval. Nothing here imports lm-eval.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from harness.data.task_names import names_of, yamls_of
from harness.errors import HarnessError

OURS = Path(__file__).parent / "tasks"
#: The builders of `datasets` that read files, as a task's `dataset_path` names them.
FILE_BUILDERS = ("json", "csv", "text", "parquet", "arrow", "xml", "pandas")
_FUNCTION = "!function "
_KEY, _OF = "task ", " of "


class _Loader(yaml.SafeLoader):
    """YAML in which `!function a.b` is the text `!function a.b`."""


_Loader.add_constructor("!function", lambda loader, node: _FUNCTION + str(node.value))


@dataclass(frozen=True)
class TaskFile:
    """A task, a group or a tag; `path` is its YAML, for a tag any of those that bear it."""

    name: str
    origin: Literal["include", "harness", "lm_eval"]
    kind: Literal["task", "group", "tag"]
    path: Path
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The YAML with what it includes; functions are texts."""
        return _merged(self.path)

    @property
    def needs_hub(self) -> bool:
        """Whether its data come from the Hub, or its cache, by their name."""
        path = self.config.get("dataset_path")
        if self.kind != "task" or "class" in self.config:
            return self.origin != "harness"
        if path is None or "custom_dataset" in self.config:
            return False
        return path not in FILE_BUILDERS and _place(str(path), self.path) is None

    def local_paths(self) -> dict[str, Any]:
        """The settings of its config that name local files, with paths that hold from here.

        Relative paths are looked for from the current folder, as lm-eval does, then beside the
        YAML. HarnessError where a file is not there. Those of a dataset, on the Hub or in a folder,
        are its own.
        """
        changed: dict[str, Any] = {}
        path = self.config.get("dataset_path")
        if isinstance(path, str) and path not in FILE_BUILDERS:
            place = _place(path, self.path)
            return {} if place is None else {"dataset_path": str(place)}
        given = self.config.get("dataset_kwargs")
        if isinstance(given, Mapping) and ({"data_files", "data_dir"} & set(given)):
            found = dict(given)
            for key in ("data_files", "data_dir"):
                if key in given:
                    found[key] = _resolved(given[key], self.path)
            changed["dataset_kwargs"] = found
        return changed


def find_task(name: str, include: str | None = None) -> TaskFile:
    """The task, group or tag of that name; HarnessError names the nearest where there is none."""
    known: list[str] = []
    if include is not None:
        folder = Path(include).expanduser()
        if not folder.is_dir():
            raise HarnessError("no such folder of tasks", given=include)
        _check_readable(folder)
        found = names_of(folder)
        if name in found:
            return _file(name, "include", folder, found)
        known += found
    ours = names_of(OURS)
    if name in ours:
        return _file(name, "harness", OURS, ours)
    theirs = lm_eval_tasks()
    if name in theirs:
        return _file(name, "lm_eval", next(_lm_eval_folder()), theirs)
    raise HarnessError(
        "no such task",
        where=None if include is None else f"tasks in {include}, ours and lm-eval's",
        given=name,
        allowed=[*known, *ours, *theirs],
        hint="your own: a task YAML of lm-eval's in a folder, named by `include` (--include)",
    )


def leaves(found: TaskFile) -> list[TaskFile] | None:
    """The plain tasks that it stands for; None where lm-eval's whole index must say.

    That is so for groups and tags of lm-eval's own, and for groups whose members lie elsewhere or
    have settings of their own there.
    """
    if found.kind == "task":
        return [found]
    if found.origin == "lm_eval":
        return None
    near = names_of(found.folder)
    if found.kind == "group":
        members = found.config.get("task") or []
        names = [m if isinstance(m, str) else m.get("task") for m in members]
        plain = all(isinstance(m, str) or set(m) == {"task"} for m in members)
        if not plain or not set(names) <= set(near):
            return None
    files = [_file(name, found.origin, found.folder, near) for name, _ in _members(found)]
    tasks = [each for each in files if each.kind == "task"]
    return list({each.name: each for each in tasks}.values())


@cache
def lm_eval_tasks() -> dict[str, tuple[str, Path]]:
    """Name -> (kind, YAML) of everything that comes with lm-eval; empty where it is missing."""
    return {name: found for folder in _lm_eval_folder() for name, found in names_of(folder).items()}


def task_digest(found: TaskFile) -> str:
    """sha256 over the YAML, what it includes, its functions' files and its local data.

    A group's is over its members as well, where they lie in the same folder.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_members(found)):
        digest.update(f"{name}\0".encode())
        for file in _files_of(path):
            stat = file.stat()
            digest.update(file.name.encode() + b"\0")
            digest.update(_file_digest(file, stat.st_ctime_ns, stat.st_size))
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _file_digest(file: Path, ctime_ns: int, size: int) -> bytes:
    """Read once for all the runs of a suite, and again where the file has changed: its `ctime`
    tells, which no program can set back.
    """
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest()


def task_key(name: str, include: str | None) -> str:
    """What provenance calls a task: `task NAME`, or `task NAME of FOLDER`."""
    return f"{_KEY}{name}" + ("" if include is None else f"{_OF}{include}")


def digest_of_key(key: str) -> str | None:
    """The digest, as of now, of a task; None for any other key, and where lm-eval is not here."""
    if not key.startswith(_KEY):
        return None
    name, of, include = key.removeprefix(_KEY).partition(_OF)
    if not of and name not in names_of(OURS) and not lm_eval_tasks():
        return None
    return task_digest(find_task(name, include if of else None))


# --- names -----------------------------------------------------------------------------------


def _lm_eval_folder() -> Iterator[Path]:
    found = importlib.util.find_spec("lm_eval")
    if found is not None and found.origin is not None:
        yield Path(found.origin).parent / "tasks"


def _file(
    name: str,
    origin: Literal["include", "harness", "lm_eval"],
    folder: Path,
    found: Mapping[str, tuple[str, Path]],
) -> TaskFile:
    kind, path = found[name]
    return TaskFile(name, origin, kind, path, folder)  # type: ignore[arg-type]


def _check_readable(folder: Path) -> None:
    """Every YAML of the user's folder can be read: lm-eval leaves others out without a word."""
    for path in yamls_of(folder):
        _read(path)


# --- what a task reads -----------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise HarnessError(f"not valid YAML: {line}", where=str(path)) from error
    except OSError as error:
        raise HarnessError(f"cannot read: {error.strerror or error}", where=str(path)) from error
    if not isinstance(found, dict):
        raise HarnessError("not a task: the file holds no mapping", where=str(path))
    return found


def _merged(path: Path) -> dict[str, Any]:
    """The YAML over what it includes, as lm-eval merges them."""
    merged: dict[str, Any] = {}
    for part in reversed(_with_includes(path)):
        merged |= {k: v for k, v in _read(part).items() if k != "include"}
    return merged


def _with_includes(path: Path, seen: tuple[Path, ...] = ()) -> list[Path]:
    """The YAML, then what it includes, the later (which win) first."""
    if path in seen:
        raise HarnessError("the file includes itself", where=str(path))
    given = _read(path).get("include") or []
    found = [path]
    for name in reversed([given] if isinstance(given, str) else list(given)):
        found += _with_includes(path.parent / str(name), (*seen, path))
    return found


def _members(found: TaskFile) -> Iterator[tuple[str, Path]]:
    """The task itself, or a group or tag's tasks that lie in the same folder, and their YAMLs."""
    yield found.name, found.path
    if found.kind == "task":
        return
    near = names_of(found.folder)
    if found.kind == "tag":
        for name, (kind, path) in near.items():
            if kind == "task" and found.name in _listed_in(_merged(path).get("tag")):
                yield name, path
        return
    for member in found.config.get("task") or []:
        name = member if isinstance(member, str) else member.get("task") or member.get("group")
        if isinstance(name, str) and name in near and name != found.name:
            yield from _members(_file(name, found.origin, found.folder, near))


def _listed_in(tag: Any) -> list[str]:
    return [tag] if isinstance(tag, str) else list(tag or [])


def _files_of(path: Path) -> list[Path]:
    """What a task's YAML stands for on this disk, in an order of its own."""
    yamls = _with_includes(path)
    config = _merged(path)
    functions = {file for part in yamls for file in _function_files(_read(part), part.parent)}
    return [*yamls, *sorted(functions), *_data_files(config, path)]


def _function_files(value: Any, folder: Path) -> Iterator[Path]:
    """The Python files of a config's functions: beside the YAML, or installed."""
    if isinstance(value, str) and value.startswith(_FUNCTION):
        module = value.removeprefix(_FUNCTION).rpartition(".")[0]
        beside = folder / f"{module.replace('.', '/')}.py"
        if beside.is_file():
            yield beside
        elif module.startswith("harness."):
            installed = importlib.util.find_spec(module)
            assert installed is not None
            assert installed.origin is not None
            yield Path(installed.origin)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _function_files(part, folder)
    elif isinstance(value, list):
        for part in value:
            yield from _function_files(part, folder)


def _data_files(config: Mapping[str, Any], yaml_path: Path) -> list[Path]:
    given = config.get("dataset_kwargs")
    kwargs = given if isinstance(given, Mapping) else {}
    texts = [*_texts(kwargs.get("data_files")), *_texts(kwargs.get("data_dir"))]
    path = config.get("dataset_path")
    if isinstance(path, str) and path not in FILE_BUILDERS:
        texts = [path]
    places = {file for text in texts for file in _matching(text, yaml_path)}
    return sorted(places)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for part in value.values() for text in _texts(part))
    elif isinstance(value, Iterable):
        yield from (text for part in value for text in _texts(part))


def _matching(text: str, yaml_path: Path) -> Iterator[Path]:
    """The files that a path, pattern or folder means; none for what is not on this disk."""
    place = _place(text, yaml_path)
    if place is None:
        return
    if place.is_dir():
        yield from (path for path in place.rglob("*") if path.is_file())
    elif place.is_file():
        yield place
    else:
        yield from (path for path in place.parent.glob(place.name) if path.is_file())


def _place(text: str, yaml_path: Path) -> Path | None:
    """Where a path leads from here, else from the YAML's folder; None where to nothing."""
    if "://" in text:
        return None
    for place in (Path(text).expanduser(), yaml_path.parent / text):
        if place.exists() or ("*" in place.name and any(place.parent.glob(place.name))):
            return place.absolute()
    return None


def _resolved(value: Any, yaml_path: Path) -> Any:
    """The same with every path one that holds from here."""
    if isinstance(value, Mapping):
        return {key: _resolved(part, yaml_path) for key, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, yaml_path) for part in value]
    place = _place(str(value), yaml_path)
    if place is None and "://" not in str(value):
        raise HarnessError(
            "a data file of the task is not there",
            where=str(yaml_path),
            given=str(value),
            hint=f"a relative path is looked for from {Path.cwd()}, then beside the YAML",
        )
    return str(value) if place is None else str(place)
