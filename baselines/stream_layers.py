"""One layer of the prediction stream: forward, and the passes that differentiate its slope.

`_bar` are inner adjoints (of the energy), `_dot` tangents, `_adj` outer adjoints; see
`baselines.energy_slope`, which runs them over all layers. Tensor arithmetic without autograd, so
that `torch.compile` takes each pass whole and compiles it once for all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.compiling import compiled
from baselines.spot_attention import Spot, attend_at, attend_at_inner
from baselines.stream_attention import (
    Heads,
    HeadsDot,
    Observed,
    View,
    attend,
    attend_dot,
    attend_inner,
    attend_outer,
    merge,
)

silu_backward = torch.ops.aten.silu_backward
sigmoid_backward = torch.ops.aten.sigmoid_backward


class Layer(NamedTuple):
    """One block's weights as the prediction stream uses them.

    Rows are mapped as `nn.Linear` does. The norms' scales are folded into `qkv` (3D, D) and
    `gate_up` (2F, D), the attention scale into the queries' rows of `qkv`, gates into `out` (D, D)
    and `down` (D, F); what a modulation adds to the normalised rows is in the biases, if any.
    """

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor
    qkv_bias: Tensor | None = None
    gate_up_bias: Tensor | None = None


class Norm(NamedTuple):
    """x / rms(x) (B * R, D), and 1 / rms(x) (B * R, 1)."""

    unit: Tensor
    inverse: Tensor


class Gate(NamedTuple):
    """SwiGLU of a layer (B * R, F): the gate, silu(gate), and up."""

    gate: Tensor
    silu: Tensor
    up: Tensor


class Saved(NamedTuple):
    """What one layer keeps of the forward pass."""

    norm: Norm
    heads: Heads
    ffn_norm: Norm
    gate: Gate


class Inner(NamedTuple):
    """What one layer keeps of the inner reverse pass: adjoints of its own tensors."""

    x_bar: Tensor
    hidden_bar: Tensor
    gate_up_bar: Tensor
    ffn_unit_bar: Tensor
    middle_bar: Tensor
    mixed_bar: Tensor
    scores_bar: list[Tensor]
    qkv_bar: Tensor
    unit_bar: Tensor


class Tangent(NamedTuple):
    """What one layer keeps of the tangent pass; `along` are means of unit * x_dot."""

    x_dot: Tensor
    along: Tensor
    unit_dot: Tensor
    heads: HeadsDot
    middle_dot: Tensor
    ffn_along: Tensor
    ffn_unit_dot: Tensor
    gate_dot: Tensor
    up_dot: Tensor
    hidden_dot: Tensor


class LayerGradients(NamedTuple):
    """Gradients of a `Layer`, and of the `Observed` that it read."""

    layer: Layer
    observed: Observed


class LayerPasses(NamedTuple):
    """The four passes through one layer, eager or compiled."""

    forward: Callable[..., tuple[Saved, Tensor]]
    inner: Callable[..., tuple[Inner, Tensor]]
    tangent: Callable[..., tuple[Tangent, Tensor]]
    outer: Callable[..., tuple[LayerGradients, Tensor]]


def forward_layer(
    layer: Layer, observed: Observed, view: View | Spot, x: Tensor
) -> tuple[Saved, Tensor]:
    """From a layer's input rows (B * R, D) to its output."""
    norm = normalise(x, view.eps)
    qkv = linear(norm.unit, layer.qkv, layer.qkv_bias)
    heads = (attend_at if isinstance(view, Spot) else attend)(qkv, observed, view)
    x = add_linear(x, merge(heads.mixed), layer.out)
    ffn_norm = normalise(x, view.eps)
    gate, up = linear(ffn_norm.unit, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
    silu = torch.nn.functional.silu(gate)
    x = add_linear(x, silu * up, layer.down)
    return Saved(norm, heads, ffn_norm, Gate(gate, silu, up)), x


def inner_layer(
    layer: Layer, observed: Observed, view: View | Spot, kept: Saved, x_bar: Tensor
) -> tuple[Inner, Tensor]:
    """From the inner adjoint of a layer's output to that of its input."""
    hidden_bar = back(x_bar, layer.down)  # (B * R, F)
    gate = kept.gate
    gate_bar = silu_backward(hidden_bar * gate.up, gate.gate)
    gate_up_bar = torch.cat([gate_bar, hidden_bar * gate.silu], dim=-1)
    ffn_unit_bar = back(gate_up_bar, layer.gate_up)
    middle_bar = add_unit_dot(x_bar, ffn_unit_bar, kept.ffn_norm)
    attention = attend_at_inner if isinstance(view, Spot) else attend_inner
    mixed_bar, scores_bar, qkv_bar = attention(
        kept.heads, back(middle_bar, layer.out), observed, view
    )
    unit_bar = back(qkv_bar, layer.qkv)
    own = Inner(
        x_bar,
        hidden_bar,
        gate_up_bar,
        ffn_unit_bar,
        middle_bar,
        mixed_bar,
        scores_bar,
        qkv_bar,
        unit_bar,
    )
    return own, add_unit_dot(middle_bar, unit_bar, kept.norm)


def tangent_layer(
    layer: Layer, observed: Observed, view: View, kept: Saved, x_dot: Tensor
) -> tuple[Tangent, Tensor]:
    """From the tangent of a layer's input to that of its output."""
    unit, along = unit_dot(x_dot, kept.norm)
    heads = attend_dot(linear(unit, layer.qkv), kept.heads, observed, view)
    middle_dot = add_linear(x_dot, merge(heads.mixed), layer.out)
    ffn_unit, ffn_along = unit_dot(middle_dot, kept.ffn_norm)
    gate_dot, up_dot = linear(ffn_unit, layer.gate_up).chunk(2, dim=-1)
    gate = kept.gate
    hidden_dot = silu_backward(gate_dot * gate.up, gate.gate).addcmul_(gate.silu, up_dot)
    own = Tangent(
        x_dot,
        along,
        unit,
        heads,
        middle_dot,
        ffn_along,
        ffn_unit,
        gate_dot,
        up_dot,
        hidden_dot,
    )
    return own, add_linear(middle_dot, hidden_dot, layer.down)


def outer_layer(
    layer: Layer,
    observed: Observed,
    view: View,
    kept: Saved,
    inner: Inner,
    tangent: Tangent,
    x_adj: Tensor,
) -> tuple[LayerGradients, Tensor]:
    """From the outer adjoint of a layer's output to that of its input, and its gradients."""
    gate_up_adj = _gate_outer(kept.gate, inner.hidden_bar, tangent, back(x_adj, layer.down))
    hidden = kept.gate.silu * kept.gate.up
    down = weight_gradient(x_adj, hidden, inner.x_bar, tangent.hidden_dot)
    gate_up = weight_gradient(
        gate_up_adj, kept.ffn_norm.unit, inner.gate_up_bar, tangent.ffn_unit_dot
    )
    middle_adj = add_norm_outer(
        x_adj,
        back(gate_up_adj, layer.gate_up),
        inner.ffn_unit_bar,
        tangent.middle_dot,
        tangent.ffn_along,
        kept.ffn_norm,
    )
    mixed, mixed_dot = (merge(h.mixed) for h in (kept.heads, tangent.heads))
    out = weight_gradient(middle_adj, mixed, inner.middle_bar, mixed_dot)
    mixed_adj = back(middle_adj, layer.out)
    qkv_adj, own_observed = attend_outer(
        kept.heads, inner.mixed_bar, inner.scores_bar, observed, view, tangent.heads, mixed_adj
    )
    qkv = weight_gradient(qkv_adj, kept.norm.unit, inner.qkv_bar, tangent.unit_dot)
    x_in_adj = add_norm_outer(
        middle_adj,
        back(qkv_adj, layer.qkv),
        inner.unit_bar,
        tangent.x_dot,
        tangent.along,
        kept.norm,
    )
    own = Layer(
        qkv,
        out,
        gate_up,
        down,
        None if layer.qkv_bias is None else qkv_adj.sum(0),
        None if layer.gate_up_bias is None else gate_up_adj.sum(0),
    )
    return LayerGradients(own, own_observed), x_in_adj


def _gate_outer(gate: Gate, hidden_bar: Tensor, tangent: Tangent, hidden_adj: Tensor) -> Tensor:
    """Outer adjoint of gate and up (B * R, 2F)."""
    bent = tangent.gate_dot * gate.up * hidden_bar
    bent *= (gate.gate + 2).sub_(gate.silu, alpha=2)
    sloped = (hidden_adj * gate.up).addcmul_(tangent.up_dot, hidden_bar)
    gate_adj = silu_backward(sloped, gate.gate) + sigmoid_backward(bent, gate.gate.sigmoid())
    up_adj = silu_backward(tangent.gate_dot, gate.gate).mul_(hidden_bar)
    return torch.cat([gate_adj, up_adj.addcmul_(hidden_adj, gate.silu)], dim=-1)


def normalise(x: Tensor, eps: float) -> Norm:
    """Each row of x (B * R, D) over its root mean square."""
    inverse = row_dot(x, x).mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    return Norm(x * inverse, inverse)


def unit_dot(x_dot: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """Jacobian of x / rms(x), which is symmetric, times `x_dot`; and the mean of unit * x_dot."""
    along = row_dot(norm.unit, x_dot).mul_(1 / x_dot.shape[-1])
    return torch.addcmul(x_dot, norm.unit, along, value=-1).mul_(norm.inverse), along


def add_unit_dot(x: Tensor, x_dot: Tensor, norm: Norm) -> Tensor:
    """x + Jacobian of x / rms(x) times `x_dot`."""
    along = row_dot(norm.unit, x_dot)
    centred = torch.addcmul(x_dot, norm.unit, along, value=-1 / x_dot.shape[-1])
    return torch.addcmul(x, centred, norm.inverse)


def curvature(unit_bar: Tensor, x_dot: Tensor, along: Tensor, norm: Norm) -> Tensor:
    """Gradient of <unit_bar, tangent of x / rms(x) along x_dot> with respect to x."""
    nothing = torch.zeros_like(x_dot)
    return add_norm_outer(nothing, nothing, unit_bar, x_dot, along, norm)


def add_norm_outer(
    x_adj: Tensor, unit_adj: Tensor, unit_bar: Tensor, x_dot: Tensor, along: Tensor, norm: Norm
) -> Tensor:
    """`x_adj`, and x's outer adjoint from that of x / rms(x) and from the slope's curvature."""
    share = 1 / x_dot.shape[-1]
    pulled = row_dot(unit_bar, norm.unit)  # as sums
    both = row_dot(unit_bar, x_dot).addcmul_(pulled, along, value=-3)
    on_unit = row_dot(unit_adj, norm.unit).addcmul_(both, norm.inverse)
    found = torch.addcmul(unit_adj, norm.unit, on_unit, value=-share)
    found.addcmul_(unit_bar, along * norm.inverse, value=-1)
    found.addcmul_(x_dot, pulled * norm.inverse, value=-share)
    return torch.addcmul(x_adj, found, norm.inverse)


def row_dot(left: Tensor, right: Tensor) -> Tensor:
    """Sum of left * right in each row, (B * R, 1)."""
    return (left * right).sum(-1, keepdim=True)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b in the weight's dtype."""
    return torch.nn.functional.linear(as_type(x, weight.dtype), weight, bias)


def add_linear(x: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """x + rows W^T, in the dtype of x."""
    if x.dtype == weight.dtype:
        return torch.addmm(x, as_type(rows, weight.dtype), weight.t())
    return x + linear(rows, weight)


def back(bar: Tensor, weight: Tensor) -> Tensor:
    """Adjoint of a linear's input."""
    return as_type(bar, weight.dtype) @ weight


def as_type(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in `dtype`; where it is so already, without the microsecond that `to` takes."""
    return x if x.dtype == dtype else x.to(dtype)


def weight_gradient(adjoint: Tensor, x: Tensor, bar: Tensor, x_dot: Tensor) -> Tensor:
    """Gradient of W in y = x W^T from both of its appearances: y, and the tangent of y."""
    dtype = bar.dtype
    return (adjoint.to(dtype).t() @ x.to(dtype)).addmm_(bar.t(), x_dot.to(dtype))


EAGER = LayerPasses(forward_layer, inner_layer, tangent_layer, outer_layer)


def compiled_passes() -> LayerPasses:
    """The same passes through `torch.compile`: each is compiled once for layers of equal shape."""
    return LayerPasses(*map(compiled, EAGER))
