"""Image cases: the image EBT against its textbook form and diffusers, DiT against diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.catalogue import DIT_IMAGE, EBT_IMAGE
from harness.capabilities import Compiles
from harness.protocol import Descent, Diffusion, ImageBatch, ImageShape, NoisyBatch
from tests.bench.case import Case, NotYet, Pair, Setting, made
from tests.bench.naive_image import NaiveImage
from tests.bench.reference import DiffusersEnergy, as_diffusers, diffusers_dit
from tests.bench.text import NOISE, Recorder, relative

Sampler = Literal["ddim", "ddpm"]
#: What a DiT case times: one network call, or a sampling of CALLS.
SAMPLERS: dict[str, Sampler | None] = {"call": None, "sampling": "ddim", "DDPM sampling": "ddpm"}
CALLS = 10
#: Timesteps that a case is trained on.
TRAINED = 100
#: Where diffusers' DDPM draws its noise.
RANDN = "diffusers.schedulers.scheduling_ddpm.randn_tensor"


@dataclass(frozen=True)
class Picture:
    """Model and image sizes of a case."""

    depth: int
    width: int
    heads: int
    side: int
    patch: int
    batch: int

    def sizes(self) -> dict[str, Any]:
        return {
            "depth": self.depth,
            "width": self.width,
            "heads": self.heads,
            "patch_size": self.patch,
        }

    def shape(self) -> ImageShape:
        return ImageShape(channels=3, height=self.side, width=self.side, train_timesteps=TRAINED)

    def images(self, device: torch.device) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        drawn = torch.rand(self.batch, 3, self.side, self.side, generator=generator)
        return (2 * drawn - 1).to(device)

    def __str__(self) -> str:
        return f"{self.depth} layers D={self.width} {self.side}² patch {self.patch} B={self.batch}"


TINY = Picture(depth=2, width=16, heads=2, side=8, patch=4, batch=2)


def randomise(module: torch.nn.Module) -> None:
    """Leave the zero initialisation, under which most terms vanish; alpha keeps its value."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if not name.endswith("alpha"):
                p.copy_(torch.randn(p.shape, generator=generator) * p.shape[-1] ** -0.5)


def ebt_training(
    picture: Picture, *, compiled: bool = False, dtype: torch.dtype = torch.float32
) -> Any:
    """Build a training step of one optimization step, against the textbook's."""

    def pair(setting: Setting) -> Pair:
        own = TINY if setting.tiny else picture
        config = EBT_IMAGE.config(**own.sizes(), step_size=20.0)

        def fresh() -> Any:
            adapter = made(EBT_IMAGE, config, own.shape())
            randomise(adapter)
            return adapter.to(device=setting.device, dtype=dtype)

        adapter, counted = fresh(), fresh()
        images = own.images(setting.device).to(dtype)
        batch = ImageBatch(images, torch.arange(own.batch, device=setting.device))
        if compiled:
            if not isinstance(adapter, Compiles):
                raise NotYet("ebt_image cannot be compiled")
            if not setting.tiny:
                adapter.compile_body()
        return Pair(
            ours=_our_step(adapter, batch, setting),
            theirs=_naive_step(adapter, _naive(adapter, config), batch, setting),
            tokens=own.batch,
            gap=lambda: _gap(adapter, _naive(adapter, config), batch),
            count=_our_step(counted, batch, setting) if compiled else None,
        )

    return pair


def _naive(adapter: Any, config: Any) -> NaiveImage:
    weights = adapter.network.state_dict(keep_vars=True)
    return NaiveImage(weights, config.heads, config.patch_size)


def _our_step(adapter: Any, batch: ImageBatch, setting: Setting) -> Any:
    step = 0

    def run() -> None:
        nonlocal step
        step += 1
        adapter.zero_grad()
        with setting.autocast():
            loss = adapter.training_loss(batch, NOISE.within("step", step)).loss_sum
        loss.backward()

    return run


def _naive_step(adapter: Any, naive: NaiveImage, batch: ImageBatch, setting: Setting) -> Any:
    inputs = list(adapter.parameters())

    def run() -> None:
        adapter.zero_grad()
        noised = _noised(adapter, batch.images, torch.randn_like(batch.images))
        with setting.autocast():
            loss = naive.training_loss(batch.images, noised)
        loss.backward(inputs=inputs)

    return run


