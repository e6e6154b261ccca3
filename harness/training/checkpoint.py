"""Checkpoints: a folder `step-<N>` that counts only once its manifest exists and agrees.

The manifest is written last and holds each file's size and SHA-256, so a crash, a full disk or a
damaged file can never be resumed from. The newest complete checkpoint and the one before are kept;
whatever lies beyond the newest belongs to an abandoned or damaged end and is dropped. What a replay
buffer holds is a file of its own per rank, which that rank writes; all else is rank 0's.
"""

from __future__ import annotations

import hashlib
import os
import re
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
from harness.training.parallel import ALONE, Ranks

MANIFEST = "manifest.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.pt"
STATE = "state.json"
FILES = (MODEL, OPTIMIZER, STATE)
_REPLAY = re.compile(r"replay-\d+\.safetensors")


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

    def replay_ranks(self) -> int:
        """How many ranks' replay buffers it holds."""
        return sum(map(_is_replay, read_json(self.path / MANIFEST)["files"]))


def replay_file(rank: int) -> str:
    """The file that holds the rank's replay buffer."""
    return f"replay-{rank}.safetensors"


def _is_replay(name: str) -> bool:
    return _REPLAY.fullmatch(name) is not None


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    replay: Mapping[str, Tensor] | None = None,
    ranks: Ranks = ALONE,
) -> Checkpoint:
    """Write `step-<step>` beside the others, then drop all but the newest `KEPT_CHECKPOINTS`.

    Every rank calls it, with a `replay` of its own or none of them with any. Ranks but 0 return
    when what is theirs is written.
    """
    saved = checkpoint_at(folder, step)
    building = folder / f".step-{step}.partial"
    if ranks.rank == 0:
        for abandoned in folder.glob(".step-*.partial"):
            shutil.rmtree(abandoned, ignore_errors=True)
        building.mkdir(parents=True)
    try:
        files = {} if replay is None else _save_replay(building, replay, ranks)
        if ranks.rank == 0:
            _save_rest(building, step, model, optimizer, state, files)
            shutil.rmtree(saved.path, ignore_errors=True)
            os.replace(building, saved.path)
    except BaseException:
        if ranks.rank == 0:
            shutil.rmtree(building, ignore_errors=True)
        raise
    if ranks.rank == 0:
        _sync_folder(folder)
        _drop_all_but_newest(folder, step)
    return saved


def _save_replay(building: Path, replay: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Any]:
    """Write this rank's buffer, if it holds anything; the fingerprints of all ranks' by name."""
    ranks.barrier()  # until the folder is there
    own = {}
    if replay:
        name = replay_file(ranks.rank)
        # Gigabytes: safetensors writes CPU tensors from where they lie.
        save_file({k: v.detach().cpu().contiguous() for k, v in replay.items()}, building / name)
        own[name] = _fingerprint(building / name, sync=True)
    return {name: found for each in ranks.all_gather(own) for name, found in each.items()}


def _save_rest(
    building: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    files: dict[str, Any],
) -> None:
    """Write everything but the `files` that are there; the manifest last."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    save_file(tensors, building / MODEL)
    torch.save(optimizer.state_dict(), building / OPTIMIZER)
    write_json(building / STATE, {**state, "step": step})
    files = {name: _fingerprint(building / name, sync=True) for name in FILES} | files
    write_json(building / MANIFEST, {"step": step, "files": files})


def checkpoint_at(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of `step`, which is there."""
    return Checkpoint(folder / f"step-{step}", step)


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


def load_replay(checkpoint: Checkpoint, rank: int = 0) -> dict[str, Tensor]:
    """What the rank's `replay_state` gave when the checkpoint was written; empty for nothing."""
    name = replay_file(rank)
    recorded = read_json(checkpoint.path / MANIFEST)["files"]
    return load_file(checkpoint.path / name) if name in recorded else {}


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
        unrecorded = {file.name for file in path.iterdir() if _is_replay(file.name)}
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
