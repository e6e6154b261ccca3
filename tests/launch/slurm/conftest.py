"""A desk to submit from, and a Slurm whose jobs stand still until a test moves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.conftest import room as room
from tests.launch.room import Room
from tests.launch.slurm.desk import Desk
from tests.launch.slurm.fake_slurm import FakeSlurm


@pytest.fixture
def slurm(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeSlurm]:
    fake = FakeSlurm(tmp_path_factory.mktemp("slurm"), monkeypatch)
    yield fake
    assert not fake.misuses()


@pytest.fixture
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of Slurm's commands is on PATH."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))


@pytest.fixture
def desk(room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(room.folder, monkeypatch, capsys)
