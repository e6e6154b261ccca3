"""Latents made on a GPU are those of the CPU, and the same each time; skipped without CUDA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data.clips import Clips
from harness.data.pixels.latent_clips import latent_clips
from harness.data.pixels.latents import load_autoencoder
from tests.data.pixels.tiny_autoencoder import save_autoencoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_devices_agree_in_whole_float32(tmp_path: Path) -> None:
    save_autoencoder(tmp_path)
    frames = torch.rand(70, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    both = {kind: load_autoencoder(str(tmp_path), torch.device(kind)) for kind in ("cpu", "cuda")}
    latents = {kind: each.encode(frames).cpu() for kind, each in both.items()}
    torch.testing.assert_close(latents["cuda"], latents["cpu"], rtol=1e-4, atol=1e-5)
    assert torch.equal(both["cuda"].encode(frames).cpu(), latents["cuda"])
    decoded = {kind: each.decode(latents["cpu"]).cpu() for kind, each in both.items()}
    torch.testing.assert_close(decoded["cuda"], decoded["cpu"], rtol=1e-4, atol=1e-4)


def test_clips_are_encoded_where_there_is_a_gpu(tmp_path: Path) -> None:
    model = save_autoencoder(tmp_path / "vae")
    pixels = np.random.RandomState(0).randint(0, 256, (3, 4, 3, 16, 16), np.uint8)
    clips = Clips("mine", "train", pixels, "digest", "made here", "none")
    found = latent_clips(clips, str(tmp_path / "vae"), cache=tmp_path / "c").pixels[:]
    frames = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).flatten(0, 1)
    with torch.no_grad():
        expected = model.encode(frames).latent_dist.mean.unflatten(0, (3, 4))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    assert torch.cuda.max_memory_allocated() > 0
