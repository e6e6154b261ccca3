"""Checkpoints: a folder `step-<N>` that counts only once its manifest exists and agrees.

The manifest is written last and holds each file's size and SHA-256, so a crash, a full disk or a
damaged file can never be resumed from. The newest complete checkpoint and the one before are kept;
whatever lies beyond the newest belongs to an abandoned or damaged end and is dropped. What a replay
buffer holds is a file of its own per rank.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.records import KEPT_CHECKPOINTS, read_json, write_json

MANIFEST = "manifest.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.pt"
STATE = "state.json"
FILES = (MODEL, OPTIMIZER, STATE)
RANK = 0  # of the one process that trains a run
REPLAY = f"replay-{RANK}.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk, `step` optimizer steps into the run."""

    path: Path
    step: int

    def state(self) -> dict[str, Any]:
        value: dict[str, Any] = read_json(self.path / STATE)
        return value

    def weights_hash(self) -> str:
        digest: str = read_json(self.path / MANIFEST)["files"][MODEL]["sha256"]
        return digest

    def holds_replay(self) -> bool:
        return REPLAY in read_json(self.path / MANIFEST)["files"]


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    replay: Mapping[str, Tensor] | None = None,
) -> Checkpoint:
    """Write `step-<step>` beside the others, then drop all but the newest `KEPT_CHECKPOINTS`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step}"
    building = folder / f".step-{step}.partial"
    for abandoned in folder.glob(".step-*.partial"):
        shutil.rmtree(abandoned, ignore_errors=True)
    building.mkdir()
    try:
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
        save_file(tensors, building / MODEL)
        torch.save(optimizer.state_dict(), building / OPTIMIZER)
        write_json(building / STATE, {**state, "step": step})
        names: tuple[str, ...] = FILES
        if replay:
            # Gigabytes: safetensors writes CPU tensors from where they lie.
            save_file(
                {k: v.detach().cpu().contiguous() for k, v in replay.items()}, building / REPLAY
            )
            names = (*FILES, REPLAY)
        files = {name: _fingerprint(building / name, sync=True) for name in names}
        write_json(building / MANIFEST, {"step": step, "files": files})
        shutil.rmtree(path, ignore_errors=True)
        os.replace(building, path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    _sync_folder(folder)
    _drop_all_but_newest(folder, step)
    return Checkpoint(path, step)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose every file has its recorded size and hash, or None."""
    for candidate in sorted(_complete(folder), key=lambda c: -c.step):
        if _intact(candidate.path):
            return candidate
    return None


def load_model(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Load the weights into `model`, every name matching."""
    model.load_state_dict(load_file(checkpoint.path / MODEL))


def load_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Load the optimizer's state."""
    stored = torch.load(checkpoint.path / OPTIMIZER, weights_only=True, map_location="cpu")
    optimizer.load_state_dict(stored)


def load_replay(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What `replay_state` gave when the checkpoint was written, on the CPU; empty for nothing."""
    return load_file(checkpoint.path / REPLAY) if checkpoint.holds_replay() else {}


def _complete(folder: Path) -> Iterator[Checkpoint]:
    for path in folder.glob("step-*"):
        if (path / MANIFEST).exists() and path.name[5:].isdecimal():
            yield Checkpoint(path, int(path.name[5:]))


def _drop_all_but_newest(folder: Path, step: int) -> None:
    """Keep the newest few up to `step`; later ones were not intact, or `step` would follow."""
    found = sorted(_complete(folder), key=lambda c: c.step)
    kept = [c for c in found if c.step <= step][-KEPT_CHECKPOINTS:]
    for checkpoint in found:
        if checkpoint not in kept:
            shutil.rmtree(checkpoint.path)


def _intact(path: Path) -> bool:
    try:
        recorded = read_json(path / MANIFEST)["files"]
        unrecorded = {REPLAY} & {file.name for file in path.iterdir()}
        names = {*FILES, *recorded, *unrecorded}
        return all(_fingerprint(path / name) == recorded[name] for name in names)
    except (HarnessError, OSError, ValueError, KeyError, TypeError):
        return False


def _fingerprint(path: Path, *, sync: bool = False) -> dict[str, Any]:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if sync:
            os.fsync(handle.fileno())
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sync_folder(folder: Path) -> None:
    """Bring renames inside `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
