"""What several tests of the baselines set up."""

from __future__ import annotations

import pytest


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several causal blocks even at test lengths, the last one ragged."""
    monkeypatch.setattr("baselines.autoregressive.QUERY_BLOCK", 4)
