"""One DiT block of the image energy: forward, and the passes that differentiate its slope.

The passes, and the suffixes `_bar`, `_dot` and `_adj`, are those of `baselines.stream_layers`, over
rows that are an image's tokens: all of them attend to each other, and nothing else is observed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.stream_layers import (
    LayerGradients,
    LayerPasses,
    Norm,
    add_norm_outer,
    add_unit_dot,
    back,
    linear,
    normalise,
    unit_dot,
)

#: What a layer of the image stream observes beside its rows.
NOTHING: tuple[()] = ()


class Grid(NamedTuple):
    """Tokens of an image, heads, and the norm's eps: what the rows (B * N, D) do not tell."""

    tokens: int
    heads: int
    eps: float


class Layer(NamedTuple):
    """One block's weights and biases as the image stream uses them.

    Normalised rows are multiplied by `scale` (D,), and `shift` (D,) is added, before `qkv` (3D, D);
    likewise before `up` (F, D). Gates are folded into `out` (D, D) and `down` (D, F), which write
    rows of mean zero only, so that LayerNorm is a division by the root mean square.
    """

    scale: Tensor
    shift: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    out_bias: Tensor
    ffn_scale: Tensor
    ffn_shift: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor


class Saved(NamedTuple):
    """What one layer keeps of the forward pass; heads are (B * H, N, D / H), queries scaled."""

    norm: Norm
    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor
    mixed: Tensor  # (B * N, D)
    ffn_norm: Norm
    hidden: Tensor  # before GELU
    share: Tensor  # of it that GELU passes on


class Inner(NamedTuple):
    """What one layer keeps of the inner reverse pass: adjoints of its own tensors."""

    x_bar: Tensor
    active_bar: Tensor
    ffn_rows_bar: Tensor
    middle_bar: Tensor
    mixed_bar: Tensor  # (B * H, N, D / H)
    scores_bar: Tensor
    qkv_bar: Tensor
    rows_bar: Tensor


class Tangent(NamedTuple):
    """What one layer keeps of the tangent pass; `along` are means of unit * x_dot."""

    x_dot: Tensor
    along: Tensor
    unit_dot: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    centred: Tensor  # score tangents less their weighted mean
    mixed: Tensor  # (B * N, D)
    middle_dot: Tensor
    ffn_along: Tensor
    ffn_unit_dot: Tensor
    hidden_dot: Tensor


def forward_layer(layer: Layer, _: tuple[()], grid: Grid, x: Tensor) -> tuple[Saved, Tensor]:
    """From a layer's input rows (B * N, D) to its output."""
    x = _images(x, grid)
    norm = normalise(x, grid.eps)
    rows = modulated(norm.unit, layer.scale, layer.shift)
    query, key, value = _heads(linear(rows, layer.qkv).add_(layer.qkv_bias), grid)
    weights = (query @ key.transpose(1, 2)).softmax(-1)
    mixed = _merge(weights @ value, grid)
    x = (x + layer.out_bias).add_(linear(mixed, layer.out))
    ffn_norm = normalise(x, grid.eps)
    ffn_rows = modulated(ffn_norm.unit, layer.ffn_scale, layer.ffn_shift)
    hidden = linear(ffn_rows, layer.up).add_(layer.up_bias)
    share = gelu_share(hidden)
    x = (x + layer.down_bias).add_(linear(hidden * share, layer.down))
    kept = Saved(norm, query, key, value, weights, mixed, ffn_norm, hidden, share)
    return kept, x.flatten(0, 1)


def inner_layer(
    layer: Layer, _: tuple[()], grid: Grid, kept: Saved, x_bar: Tensor
) -> tuple[Inner, Tensor]:
    """From the inner adjoint of a layer's output to that of its input."""
    x_bar = _images(x_bar, grid)
    active_bar = back(x_bar, layer.down)
    hidden_bar = gelu_slope(kept.hidden, kept.share).mul_(active_bar)
    ffn_rows_bar = back(hidden_bar, layer.up)
    middle_bar = add_unit_dot(x_bar, ffn_rows_bar * layer.ffn_scale, kept.ffn_norm)
    mixed_bar = back(middle_bar, layer.out)
    total = (mixed_bar * kept.mixed).unflatten(-1, (grid.heads, -1)).sum(-1)  # (B, N, H)
    total = total.transpose(1, 2).reshape(-1, grid.tokens, 1)
    mixed_bar = _split(mixed_bar, grid)
    scores_bar = (mixed_bar @ kept.value.transpose(1, 2)).sub_(total).mul_(kept.weights)
    qkv_bar = _join(
        scores_bar @ kept.key,
        scores_bar.transpose(1, 2) @ kept.query,
        kept.weights.transpose(1, 2) @ mixed_bar,
        grid,
    )
    rows_bar = back(qkv_bar, layer.qkv)
    own = Inner(
        x_bar,
        active_bar,
        ffn_rows_bar,
        middle_bar,
        mixed_bar,
        scores_bar,
        qkv_bar,
        rows_bar,
    )
    return own, add_unit_dot(middle_bar, rows_bar * layer.scale, kept.norm).flatten(0, 1)


