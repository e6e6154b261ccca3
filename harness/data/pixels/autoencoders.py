"""diffusers' AutoencoderKL by its name, a folder or `OWNER/NAME[@REVISION]` of the Hub. Torch-free.

Planning asks for the shape of latents alone, which `config.json` tells.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.hub import unreachable
from harness.errors import HarnessError

CONFIG = "config.json"
#: What begins an autoencoder's name among the data of a run.
AUTOENCODER = "autoencoder "
#: In the order in which diffusers prefers them.
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

_CLASS = "AutoencoderKL"
_FOLDERS = (".", "/", "~")
_HUB = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>\w[\w./-]*))?")
_FORMS = ("a folder with config.json and weights", "OWNER/NAME[@REVISION] of the Hub")
#: What diffusers takes where a config.json leaves a key out.
_DEFAULTS = {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [64]}


@dataclass(frozen=True)
class Compression:
    """Frames of `channels` become latents of `latent_channels`, `factor` times smaller a side."""

    channels: int
    latent_channels: int
    factor: int


#: Repositories of the Hub that can be planned with before they are downloaded.
KNOWN = {
    "stabilityai/sd-vae-ft-mse": Compression(3, 4, 8),
    "stabilityai/sd-vae-ft-ema": Compression(3, 4, 8),
}


def latent_shape(name: str, frame: tuple[int, int, int]) -> tuple[int, int, int]:
    """Channels, height and width of the latents of a `frame` of such a shape.

    Reads config.json at most, which the Hub gives once. Raises HarnessError where there is no such
    autoencoder, or where frames of this shape are not for it.
    """
    found = compression(name)
    channels, height, width = frame
    if channels != found.channels:
        raise HarnessError(
            f"the autoencoder takes frames of {found.channels} channels, and the clips have "
            f"{channels}",
            given=name,
            hint=f"give clips with ?channels={found.channels}"
            if found.channels in (1, 3)
            else "choose another autoencoder",
        )
    for side in (height, width):
        if side % found.factor:
            nearest = max(found.factor, round(side / found.factor) * found.factor)
            raise HarnessError(
                f"the autoencoder halves frames to a side of 1/{found.factor}, which "
                f"{height} x {width} cannot be divided by",
                given=name,
                hint=f"give clips with a size that {found.factor} divides, such as {nearest}",
            )
    return found.latent_channels, height // found.factor, width // found.factor


def compression(name: str) -> Compression:
    """What an autoencoder makes of a frame; HarnessError where it is not one of this kind."""
    hub = _on_hub(name)
    if hub is not None and hub["repository"] in KNOWN:
        return KNOWN[hub["repository"]]
    return _compression(config_file(name))


def config_file(name: str) -> Path:
    """Its config.json: in the folder, or of the Hub's cache, else downloaded into it."""
    hub = _on_hub(name)
    return _folder_file(name, (CONFIG,)) if hub is None else _hub_file(hub, (CONFIG,))


def weights_file(name: str) -> Path:
    """The file of its weights, found as `config_file` finds the other."""
    hub = _on_hub(name)
    return _folder_file(name, WEIGHTS) if hub is None else _hub_file(hub, WEIGHTS)


def autoencoder_digest(name: str) -> str:
    """sha256 of what config.json says and of the file of weights, however diffusers saved them."""
    config, weights = config_file(name), weights_file(name)
    _compression(config)
    meaning = {k: v for k, v in _read(config).items() if not k.startswith("_")}
    stat = weights.stat()
    known = _file_digest(weights.resolve(), stat.st_size, stat.st_mtime_ns)
    said = json.dumps(meaning, sort_keys=True)
    return hashlib.sha256(f"{said}\n{known}".encode()).hexdigest()


def local_digest(name: str) -> str | None:
    """The digest of one that lies in a folder; None for one of the Hub, which is not asked."""
    return autoencoder_digest(name) if _on_hub(name) is None else None


