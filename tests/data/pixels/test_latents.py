"""Autoencoders by name, and clips as their latents: against diffusers' own calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness import provenance
from harness.data import measured
from harness.data.clips import shared_clips
from harness.data.datasets import dataset_digest, frame_shape, load_clips
from harness.data.effort import Effort
from harness.data.pixels import autoencoders
from harness.data.pixels import latent_clips as encoding
from harness.data.pixels.autoencoders import KNOWN, autoencoder_digest, compression, latent_shape
from harness.data.pixels.latent_clips import latent_clips
from harness.data.pixels.latents import Autoencoder, load_autoencoder
from harness.errors import HarnessError
from harness.planning.suite import load_suite
from harness.protocol import VideoShape
from harness.provenance import data_changed
from tests.data.pixels.made_videos import drawn, write_frames
from tests.data.pixels.tiny_autoencoder import save_autoencoder

CPU = torch.device("cpu")
NAME = "file:frames?size=8&frames=3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with four clips of frames."""
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        write_frames(tmp_path / "frames" / str(seed), drawn(6, seed=seed))
    return tmp_path


def encoded(model: Any, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Latents (N, F, c, h, w) as diffusers gives them, a frame at a time."""
    frames = torch.from_numpy(clips.astype(np.float32) / 127.5 - 1).flatten(0, 1)
    with torch.no_grad():
        latents = torch.cat([model.encode(frame[None]).latent_dist.mean for frame in frames])
    return latents.unflatten(0, clips.shape[:2]).numpy()


# --- the autoencoder -------------------------------------------------------------------------


@pytest.mark.parametrize("safetensors", [True, False])
def test_frames_become_the_latents_that_diffusers_gives(folder: Path, safetensors: bool) -> None:
    model = save_autoencoder(folder / "vae", safetensors=safetensors)
    loaded = load_autoencoder("./vae", CPU)
    frames = torch.rand(40, 3, 8, 8) * 2 - 1
    latents = loaded.encode(frames)
    assert latent_shape("vae", (3, 8, 8)) == tuple(latents.shape[1:]) == (2, 4, 4)
    with torch.no_grad():
        posterior = model.encode(frames).latent_dist
        torch.testing.assert_close(latents, posterior.mean)
        torch.testing.assert_close(loaded.decode(latents), model.decode(posterior.mean).sample)
    assert not latents.requires_grad
    assert float(posterior.std.min()) > 1e-3, "a drawn latent would differ"


def test_the_digest_follows_the_weights_and_the_settings(folder: Path) -> None:
    save_autoencoder(folder / "a")
    before = autoencoder_digest("a")
    assert load_autoencoder("a", CPU).digest == before
    config = json.loads((folder / "a" / "config.json").read_text())
    (folder / "a" / "config.json").write_text(json.dumps(config | {"_diffusers_version": "0"}))
    assert autoencoder_digest("a") == before, "who saved it does not matter"
    (folder / "a" / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.5}))
    assert autoencoder_digest("a") != before
    save_autoencoder(folder / "b", seed=1)
    assert autoencoder_digest("b") != before
    save_autoencoder(folder / "b", seed=0)
    assert autoencoder_digest("b") == before


def test_a_run_is_told_when_its_autoencoder_or_videos_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    save_autoencoder(folder / "vae")
    limited = f"{NAME}&clips=2"
    recorded = {"autoencoder vae": autoencoder_digest("vae")}
    cache = Path("c")
    for name in (NAME, limited):
        recorded[f"{name}/train"] = dataset_digest(name, "train", cache=cache)
    hub = {"autoencoder owner/vae": "what the Hub has is not asked"}
    assert not data_changed(recorded | hub, cache)
    for name, digest in recorded.items():
        assert data_changed({name: digest[::-1]}, cache)
    (folder / "vae").rename(folder / "gone")
    provenance._digest_now.cache_clear()
    assert data_changed({"autoencoder ./vae": recorded["autoencoder vae"]})


def test_known_autoencoders_are_planned_with_before_they_are_here() -> None:
    for name in KNOWN:
        assert latent_shape(name, (3, 224, 224)) == (4, 28, 28)
        assert latent_shape(f"{name}@main", (3, 64, 32)) == (4, 8, 4)


@pytest.mark.parametrize("silence", [None, "no route"])
def test_without_the_hub_it_says_how_to_get_one(
    silence: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Hub that does not answer is not asked for files: its library would try for long."""
    import huggingface_hub

    asked: list[tuple[str, str, str | None, bool]] = []

    def offline(
        repository: str, file: str, *, revision: str | None, local_files_only: bool = False
    ) -> str:
        asked.append((repository, file, revision, local_files_only))
        raise OSError("no such repository")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    monkeypatch.setattr(autoencoders, "unreachable", lambda: silence)
    said = rf"{silence or 'no such repository'}(.|\n)*hf download owner/vae config.json"
    with pytest.raises(HarnessError, match=said):
        compression("owner/vae@v1")
    tried = (True,) if silence else (True, False)
    assert asked == [("owner/vae", "config.json", "v1", local) for local in tried]
    with pytest.raises(HarnessError, match="sd-vae-ft-mse"):
        load_autoencoder("stabilityai/sd-vae-ft-mse", CPU)
    (folder / "owner").mkdir()
    with pytest.raises(HarnessError, match="no folder of this name"):
        compression("owner/vae")


def test_one_of_the_hub_is_read_from_its_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    save_autoencoder(folder / "hub", safetensors=False)

    def cached(repository: str, file: str, **_: Any) -> str:
        if not (folder / "hub" / file).exists():
            raise OSError("not in the cache")
        return str(folder / "hub" / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cached)
    assert latent_shape("owner/vae", (3, 8, 8)) == (2, 4, 4)
    assert load_autoencoder("owner/vae", CPU).digest == autoencoder_digest("./hub")


# --- mistakes --------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_told_with_those_beside_it(folder: Path) -> None:
    save_autoencoder(folder / "vae")
    with pytest.raises(HarnessError, match=r"no folder of this name(.|\n)*did you mean 'vae'"):
        compression("vaes")
    (folder / "pipeline").mkdir()
    save_autoencoder(folder / "pipeline" / "vae")
    with pytest.raises(HarnessError, match=r"no config.json(.|\n)*pipeline/vae(.|\n)*folder vae"):
        compression("pipeline")
    for file in ("vae/config.json", "./vae/diffusion_pytorch_model.safetensors"):
        with pytest.raises(HarnessError, match=r"this is a file of one(.|\n)*write vae,"):
            compression(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "AutoencoderTiny"}, r"class(.|\n)*AutoencoderTiny(.|\n)*AutoencoderKL"),
        ({"_class_name": "StableDiffusionPipeline"}, "folder vae"),
        ({"latent_channels": "four"}, "no numbers of channels"),
        ({"out_channels": 1}, "takes 3 channels and gives back 1"),
    ],
)
def test_other_settings_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    save_autoencoder(folder / "vae")
    path = folder / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(HarnessError, match=message) as caught:
        latent_shape("vae", (3, 8, 8))
    assert caught.value.where == "vae/config.json"