def tangent_layer(
    layer: Layer, _: tuple[()], grid: Grid, kept: Saved, x_dot: Tensor
) -> tuple[Tangent, Tensor]:
    """From the tangent of a layer's input to that of its output."""
    x_dot = _images(x_dot, grid)
    unit, along = unit_dot(x_dot, kept.norm)
    rows = unit * layer.scale
    query, key, value = _heads(linear(rows, layer.qkv), grid)
    scores = query @ kept.key.transpose(1, 2) + kept.query @ key.transpose(1, 2)
    centred = scores - (kept.weights * scores).sum(-1, keepdim=True)
    mixed = _merge((kept.weights * centred) @ kept.value + kept.weights @ value, grid)
    middle_dot = x_dot + linear(mixed, layer.out)
    ffn_unit, ffn_along = unit_dot(middle_dot, kept.ffn_norm)
    ffn_rows = ffn_unit * layer.ffn_scale
    hidden_dot = linear(ffn_rows, layer.up)
    active_dot = gelu_slope(kept.hidden, kept.share).mul_(hidden_dot)
    own = Tangent(
        x_dot,
        along,
        unit,
        query,
        key,
        value,
        centred,
        mixed,
        middle_dot,
        ffn_along,
        ffn_unit,
        hidden_dot,
    )
    return own, (middle_dot + linear(active_dot, layer.down)).flatten(0, 1)


def outer_layer(
    layer: Layer,
    _: tuple[()],
    grid: Grid,
    kept: Saved,
    inner: Inner,
    tangent: Tangent,
    x_adj: Tensor,
) -> tuple[LayerGradients, Tensor]:
    """From the outer adjoint of a layer's output to that of its input, and its gradients."""
    x_adj = _images(x_adj, grid)
    slope = gelu_slope(kept.hidden, kept.share)
    hidden_adj = back(x_adj, layer.down) * slope
    bend = gelu_bend(kept.hidden, kept.share).mul_(inner.active_bar)
    hidden_adj = torch.addcmul(hidden_adj, bend, tangent.hidden_dot)
    ffn_rows_adj = back(hidden_adj, layer.up)
    middle_adj = add_norm_outer(
        x_adj,
        ffn_rows_adj * layer.ffn_scale,
        inner.ffn_rows_bar * layer.ffn_scale,
        tangent.middle_dot,
        tangent.ffn_along,
        kept.ffn_norm,
    )
    mixed_adj = _split(back(middle_adj, layer.out), grid)
    qkv_adj = _join(*_attention_outer(kept, inner, tangent, mixed_adj), grid)
    rows_adj = back(qkv_adj, layer.qkv)
    x_in_adj = add_norm_outer(
        middle_adj,
        rows_adj * layer.scale,
        inner.rows_bar * layer.scale,
        tangent.x_dot,
        tangent.along,
        kept.norm,
    )
    # Made again rather than kept: as fast, since memory that left the caches is slow to read.
    rows = modulated(kept.norm.unit, layer.scale, layer.shift)
    ffn_rows = modulated(kept.ffn_norm.unit, layer.ffn_scale, layer.ffn_shift)
    active, hidden_bar = kept.hidden * kept.share, inner.active_bar * slope
    scale = kept.norm.unit * rows_adj + tangent.unit_dot * inner.rows_bar
    ffn_scale = kept.ffn_norm.unit * ffn_rows_adj + tangent.ffn_unit_dot * inner.ffn_rows_bar
    own = Layer(
        scale.sum((0, 1)),
        rows_adj.sum((0, 1)),
        _weight_gradient(qkv_adj, rows, inner.qkv_bar, tangent.unit_dot * layer.scale),
        qkv_adj.sum((0, 1)),
        _weight_gradient(middle_adj, kept.mixed, inner.middle_bar, tangent.mixed),
        middle_adj.sum((0, 1)),
        ffn_scale.sum((0, 1)),
        ffn_rows_adj.sum((0, 1)),
        _weight_gradient(hidden_adj, ffn_rows, hidden_bar, tangent.ffn_unit_dot * layer.ffn_scale),
        hidden_adj.sum((0, 1)),
        _weight_gradient(x_adj, active, inner.x_bar, tangent.hidden_dot * slope),
        x_adj.sum((0, 1)),
    )
    return LayerGradients(own, NOTHING), x_in_adj.flatten(0, 1)


