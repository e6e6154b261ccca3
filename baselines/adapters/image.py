"""What the image adapters share: the noise schedule and the noising they train with."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.dit import Schedule, add_noise, linear_schedule
from harness.protocol import ImageBatch, ImageShape, Noise


class ImageAdapter(nn.Module):
    """An adapter of images of one shape."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def schedule(self, images: Tensor) -> Schedule:
        """The shape's noise schedule, on the device and in the dtype of `images`."""
        s = self.shape
        return linear_schedule(
            s.num_timesteps, s.beta_start, s.beta_end, images.device, images.dtype
        )

    def noised(self, batch: ImageBatch, t: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """The images at timesteps `t` (B,), and the noise that is in them."""
        images = batch.images
        drawn = noise.normal(batch.rows, images.shape[1:], purpose="noising").to(images)
        return add_noise(images, drawn, t, self.schedule(images)), drawn
