"""What does the work of the observed and the prediction stream, eager or compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from baselines import energy_slope, stream_layers
from baselines.blocks import Block
from baselines.compiling import compiled
from baselines.energy_slope import Halves
from baselines.stream_layers import LayerPasses

#: Layers up to which the prediction stream is compiled at once.
SHALLOW = 4


class Bodies(NamedTuple):
    """Passes through a layer of the prediction stream, halves of a step, an observed block."""

    passes: LayerPasses
    halves: Halves
    observe: Callable[..., tuple[Tensor, Tensor, Tensor]]


EAGER = Bodies(stream_layers.EAGER, energy_slope.EAGER, Block.observe)


def compiled_bodies(depth: int) -> Bodies:
    """Compiled once for all steps: layer by layer, or all layers at once where they are few.

    At once, a step of two layers takes a tenth less, and a minute to compile; many layers take many
    minutes.
    """
    bodies = EAGER._replace(observe=compiled(Block.observe))
    if depth <= SHALLOW:
        return bodies._replace(halves=energy_slope.compiled_halves())
    return bodies._replace(passes=stream_layers.compiled_passes())
