"""A checkpoint counts once it is whole; whatever happens to the newest, the one before serves."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness.cost import peak_memory_bytes, reset_peak_memory
from harness.training import checkpoint as ckpt
from harness.training.checkpoint import (
    FILES,
    MANIFEST,
    MODEL,
    STATE,
    newest_checkpoint,
    replay_file,
    save_checkpoint,
)

REPLAY = replay_file(0)


def save(folder: Path, step: int, *, width: int = 4) -> None:
    torch.manual_seed(step)
    model = nn.Linear(width, width)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, width)).sum().backward()
    optimizer.step()
    save_checkpoint(
        folder,
        step=step,
        model=model,
        optimizer=optimizer,
        state={"note": step},
        replay={"rows": torch.arange(step)},
    )


def steps(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def newest_step(folder: Path) -> int | None:
    found = newest_checkpoint(folder)
    return None if found is None else found.step


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forget(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        manifest = json.loads(path.read_text())
        del manifest["files"][name]
        path.write_text(json.dumps(manifest))

    return damage


ALL = (*FILES, REPLAY)


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in ALL for damage in (truncate, flip_a_bit, Path.unlink)]
    + [(MANIFEST, damage) for damage in (truncate, Path.unlink, forget(STATE), forget(REPLAY))],
)
def test_a_damaged_checkpoint_is_passed_over(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    for step in (3, 6):
        save(tmp_path, step)
    damage(tmp_path / "step-6" / name)

    found = newest_checkpoint(tmp_path)

    assert found is not None
    assert found.step == 3
    assert found.state() == {"note": 3, "step": 3}
    assert torch.equal(ckpt.load_replay(found)["rows"], torch.arange(3))


def test_nothing_to_replay_is_no_file(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    saved = save_checkpoint(tmp_path, step=1, model=model, optimizer=optimizer, state={}, replay={})
    assert {path.name for path in saved.path.iterdir()} == {*FILES, MANIFEST}
    assert ckpt.load_replay(saved) == {}


def test_a_replay_buffer_is_written_from_where_it_lies(tmp_path: Path) -> None:
    """Buffers reach gigabytes: the peak of memory may not grow by a copy."""
    model, buffer = nn.Linear(1, 1), torch.ones(2**25)  # 128 MiB
    optimizer = torch.optim.AdamW(model.parameters())
    reset_peak_memory("cpu")
    before = peak_memory_bytes("cpu")
    saved = save_checkpoint(
        tmp_path,
        step=1,
        model=model,
        optimizer=optimizer,
        state={},
        replay={"first": buffer[: 2**24], "second": buffer[2**24 :]},
    )
    assert (saved.path / REPLAY).stat().st_size > buffer.nbytes
    assert peak_memory_bytes("cpu") - before < buffer.nbytes / 4


def test_the_two_newest_are_kept_and_abandoned_parts_cleared(tmp_path: Path) -> None:
    for step in (3, 6, 9):
        save(tmp_path, step)
        (tmp_path / f".step-{step + 1}.partial").mkdir()  # as a kill during a save leaves it
        assert newest_step(tmp_path) == step
    save(tmp_path, 12)
    assert steps(tmp_path) == {"step-9", "step-12"}


def test_damaged_later_checkpoints_do_not_crowd_out_a_new_one(tmp_path: Path) -> None:
    for step in (6, 9):
        save(tmp_path, step)
        (tmp_path / f"step-{step}" / MODEL).write_bytes(b"")
    save(tmp_path, 3)
    assert newest_step(tmp_path) == 3


def test_without_any_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nothing") is None
    (tmp_path / ".step-3.partial").mkdir()
    (tmp_path / "step-4").mkdir()
    assert newest_checkpoint(tmp_path) is None


def test_the_manifest_is_written_last_and_the_folder_appears_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = ckpt.write_json, []

    def spy(path: Path, value: Any) -> None:
        seen.append((path.name, {p.name for p in path.parent.iterdir()}, steps(tmp_path)))
        real(path, value)

    monkeypatch.setattr(ckpt, "write_json", spy)
    save(tmp_path, 3)

    name, beside, visible = seen[-1]
    assert name == MANIFEST
    assert beside == set(ALL)
    assert "step-3" not in visible


@pytest.mark.parametrize("full_at", [*ALL, MANIFEST])
def test_a_full_disk_leaves_the_checkpoint_before(
    full_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 3)

    def full(real: Callable[..., None], place: int) -> Callable[..., None]:
        def write(*arguments: Any, **options: Any) -> None:
            if Path(arguments[place]).name == full_at:
                Path(arguments[place]).write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
            real(*arguments, **options)

        return write

    monkeypatch.setattr(ckpt, "save_file", full(ckpt.save_file, 1))
    monkeypatch.setattr(torch, "save", full(torch.save, 1))
    monkeypatch.setattr(ckpt, "write_json", full(ckpt.write_json, 0))
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 6)

    assert steps(tmp_path) == {"step-3"}
    assert newest_step(tmp_path) == 3


def test_a_write_that_the_kernel_refuses_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """The same by the kernel: no file may grow beyond 16 KiB."""
    save(tmp_path, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, hard))
    try:
        with pytest.raises(Exception, match=r"(?i)file too large|write"):
            save(tmp_path, 6, width=128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert steps(tmp_path) == {"step-3"}
    assert newest_step(tmp_path) == 3
    save(tmp_path, 6, width=128)
    assert newest_step(tmp_path) == 6


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(5, 3)
            self.output = torch.nn.Linear(3, 5, bias=False)
            self.output.weight = self.embed.weight

    model, again = Tied(), Tied()
    optimizer = torch.optim.AdamW(model.parameters())
    saved = ckpt.save_checkpoint(tmp_path, step=1, model=model, optimizer=optimizer, state={})
    ckpt.load_model(saved, again)
    assert torch.equal(again.output.weight, model.embed.weight)
    assert again.output.weight is again.embed.weight