def _noised(adapter: Any, images: Tensor, drawn: Tensor) -> Tensor:
    """Images at the highest trained timestep of the linear schedule."""
    shape = adapter.shape
    ends, steps = (shape.beta_start, shape.beta_end), shape.num_timesteps
    beta = torch.linspace(*ends, steps, dtype=torch.float64)
    kept = float((1 - beta)[: shape.train_timesteps].prod())
    return kept**0.5 * images + (1 - kept) ** 0.5 * drawn


def _gap(adapter: Any, naive: NaiveImage, batch: ImageBatch) -> float:
    recorder, parameters = Recorder(NOISE), list(adapter.parameters())
    adapter.zero_grad()
    adapter.training_loss(batch, recorder).loss_sum.backward()
    ours = [p.grad.clone() for p in parameters if p.grad is not None]
    drawn = recorder.normals[0].to(batch.images)
    loss = naive.training_loss(batch.images, _noised(adapter, batch.images, drawn))
    theirs = torch.autograd.grad(loss, parameters)
    return max(relative(a, b) for a, b in zip(ours, theirs, strict=True))


def ebt_on_diffusers(
    picture: Picture, *, training: bool, dtype: torch.dtype = torch.float32
) -> Any:
    """Build one optimization step, predicting or training, against it on diffusers' blocks."""

    def pair(setting: Setting) -> Pair:
        own = TINY if setting.tiny else picture
        config = EBT_IMAGE.config(**own.sizes(), ffn_width=4 * own.width, step_size=20.0)
        adapter = made(EBT_IMAGE, config, own.shape())
        randomise(adapter)
        theirs = DiffusersEnergy(adapter, config, own.shape(), twice=training)
        theirs.to(device=setting.device, dtype=dtype)
        adapter.to(device=setting.device, dtype=dtype)
        images = own.images(setting.device).to(dtype)
        rows = torch.arange(own.batch, device=setting.device)
        batch, noisy = ImageBatch(images, rows), NoisyBatch(images, 99, rows)

        def their_training() -> None:
            theirs.zero_grad()
            noised = _noised(adapter, images, torch.randn_like(images))
            with setting.autocast():
                loss = _diffusers_loss(theirs, images, noised)
            loss.backward()

        def our_prediction() -> Tensor:
            with setting.autocast():
                return adapter.predict(noisy, Descent(steps=1), NOISE).value

        def their_prediction() -> Tensor:
            with setting.autocast():
                return theirs.stepped(images).detach()

        def prediction_gap() -> float:
            return relative(our_prediction() - images, their_prediction() - images)

        return Pair(
            ours=_our_step(adapter, batch, setting) if training else our_prediction,
            theirs=their_training if training else their_prediction,
            tokens=own.batch,
            gap=(lambda: _diffusers_gap(adapter, theirs, batch)) if training else prediction_gap,
        )

    return pair


def _diffusers_loss(model: DiffusersEnergy, images: Tensor, noised: Tensor) -> Tensor:
    """Summed Smooth-L1 of the image one optimization step from `noised`."""
    error = F.smooth_l1_loss(model.stepped(noised), images, reduction="none")
    return error.flatten(1).mean(1).sum()


def _diffusers_gap(adapter: Any, model: DiffusersEnergy, batch: ImageBatch) -> float:
    """Largest relative error among all parameters' gradients, from the same noise."""
    recorder = Recorder(NOISE)
    adapter.zero_grad()
    adapter.training_loss(batch, recorder).loss_sum.backward()
    noised = _noised(adapter, batch.images, recorder.normals[0].to(batch.images))
    model.zero_grad()
    _diffusers_loss(model, batch.images, noised).backward()
    ours = {name: p.grad for name, p in adapter.network.named_parameters()}
    named = {f"model.{name}": gradient for name, gradient in as_diffusers(ours)}
    named |= {name: ours[name] for name in ("alpha", "condition.weight")}
    parameters = dict(model.named_parameters())
    # A key's bias moves all scores of a query alike: its gradient is rounding alone.
    told = [name for name in parameters if not name.endswith("to_k.bias")]
    return max(relative(named[name], parameters[name].grad) for name in told)


# --- DiT -------------------------------------------------------------------------------------