def test_frames_that_it_is_not_for_are_refused(folder: Path) -> None:
    save_autoencoder(folder / "vae")
    with pytest.raises(HarnessError, match=r"3 channels, and the clips have 1(.|\n)*channels=3"):
        latent_shape("vae", (1, 8, 8))
    with pytest.raises(HarnessError, match=r"1/2, which 9 x 8(.|\n)*such as 8"):
        latent_shape("vae", (3, 9, 8))
    with pytest.raises(HarnessError, match="3 channels, and the clips have 1"):
        load_clips("builtin/moving-digits", "train", cache=Path("c"), autoencoder="vae")


def test_damaged_weights_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_autoencoder(folder / "vae")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    whole = load_file(path)
    lacking = {name: tensor for name, tensor in whole.items() if name != "quant_conv.bias"}
    save_file(lacking, path, metadata={"format": "pt"})
    with pytest.raises(HarnessError, match=r"not whole: 1 of its(.|\n)*quant_conv.bias"):
        load_autoencoder("vae", CPU)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HarnessError, match="weights cannot be loaded"):
        load_autoencoder("vae", CPU)
    path.unlink()
    with pytest.raises(HarnessError, match=r"no diffusion_pytorch_model.safetensors or "):
        autoencoder_digest("vae")


# --- clips -----------------------------------------------------------------------------------


