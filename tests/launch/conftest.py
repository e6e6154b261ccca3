"""A fresh room per test."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import registry
from tests.launch.room import PLUGIN, Room


def clear_registry() -> None:
    registry._entry_points.cache_clear()
    registry.adapter.cache_clear()
    for name in ("toy_records", "toy_network"):
        sys.modules.pop(name, None)


@pytest.fixture
def room(corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """The working folder is the room's; the toy adapter is installed for what is started there."""
    if not sys.platform.startswith("linux"):
        pytest.skip("finds worker processes under /proc")
    for file in corpus_folder.glob("*.jsonl"):
        shutil.copy(file, tmp_path)
    installed = tmp_path / "site"
    installed.mkdir()
    for file in PLUGIN.glob("*.py"):
        shutil.copy(file, installed)
    info = installed / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.adapters]\ntoy = toy_records:TOY\n")
    monkeypatch.chdir(tmp_path)
    # A shell that starts pytest in the background lets it ignore Ctrl-C, and children inherit that.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    clear_registry()
    yield Room(tmp_path)
    clear_registry()
    signal.signal(signal.SIGINT, previous)
