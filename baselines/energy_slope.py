"""The slope dE/de of the prediction stream, and the gradient of that slope, written out.

Training an EBT differentiates a gradient: the loss sees the parameters through g = dE/de. With
v = dL/dg, dL/dtheta is the gradient of <v, dE/de>, which is the derivative of E along v. So the
outer gradient is one tangent pass (forward, along v) and one reverse pass, beside the forward and
the inner reverse pass that gave g: six products per linear, the fewest there are, and no graph of
small operators in between. `tests/baselines/test_energy_slope.py` holds all of it against autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from baselines.compiling import compiled
from baselines.modes import without_autocast
from baselines.spot_attention import Spot
from baselines.stream_attention import Observed, View
from baselines.stream_layers import (
    Inner,
    Layer,
    LayerGradients,
    LayerPasses,
    Norm,
    Saved,
    Tangent,
    curvature,
    normalise,
    unit_dot,
)


class Stream(NamedTuple):
    """The prediction stream without the predictions; `head` (D,) is final norm times energy.

    With `recompute` the tape keeps each layer's input and adjoint only, and the outer gradient
    computes the rest again: ten products per linear instead of six, for the memory of one layer.
    """

    layers: Sequence[Layer]
    observed: Sequence[Observed]
    head: Tensor
    view: View | Spot
    passes: LayerPasses
    recompute: bool = False


class Tape(NamedTuple):
    """What `slope_gradients` needs of `energy_and_slope`, by layer; it is used up there."""

    inputs: list[Tensor]
    x_bars: list[Tensor]
    saved: list[Saved]
    inner: list[Inner]
    final: Norm


def energies(stream: Stream, projected: Tensor) -> Tensor:
    """Energy (B, R) of `projected` predictions (B, R, D), in float32 or wider."""
    x = projected.flatten(0, 1)
    for layer, observed in zip(stream.layers, stream.observed, strict=True):
        x = stream.passes.forward(layer, observed, stream.view, x)[1]
    unit = normalise(x, stream.view.eps).unit
    return (unit @ stream.head).view(projected.shape[:2])


def energy_and_slope(
    stream: Stream, projected: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, Tape | None]:
    """Energies (B, R), their slope (B, R, D), and with `keep` the tape for `slope_gradients`."""
    x = projected.flatten(0, 1)
    inputs, saved = [], []
    for layer, observed in zip(stream.layers, stream.observed, strict=True):
        if keep and stream.recompute:
            inputs.append(x)
        kept, x = stream.passes.forward(layer, observed, stream.view, x)
        saved.append(kept)
    final = normalise(x, stream.view.eps)
    energy = (final.unit @ stream.head).view(projected.shape[:2])
    x_bar = unit_dot(stream.head.expand_as(final.unit), final)[0]
    keep_all = keep and not stream.recompute
    x_bars, inner = [], []
    for index in reversed(range(len(saved))):
        layer, observed = stream.layers[index], stream.observed[index]
        if keep and stream.recompute:
            x_bars.append(x_bar)
        kept = saved[index] if keep_all else saved.pop()
        own, x_bar = stream.passes.inner(layer, observed, stream.view, kept, x_bar)
        if keep_all:
            inner.append(own)
    tape = Tape(inputs, x_bars[::-1], saved, inner[::-1], final) if keep else None
    return energy, x_bar.view(projected.shape), tape


def slope_gradients(
    stream: Stream, tape: Tape, v: Tensor
) -> tuple[Tensor, Tensor, list[LayerGradients]]:
    """Gradients of <v, slope> with respect to predictions (B, R, D), head (D,) and layers."""
    x_dots = [v.flatten(0, 1).to(tape.final.unit.dtype)]
    tangents = []
    for index in range(len(stream.layers)):
        layer, observed = stream.layers[index], stream.observed[index]
        tangent, x_dot = stream.passes.tangent(
            layer, observed, stream.view, _saved(stream, tape, index), x_dots[-1]
        )
        x_dots.append(x_dot)
        if not stream.recompute:
            tangents.append(tangent)
    x_dot = x_dots.pop()
    unit, along = unit_dot(x_dot, tape.final)
    x_adj = curvature(stream.head.expand_as(x_dot), x_dot, along, tape.final)
    gradients: list[LayerGradients] = []
    for index in reversed(range(len(stream.layers))):
        layer, observed = stream.layers[index], stream.observed[index]
        if stream.recompute:
            kept, inner, tangent = _again(stream, tape, index, x_dots.pop())
        else:
            kept, inner, tangent = tape.saved.pop(), tape.inner.pop(), tangents.pop()
        own, x_adj = stream.passes.outer(layer, observed, stream.view, kept, inner, tangent, x_adj)
        gradients.append(own)
    return x_adj.view(v.shape), unit.sum(0), gradients[::-1]


def _saved(stream: Stream, tape: Tape, index: int) -> Saved:
    if not stream.recompute:
        return tape.saved[index]
    layer, observed = stream.layers[index], stream.observed[index]
    return stream.passes.forward(layer, observed, stream.view, tape.inputs[index])[0]


def _again(stream: Stream, tape: Tape, index: int, x_dot: Tensor) -> tuple[Saved, Inner, Tangent]:
    """Everything of one layer that the outer pass reads."""
    layer, observed, view = stream.layers[index], stream.observed[index], stream.view
    kept = _saved(stream, tape, index)
    inner = stream.passes.inner(layer, observed, view, kept, tape.x_bars[index])[0]
    return kept, inner, stream.passes.tangent(layer, observed, view, kept, x_dot)[0]


# --- for autograd ----------------------------------------------------------------------------


def flat(stream: Stream) -> list[Tensor]:
    """Every tensor of a stream that can have a gradient, in the order of `flat_gradients`."""
    found = [stream.head]
    for layer, observed in zip(stream.layers, stream.observed, strict=True):
        found += [t for t in layer if t is not None]
        found += observed
    return found


def flat_gradients(head: Tensor, layers: Sequence[LayerGradients]) -> list[Tensor]:
    """Gradients in the order of `flat`."""
    found = [head]
    for own in layers:
        found += [t for t in own.layer if t is not None]
        found += own.observed
    return found


class Halves(NamedTuple):
    """The two halves of a training step's work on a stream, eager or compiled whole."""

    slope: Callable[..., tuple[Tensor, Tensor, Tape | None]]
    gradients: Callable[..., tuple[Tensor, Tensor, list[LayerGradients]]]