def test_clips_are_encoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_autoencoder(folder / "vae")
    pixels = load_clips(NAME, "train", cache=Path("c"))
    found = load_clips(NAME, "train", cache=Path("c"), autoencoder="vae")
    assert frame_shape(NAME, "train", "vae") == found.pixels.shape[1:] == (3, 2, 4, 4)
    assert found.pixels.dtype == np.float16
    expected = encoded(model, pixels.pixels[:])
    np.testing.assert_allclose(found.pixels[:], expected, rtol=2e-3, atol=1e-4)
    every = list(range(len(found.pixels)))
    assert shared_clips(pixels, found).tolist() == every, "the pixels' hashes go with the latents"
    assert found.videos is not None
    assert found.videos.tolist() == [0, 0, 1, 1], "and so do the numbers of their videos"
    with monkeypatch.context() as patched:
        patched.setattr(Autoencoder, "encode", lambda *_: pytest.fail("it is encoded again"))
        again = load_clips(NAME, "train", cache=Path("c"), autoencoder="./vae")
    assert again.digest == found.digest != pixels.digest
    other = load_clips(f"{NAME}&clips=2", "train", cache=Path("c"), autoencoder="vae")
    assert len(other.pixels) == 2
    save_autoencoder(folder / "vae", seed=1)
    changed = load_clips(NAME, "train", cache=Path("c"), autoencoder="vae")
    assert changed.digest != found.digest
    assert np.abs(changed.pixels[:] - found.pixels[:]).max() > 0.01


