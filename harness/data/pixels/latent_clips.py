"""Clips as an autoencoder's latents: encoded once, part by part, and kept beside the pixels.

The folder in the cache is named by the digests of the clips and of the autoencoder. An encoding
that was interrupted goes on from its finished parts.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.clips import Clips
from harness.data.disk import writable
from harness.data.effort import Effort, made_by_one
from harness.data.images import scaled
from harness.data.pixels.array_shards import (
    ArrayShards,
    open_shards,
    publish,
    read_part,
    shards_folder,
    write_part,
)
from harness.data.pixels.autoencoders import autoencoder_digest, latent_shape
from harness.data.pixels.preparing import PixelProgress
from harness.errors import HarnessError

_FORMAT = 1
_TYPE = np.float16
#: Numbers of frames that make the latents of one part.
_PART_NUMBERS = 1 << 27


def latent_clips(
    clips: Clips, autoencoder: str, *, cache: Path, effort: Effort | None = None
) -> Clips:
    """The clips' latents float16[N, F, c, h, w], the mean of the posterior, not scaled.

    Encoded unless `cache` has them. Raises HarnessError where the autoencoder is not there or not
    for such frames, for latents that are not finite in float16, and where `cache` cannot be
    written.
    """
    channels, height, width = clips.pixels.shape[2:]
    latent_shape(autoencoder, (channels, height, width))
    work = _Work(clips, autoencoder, effort or Effort())
    return replace(clips, pixels=work.into(cache), digest=work.digest)


def _prepared(clips: Clips) -> str:
    """What names the pixels: a digest of encoded videos does not say how they were decoded."""
    return clips.pixels.folder.name if isinstance(clips.pixels, ArrayShards) else clips.digest


class _Work:
    """Clips to be encoded."""

    def __init__(self, clips: Clips, autoencoder: str, effort: Effort) -> None:
        self._clips, self._name, self._effort = clips, autoencoder, effort
        self._identity = {
            "latents": _FORMAT,
            "clips": _prepared(clips),
            "autoencoder": autoencoder_digest(autoencoder),
            "type": np.dtype(_TYPE).str,
        }
        self._loaded: Any = None
        size = math.prod(clips.pixels.shape[1:])
        step = max(1, _PART_NUMBERS // size)
        self._starts = range(0, len(clips.pixels), step)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()

    def into(self, cache: Path) -> ArrayShards:
        """The shards in `cache`, encoded first where it has none; one process does, others wait."""
        folder = shards_folder(cache, self._identity)
        return made_by_one(
            cache / "measured" / f"{folder.name}.lock",
            lambda: open_shards(folder),
            lambda: self._make(cache, folder),
            self._effort.on_wait,
        )

    def _make(self, cache: Path, folder: Path) -> ArrayShards:
        with writable(cache):
            self._write(cache / f".parts-{folder.name}", folder)
        found = open_shards(folder)
        if found is None:
            raise HarnessError(
                "the latents differ from what was written when they are read back",
                where=str(folder),
                hint="check the disk; the same command makes them again",
            )
        return found

    def _write(self, building: Path, folder: Path) -> None:
        building.mkdir(parents=True, exist_ok=True)
        count, size = len(self._clips.pixels), math.prod(self._clips.pixels.shape[1:])
        paths, progress = [], PixelProgress()
        for index, start in enumerate(self._starts):
            path = building / f"{index:08d}"
            made_of = f"{start} of {self._starts}"
            known = read_part(path)
            kept = known is not None and known[0].made_of == made_of
            if not kept:
                write_part(path, self._encoded(start), made_of=made_of, extra={})
            paths.append(path)
            done = min(self._starts.step, count - start)
            progress.items += done
            progress.bytes += done * size
            progress.kept += kept
            progress.made_items += 0 if kept else done
            progress.made_bytes += 0 if kept else done * size
            progress.fraction = progress.items / count
            self._effort.on_progress(progress)
        about = {"made_of": self._identity, "autoencoder": self._name}
        publish(building, folder, paths, about)

    def _encoded(self, start: int) -> NDArray[np.float16]:
        """The latents of the part's clips; the autoencoder is loaded for the first of them."""
        import torch

        from harness.data.pixels.latents import load_autoencoder

        if self._loaded is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = load_autoencoder(self._name, device)
        pixels = self._clips.pixels[start : start + self._starts.step]
        found = []
        for place, clip in enumerate(pixels, start):
            latents = self._loaded.encode(torch.from_numpy(scaled(clip))).cpu().numpy()
            with np.errstate(over="ignore"):
                found.append(latents.astype(_TYPE))
            if not np.isfinite(found[-1]).all():
                raise HarnessError(
                    "a clip's latents are not finite in float16",
                    where=f"{self._clips.name} ({self._clips.split})",
                    given=f"clip {place}, largest {np.abs(latents).max():g}",
                    hint=f"are the clips pixels in [-1, 1], and is {self._name} made for them?",
                )
        return np.stack(found)
