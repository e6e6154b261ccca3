"""Sums per document: read once for all sections, and anew once their file is another."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.exhibits import document_sums
from harness.analysis.exhibits.document_sums import load_document_sums
from harness.analysis.resampling import joint_losses
from harness.errors import HarnessError
from tests.analysis.records_factory import save_documents

N = np.array([10, 0, 30])


def write(folder: Path, value: float, *, at: int, settings: tuple[str, ...] = ("a", "b")) -> str:
    folder.mkdir(exist_ok=True)
    sums = np.full((len(settings), 1, 3), value)
    save_documents(folder, list(settings), sums, N)
    os.utime(folder / "by_document.npz", ns=(at, at))
    return str(folder)


def test_a_file_that_is_another_is_read_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "0", 1.0, at=1)
    first = load_document_sums([folder])
    assert load_document_sums([folder]) is first
    write(tmp_path / "0", 2.0, at=2)
    again = load_document_sums([folder])
    assert again.sums.tolist() == [[[2.0, 2.0], [2.0, 2.0]]]
    assert first.sums.max() == 1.0


def test_large_ones_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_sums, "_KEPT_BYTES", 10)
    folder = write(tmp_path / "0", 1.0, at=1)
    assert load_document_sums([folder]) is not load_document_sums([folder])


def test_nobody_can_change_what_others_will_read(tmp_path: Path) -> None:
    sums = load_document_sums([write(tmp_path / "0", 1.0, at=1)])
    with pytest.raises(ValueError, match="read-only"):
        sums.sums[0, 0, 0] = 5


def test_draws_are_those_of_the_sums(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(seed), 1.0 + seed, at=1) for seed in range(3)]
    sums = load_document_sums(folders)
    for models in (1, 2, 1):
        expected = joint_losses(sums.sums, sums.n, models=models)
        assert np.array_equal(sums.drawn_losses(models), expected)
    assert not np.array_equal(sums.drawn_losses(1), sums.drawn_losses(2))


def test_different_settings_are_a_mistake_that_names_the_folders(tmp_path: Path) -> None:
    first, second = write(tmp_path / "0", 1, at=1), write(tmp_path / "1", 1, at=1, settings=("a",))
    with pytest.raises(HarnessError, match="different documents or settings") as refused:
        load_document_sums([first, second])
    assert refused.value.where == f"{first}, {second}"