def _weight_gradient(adjoint: Tensor, x: Tensor, bar: Tensor, x_dot: Tensor) -> Tensor:
    """As `weight_gradient`, in one product: compiled, adding two up takes 2 % of a step."""
    left = torch.cat([adjoint.flatten(0, 1).to(bar.dtype), bar.flatten(0, 1)])
    right = torch.cat([x.flatten(0, 1).to(bar.dtype), x_dot.flatten(0, 1).to(bar.dtype)])
    return left.t() @ right


def _attention_outer(
    kept: Saved, inner: Inner, tangent: Tangent, mixed_adj: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Outer adjoints of queries, keys and values, each (B * H, N, D / H)."""
    weights, scores_bar, mixed_bar = kept.weights, inner.scores_bar, inner.mixed_bar
    seen = torch.bmm(
        torch.cat([mixed_adj, mixed_bar], -1),
        torch.cat([kept.value, tangent.value], -1).transpose(1, 2),
    )
    scores = torch.addcmul(weights * seen, scores_bar, tangent.centred)
    scores = scores - weights * scores.sum(-1, keepdim=True)
    weights_dot = weights * tangent.centred
    return (
        torch.bmm(torch.cat([scores, scores_bar], -1), torch.cat([kept.key, tangent.key], 1)),
        torch.bmm(
            torch.cat([scores, scores_bar], 1).transpose(1, 2),
            torch.cat([kept.query, tangent.query], 1),
        ),
        torch.bmm(
            torch.cat([weights, weights_dot], 1).transpose(1, 2),
            torch.cat([mixed_adj, mixed_bar], 1),
        ),
    )


def modulated(unit: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """What a linear maps, from normalised rows."""
    return torch.addcmul(shift, unit, scale)


def _images(x: Tensor, grid: Grid) -> Tensor:
    """(B * N, D) to (B, N, D), whose products `torch.compile` leaves apart from what is added."""
    return x.unflatten(0, (-1, grid.tokens))


def _split(x: Tensor, grid: Grid) -> Tensor:
    """(B, N, D) to (B * H, N, D / H)."""
    return x.unflatten(-1, (grid.heads, -1)).transpose(1, 2).flatten(0, 1)


def _heads(qkv: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, scaled, keys and values (B * H, N, D / H) of (B, N, 3D)."""
    query, key, value = (_split(x, grid) for x in qkv.chunk(3, dim=-1))
    return query * query.shape[-1] ** -0.5, key, value


def _merge(x: Tensor, grid: Grid) -> Tensor:
    """(B * H, N, D / H) to (B, N, D)."""
    return x.unflatten(0, (-1, grid.heads)).transpose(1, 2).flatten(2)


def _join(query: Tensor, key: Tensor, value: Tensor, grid: Grid) -> Tensor:
    """Adjoints (B, N, 3D) of what `_heads` splits."""
    query = query * query.shape[-1] ** -0.5
    return torch.cat([_merge(x, grid) for x in (query, key, value)], dim=-1)


_TWICE, _CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


# In place where a number is used once: fresh memory of a few MB costs more than the arithmetic.


def gelu_share(hidden: Tensor) -> Tensor:
    """Tanh-approximated GELU at `hidden` over `hidden`."""
    inside = hidden.square().mul_(_TWICE * _CUBIC).add_(_TWICE)
    return inside.mul_(hidden).sigmoid_()


def gelu_slope(hidden: Tensor, share: Tensor) -> Tensor:
    """Derivative of tanh-approximated GELU."""
    inside = hidden.square().mul_(3 * _TWICE * _CUBIC).add_(_TWICE)  # slope under the sigmoid
    return torch.addcmul(share, inside.mul_(hidden), (1 - share).mul_(share))


def gelu_bend(hidden: Tensor, share: Tensor) -> Tensor:
    """Second derivative of tanh-approximated GELU."""
    square = hidden.square()
    inside = (3 * _TWICE * _CUBIC * square).add_(_TWICE)
    turn = (-2 * share).add_(1).mul_(hidden).mul_(inside.square())
    rest = square.mul_(6 * _TWICE * _CUBIC).add_(turn)
    return (1 - share).mul_(share).mul_(inside.mul_(2).add_(rest))


PASSES = LayerPasses(forward_layer, inner_layer, tangent_layer, outer_layer)