def test_interrupted_it_goes_on_from_finished_parts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_autoencoder(folder / "vae")
    monkeypatch.setattr(encoding, "_PART_NUMBERS", 1)  # one clip a part
    clips = load_clips(NAME, "train", cache=Path("c"))
    encode, calls = Autoencoder.encode, [0]

    def counted(self: Autoencoder, frames: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return encode(self, frames)

    monkeypatch.setattr(Autoencoder, "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        latent_clips(clips, "vae", cache=Path("c"))
    (left,) = (folder / "c").glob(".parts-arrays-*")
    (left / "00000001").write_bytes((left / "00000001").read_bytes()[:-1])
    told: list[tuple[int, int, int]] = []
    effort = Effort(on_progress=lambda p: told.append((p.items, p.made_items, p.kept)))
    found = latent_clips(clips, "vae", cache=Path("c"), effort=effort)
    assert told == [(1, 0, 1), (2, 1, 1), (3, 2, 1), (4, 3, 1)]
    assert calls[0] == 6
    assert not list((folder / "c").glob(".parts-*"))
    monkeypatch.setattr(encoding, "_PART_NUMBERS", 1 << 20)
    whole = latent_clips(clips, "vae", cache=Path("whole"))
    np.testing.assert_array_equal(found.pixels[:], whole.pixels[:])


def test_damaged_latents_are_made_again(folder: Path) -> None:
    save_autoencoder(folder / "vae")
    found = load_clips(NAME, "train", cache=Path("c"), autoencoder="vae")
    expected = found.pixels[:]
    path = found.pixels.folder / "00000000"
    path.write_bytes(path.read_bytes()[:-2] + b"\0\0")
    again = load_clips(NAME, "train", cache=Path("c"), autoencoder="vae")
    np.testing.assert_array_equal(again.pixels[:], expected)


def test_latents_beyond_float16_name_the_clip(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_autoencoder(folder / "vae")
    encode, calls = Autoencoder.encode, [0]

    def huge(self: Autoencoder, frames: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return encode(self, frames) + (1e5 if calls[0] == 3 else 0)

    monkeypatch.setattr(Autoencoder, "encode", huge)
    with pytest.raises(HarnessError, match=r"not finite in float16\s+given: 'clip 2, largest 1000"):
        load_clips(NAME, "train", cache=Path("c"), autoencoder="vae")


def test_generated_and_other_clips_are_encoded_too(folder: Path) -> None:
    model = save_autoencoder(folder / "gray", channels=1)
    array = np.random.RandomState(0).uniform(-1, 1, (2, 3, 1, 8, 8)).astype(np.float32)
    np.save(folder / "a.npy", array)
    found = load_clips("file:a.npy", "train", cache=Path("c"), autoencoder="gray")
    with torch.no_grad():
        frames = torch.from_numpy(array).flatten(0, 1)
        expected = model.encode(frames).latent_dist.mean.unflatten(0, (2, 3))
    np.testing.assert_allclose(found.pixels[:], expected, rtol=2e-3, atol=1e-4)
    assert found.videos is None, "an array does not say which of its clips are of one video"


# --- planning --------------------------------------------------------------------------------

SUITE = """
suite: latents
experiments:
  e:
    base:
      task: {kind: next_frame, data: "%s", context: %d, autoencoder: %s}
      batch_size: 2
      budget: {steps: 2}
      optimizer: {lr: 1e-3}
    adapters: {plain: {adapter: transformer_pp_video, config: {depth: 1, width: 32, heads: 2}}}
    evaluations: {v: {kind: next_frame, data: "%s", split: train}}
"""


def suite_of(*, data: str = NAME, context: int = 2, autoencoder: str = "vae") -> Path:
    path = Path("s.yaml")
    path.write_text(SUITE % (data, context, autoencoder, data))
    return path


def test_planning_knows_the_shape_and_loads_nothing(folder: Path) -> None:
    save_autoencoder(folder / "vae")
    suite_of()
    script = (
        "import sys; from pathlib import Path; from harness.planning.suite import load_suite\n"
        "print(load_suite(Path('s.yaml')).runs[0].shape)\n"
        "loaded = {'torch', 'av', 'diffusers', 'PIL', 'huggingface_hub'} & sys.modules.keys()\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "VideoShape(context=2, channels=2, height=4, width=4)\n", done.stderr
    known = suite_of(data=NAME.replace("size=8", "size=64"), autoencoder=next(iter(KNOWN)))
    assert load_suite(known).runs[0].shape == VideoShape(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("key", "changes", "message"),
    [
        ("autoencoder", {"autoencoder": "vea"}, "did you mean 'vae'"),
        ("autoencoder", {"data": NAME.replace("size=8", "size=9")}, "which 9 x 9 cannot be"),
        ("autoencoder", {"data": "builtin/moving-digits"}, "3 channels, and the clips have 1"),
        ("context", {"context": 3}, "too few for a context of 3"),
        ("data", {"data": "file:absent?size=8&frames=3"}, "no such folder"),
        ("data", {"data": "file:frames?size=8"}, "holds image, this needs video"),
    ],
)
def test_planning_tells_where_the_mistake_is(
    folder: Path, key: str, changes: dict[str, Any], message: str
) -> None:
    save_autoencoder(folder / "vae")
    with pytest.raises(HarnessError, match=message) as caught:
        load_suite(suite_of(**changes))
    assert caught.value.where == f"s.yaml:6 experiments.e.base.task.{key}"
