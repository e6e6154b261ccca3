"""Suite files on a command line: folders, repetitions, and what is no suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.options import load_all, suite_files

TEXT = """
suite: NAME
experiments:
  text:
    base: {task: {kind: next_token, context: 16}, batch_size: 8, budget: {steps: 10}}
    adapters: {ebt: {adapter: ebt_text, optimizer.lr: 1e-3, config: {size: 4xs}}}
"""


def write(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT.replace("NAME", name))
    return path


def test_a_folder_stands_for_the_suites_below_it_sorted(tmp_path: Path) -> None:
    b, deep = write(tmp_path / "b.yaml", "b"), write(tmp_path / "a" / "z.yml", "z")
    (tmp_path / "a" / "task.yaml").write_text("task: mine\nmetric: !function metrics.own\n")
    (tmp_path / "profile.yaml").write_text("partition: gpu\n")
    (tmp_path / "notes.txt").write_text("suite: no\n")
    assert suite_files([tmp_path]) == [deep, b]
    assert [suite.name for suite in load_all([tmp_path], None, tmp_path / "results")] == ["z", "b"]


def test_a_suite_that_is_given_twice_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mine.yaml", "mine")
    monkeypatch.chdir(tmp_path)
    assert suite_files([path, Path("mine.yaml"), tmp_path]) == [path]


def test_two_suites_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "one.yaml", "same")
    write(tmp_path / "two.yaml", "same")
    with pytest.raises(HarnessError, match=r"two suites are called 'same'") as refused:
        load_all([tmp_path], None, tmp_path / "results")
    assert "one.yaml" in str(refused.value)
    assert "two.yaml" in str(refused.value)


def test_a_folder_without_suites_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("task: mine\n")
    with pytest.raises(HarnessError, match="no suite lies in this folder"):
        suite_files([tmp_path])


def test_a_broken_suite_in_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("suite: broken\nexperiments: 3\n")
    with pytest.raises(HarnessError, match=r"broken\.yaml"):
        load_all([tmp_path], None, tmp_path / "results")