@functools.lru_cache(maxsize=8)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:
    """sha256 of a file, kept for as long as it has this size and time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _on_hub(name: str) -> re.Match[str] | None:
    """The parts of a name on the Hub; None for a folder. HarnessError for neither."""
    if name.startswith(_FOLDERS) or Path(name).exists():
        return None
    found = _HUB.fullmatch(name)
    if found is None:
        raise _no_folder(name)
    return found


def _no_folder(name: str) -> HarnessError:
    folder = Path(name).expanduser()
    beside = folder.parent.glob(f"*/{CONFIG}") if folder.parent.is_dir() else ()
    names = [str(path.parent) for path in sorted(beside)]
    return HarnessError(
        "no such autoencoder: there is no folder of this name",
        given=name,
        allowed=names or _FORMS,
        hint="give a folder relative to the current one, or OWNER/NAME of the Hub",
    )


def _folder_file(name: str, files: tuple[str, ...]) -> Path:
    folder = Path(name).expanduser()
    if folder.is_file():
        raise HarnessError(
            "an autoencoder is a folder, and this is a file of one",
            given=name,
            hint=f"write {folder.parent}, the folder that holds {CONFIG} and the weights",
        )
    if not folder.is_dir():
        raise _no_folder(name)
    for file in files:
        if (folder / file).is_file():
            return folder / file
    inner = sorted(str(path.parent) for path in folder.glob(f"*/{files[0]}"))
    raise HarnessError(
        f"the folder of an autoencoder has no {' or '.join(files)}",
        given=name,
        allowed=inner or None,
        hint="a pipeline keeps its autoencoder in the folder vae of its own"
        if inner
        else f"diffusers' {_CLASS}.save_pretrained writes such a folder",
    )


def _hub_file(hub: re.Match[str], files: tuple[str, ...]) -> Path:
    """The first of `files` that the repository has: of the Hub's cache, else downloaded."""
    from huggingface_hub import hf_hub_download  # imported here: it takes a second

    repository, revision = hub["repository"], hub["revision"]
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        except OSError:  # not in the cache; its errors are of this kind
            continue
    said = unreachable() or ""
    if said:
        said = f"the Hub does not answer: {said}"
    for file in () if said else files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision))
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            said = said or f"the Hub does not give it: {first}"
    if Path(hub[0]).parent.is_dir():
        raise _no_folder(hub[0])
    raise HarnessError(
        f"the autoencoder is no folder here and not in the Hub's cache, and {said}",
        given=hub[0],
        hint=f"check its name on https://huggingface.co/{repository}; where there is network, "
        f"`hf download {repository} {CONFIG} {WEIGHTS[0]}`; then copy the folder here and give "
        "its path, or copy the Hub's cache folder (HF_HOME)",
    )


def _read(config: Path) -> dict[str, Any]:
    try:
        read = json.loads(config.read_bytes())
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"the autoencoder's {CONFIG} cannot be read: {error}", where=str(config)
        ) from error
    if not isinstance(read, dict):
        raise HarnessError(f"the autoencoder's {CONFIG} holds no settings", where=str(config))
    return read


def _compression(config: Path) -> Compression:
    read = _read(config)
    named = read.get("_class_name")
    if named != _CLASS:
        raise HarnessError(
            "no autoencoder of this class is used",
            where=str(config),
            given=str(named),
            allowed=(_CLASS,),
            hint="a pipeline keeps its autoencoder in the folder vae of its own"
            if named is None or str(named).endswith("Pipeline")
            else None,
        )
    settings: dict[str, Any] = _DEFAULTS | read
    channels, blocks = settings["in_channels"], settings["block_out_channels"]
    numbers = (channels, settings["out_channels"], settings["latent_channels"])
    if not all(isinstance(n, int) and n > 0 for n in numbers) or not isinstance(blocks, list):
        raise HarnessError(
            f"the autoencoder's {CONFIG} gives no numbers of channels", where=str(config)
        )
    if channels != settings["out_channels"]:
        raise HarnessError(
            f"the autoencoder takes {channels} channels and gives back "
            f"{settings['out_channels']}: it decodes to no frame",
            where=str(config),
        )
    return Compression(channels, settings["latent_channels"], 2 ** (len(blocks) - 1))