def dit(picture: Picture, sampler: Sampler | None = None) -> Any:
    """Build one network call, or a sampling, against diffusers' on the same weights."""

    def pair(setting: Setting) -> Pair:
        own = TINY if setting.tiny else picture
        shape = own.shape()
        config = DIT_IMAGE.config(**own.sizes(), ffn_width=4 * own.width)
        adapter = made(DIT_IMAGE, config, shape)
        randomise(adapter)
        adapter.to(setting.device)
        theirs = diffusers_dit(adapter, config, shape).to(setting.device)
        x = own.images(setting.device)
        t = torch.full((own.batch,), shape.train_timesteps - 1, device=setting.device)
        labels = torch.zeros_like(t)
        batch = NoisyBatch(x, shape.train_timesteps - 1, torch.arange(own.batch).to(t))

        def our_call() -> Tensor:
            with torch.no_grad(), setting.autocast():
                return adapter.network(x, t)

        def their_call() -> Tensor:
            with torch.no_grad(), setting.autocast():
                return theirs(x, timestep=t, class_labels=labels).sample

        def our_sampling(noise: Any = NOISE) -> Tensor:
            with setting.autocast():
                thinking = Diffusion(steps=CALLS, sampler=sampler)
                return adapter.predict(batch, thinking, noise).value

        def their_sampling() -> Tensor:
            with torch.no_grad(), setting.autocast():
                return _diffusers_sampling(theirs, x, labels, sampler)

        def sampling_gap() -> float:
            recorder = Recorder(NOISE)
            ours, drawn = our_sampling(recorder), iter(recorder.normals)
            with patch(RANDN, lambda *_, **__: next(drawn)):
                return relative(ours - x, their_sampling() - x)

        return Pair(
            ours=our_sampling if sampler else our_call,
            theirs=their_sampling if sampler else their_call,
            tokens=own.batch,
            gap=sampling_gap if sampler else lambda: relative(our_call(), their_call()),
        )

    return pair


def _diffusers_sampling(model: Any, x: Tensor, labels: Tensor, sampler: Sampler | None) -> Tensor:
    """As many network calls at the same timesteps, each followed by diffusers' update.

    A scheduler of these timesteps alone: else DDPM's would add noise to the clean image, since the
    last of them is not 0. Its products of alphas are float64, whose ratios are close to 1.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    settings: dict[str, Any] = {"beta_schedule": "linear", "clip_sample": True}
    updates: dict[str, Any] = {}
    if sampler == "ddpm":
        settings["variance_type"] = "learned_range"
    else:
        updates["use_clipped_model_output"] = True
    make = DDPMScheduler if sampler == "ddpm" else DDIMScheduler
    scheduler = make(CALLS, **settings)
    kept = torch.arange(TRAINED // CALLS, TRAINED + 1, TRAINED // CALLS) - 1
    beta = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    scheduler.alphas_cumprod = (1 - beta).cumprod(0)[kept]
    scheduler.set_timesteps(CALLS)
    for index in scheduler.timesteps.tolist():
        t = torch.full_like(labels, int(kept[index]))
        output = model(x, timestep=t, class_labels=labels).sample.to(x.dtype)
        if sampler == "ddim":
            output = output[:, : x.shape[1]]
        x = scheduler.step(output, index, x, **updates).prev_sample
    return x


def cases(device: torch.device) -> list[Case]:
    """Image cases that suit the device."""
    rows = 64 if device.type == "cuda" else 8
    picture = Picture(depth=6, width=384, heads=6, side=64, patch=8, batch=rows)
    naive = "textbook image EBT"
    return [
        Case(f"EBT training, {picture}", "image", naive, ebt_training(picture), 1.0, memory=True),
        Case(
            f"EBT training compiled, {picture}",
            "image-compiled",
            f"{naive}, eager",
            ebt_training(picture, compiled=True),
            1.3,
        ),
        *(
            Case(
                f"EBT {'training' if training else 'prediction'} step, {picture}",
                "image-diffusers",
                "an image EBT of diffusers' blocks",
                ebt_on_diffusers(picture, training=training),
                1.0,
                bf16_tolerance=2e-2,
                memory=training,
            )
            for training in (True, False)
        ),
        *(
            Case(
                f"DiT {what}, {picture}",
                "dit",
                "diffusers",
                dit(picture, sampler),
                1.0,
                bf16_tolerance=2e-2,
            )
            for what, sampler in SAMPLERS.items()
        ),
    ]
