"""Records that tests write need not survive a crash."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk is most of writing small records."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
