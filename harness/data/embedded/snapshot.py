"""Rebuild the frozen text in `snapshots/`: `python -m harness.data.embedded.snapshot OUT`.

Everything is read from the source files of CPython 3.11.7's library, never by importing them, so
the result does not depend on the platform or on what is installed.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from harness.data.disjoint import documents_sharing, word_grams
from harness.errors import HarnessError

PYTHON = (3, 11, 7)
# Applications, vendored or generated code, and files that differ between platforms.
_LEFT_OUT = {
    "__phello__", "__pycache__", "ensurepip", "idlelib", "idle_test", "lib2to3", "pydoc_data",
    "site-packages", "dist-packages", "test", "tests", "turtledemo",
}  # fmt: skip
_LEFT_OUT_PREFIXES = ("_sysconfigdata", "config-")
_SHORTEST = 16
# A document more than half made of text that is already in the set is a near duplicate.
_MOST_REPEATED = 0.5

_SOURCE_MODULES = (
    "bisect", "calendar", "collections/__init__", "configparser", "contextlib", "csv",
    "dataclasses", "enum", "fractions", "functools", "glob", "heapq", "json/decoder",
    "json/encoder", "pathlib", "queue", "random", "sched", "shutil", "statistics", "textwrap",
    "threading", "urllib/parse",
)  # fmt: skip

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_Scope = ast.Module | _Definition


def _library() -> Path:
    if sys.version_info[:3] != PYTHON:
        raise HarnessError(
            "the snapshots are of CPython 3.11.7 and must be rebuilt with it",
            given=".".join(map(str, sys.version_info[:3])),
            allowed=("3.11.7",),
        )
    return Path(sysconfig.get_path("stdlib"))


def _modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    for relative, path in sorted(paths.items()):
        parts = relative.split("/")
        if not _LEFT_OUT.intersection(parts) and not parts[0].startswith(_LEFT_OUT_PREFIXES):
            yield relative.removesuffix(".py"), ast.parse(path.read_bytes())


def _docstrings(node: ast.AST, *, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Scope):
        yield name, ast.get_docstring(node) or ""
    for child in ast.iter_child_nodes(node):
        inner = f"{name}.{child.name}" if isinstance(child, _Definition) else name
        yield from _docstrings(child, name=inner)


def _topics(root: Path) -> dict[str, str]:
    tree = ast.parse((root / "pydoc_data" / "topics.py").read_bytes())
    assignment = next(node for node in tree.body if isinstance(node, ast.Assign))
    return cast(dict[str, str], ast.literal_eval(assignment.value))


def collect_docs() -> list[tuple[str, str]]:
    """Return (name, text) of every distinct docstring and language topic, in a stable order."""
    root = _library()
    # Longest topic first: the long ones contain short ones, which then count as duplicates.
    topics = sorted(_topics(root).items(), key=lambda item: (-len(item[1]), item[0]))
    found = [(f"topic:{name}", text) for name, text in topics]
    for module, tree in _modules(root):
        found.extend(_docstrings(tree, name=module))
    seen: Counter[str] = Counter()
    first_name: dict[str, str] = {}
    for name, text in found:
        stripped = text.strip() + "\n"
        if len(stripped) >= _SHORTEST and stripped not in first_name:
            seen[name] += 1
            first_name[stripped] = name if seen[name] == 1 else f"{name}#{seen[name]}"
    return _without_near_duplicates([(name, text) for text, name in first_name.items()])


def _without_near_duplicates(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    grams = word_grams([text.encode() for _, text in found])
    borders = np.searchsorted(grams.owners, np.arange(len(found) + 1))
    known: set[int] = set()
    kept = []
    for index, document in enumerate(found):
        own = set(grams.hashes[borders[index] : borders[index + 1]].tolist())
        if len(own & known) <= _MOST_REPEATED * len(own):
            kept.append(document)
            known |= own
    return kept


class _Bare(ast.NodeTransformer):
    """Drops every statement that is only a string: docstrings and strings used as comments."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_string else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, _Scope) and not node.body:
            node.body = [ast.Pass()]
        return node


def collect_source(docs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (name, code) of top-level classes and functions of some modules, comments gone.

    Code that shares a word 13-gram with the documentation `docs`, by its examples, is left out.
    """
    root = _library()
    found = []
    for module in _SOURCE_MODULES:
        tree = _Bare().visit(ast.parse((root / f"{module}.py").read_bytes()))
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.append((f"{module}:{node.name}", ast.unparse(node) + "\n"))
    codes = [code.encode() for _, code in found]
    shared = set(documents_sharing(codes, [text.encode() for _, text in docs]).tolist())
    return [document for index, document in enumerate(found) if index not in shared]


def packed_lines(documents: list[tuple[str, str]]) -> bytes:
    """Return gzip'd JSON lines {name, text}; equal documents give equal bytes under one zlib."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as out:
        for name, text in documents:
            line = json.dumps({"name": name, "text": text}, ensure_ascii=False)
            out.write(line.encode() + b"\n")
    return buffer.getvalue()


def main(out: Path) -> None:
    """Write docs.jsonl.gz, source.jsonl.gz and the licence into `out`; print their sha256."""
    out.mkdir(parents=True, exist_ok=True)
    docs = collect_docs()
    files = {
        "docs.jsonl.gz": packed_lines(docs),
        "source.jsonl.gz": packed_lines(collect_source(docs)),
        "LICENSE-PYTHON.txt": (_library() / "LICENSE.txt").read_bytes(),
    }
    for name, content in files.items():
        (out / name).write_bytes(content)
        print(f"{hashlib.sha256(content).hexdigest()}  {name}  {len(content)} bytes")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except IndexError:
        sys.exit("usage: python -m harness.data.embedded.snapshot OUT")
    except HarnessError as error:
        sys.exit(str(error))