EAGER = Halves(energy_and_slope, slope_gradients)


def compiled_halves() -> Halves:
    """Both through `torch.compile`, all layers at once; the stream's own passes stay eager."""
    return Halves(*map(compiled, EAGER))


def differentiable_slope(
    stream: Stream, projected: Tensor, halves: Halves = EAGER
) -> tuple[Tensor, Tensor]:
    """Energies (B, R), detached, and their slope (B, R, D), differentiable once."""
    energy, slope = _Slope.apply(projected, stream, halves, *flat(stream))
    return energy, slope


def detached(stream: Stream) -> Stream:
    """The same numbers without a graph."""
    return stream._replace(
        layers=[
            type(layer)(*(None if t is None else t.detach() for t in layer))
            for layer in stream.layers
        ],
        observed=[type(o)(*(t.detach() for t in o)) for o in stream.observed],
        head=stream.head.detach(),
    )


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, stream: Stream, halves: Halves, *_: Tensor
    ) -> tuple[Tensor, Tensor]:
        stream = detached(stream)
        with without_autocast(projected.device.type):
            energy, slope, ctx.tape = halves.slope(stream, projected.detach(), keep=True)
        ctx.stream, ctx.gradients = stream, halves.gradients
        ctx.mark_non_differentiable(energy)
        return energy, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, v: Tensor) -> tuple[Any, ...]:
        if ctx.tape is None:
            raise RuntimeError("the slope has been differentiated, and its tape is used up")
        with without_autocast(v.device.type):
            projected, head, layers = ctx.gradients(ctx.stream, ctx.tape, v)
        ctx.tape = None
        return projected, None, None, *flat_gradients(head, layers)
