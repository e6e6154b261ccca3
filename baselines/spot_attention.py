"""Attention of predictions that all stand at one position: those of a decoded token.

The numbers are those of `baselines.stream_attention`. There every row's own key and value are kept
apart from the observed ones; here, where rows are few and operators small, they are written after
the observed ones, each for its own row alone, and one product reads both: half the operators. What
differs is a row that is not finite: it takes the others with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.rotary import rotate
from baselines.stream_attention import Heads, Observed, apart, join, split


class Spot(NamedTuple):
    """A `View` of rows at one position: rotation (1, D / 2H, 2), observed keys, who sees whom.

    `hidden` (rows, keys + rows) is -inf where a row may not look: at the other rows. `Observed` has
    at least as many places.
    """

    turns: Tensor
    keys: int
    hidden: Tensor
    heads: int
    eps: float


def attend_at(qkv: Tensor, observed: Observed, spot: Spot) -> Heads:
    """Attention of each row (B * R, 3D) over all observed keys and itself."""
    observed, parts = seen(observed, spot), split(qkv, observed, spot.heads, 3)
    query, key = rotate(parts[:2], spot.turns).flatten(1, 2)
    observed.key[:, spot.keys :] = key
    observed.value[:, spot.keys :] = parts[2].flatten(0, 1)
    score = torch.baddbmm(spot.hidden, query, observed.key.transpose(1, 2))
    weight = score.softmax(-1)
    mixed = apart(torch.bmm(weight, observed.value), spot.heads)
    return Heads(query, parts[0], parts[1], parts[2], [weight], mixed)


def attend_at_inner(
    heads: Heads, mixed_bar: Tensor, observed: Observed, spot: Spot
) -> tuple[Tensor, list[Tensor], Tensor]:
    """What `attend_inner` gives; `observed` still has the rows' own keys and values."""
    observed = seen(observed, spot)
    flat_bar = split(mixed_bar, observed, spot.heads, 1)[0].flatten(0, 1)
    weight = heads.weights[0]
    weight_bar = torch.bmm(flat_bar, observed.value.transpose(1, 2))
    score_bar = torch._softmax_backward_data(weight_bar, weight, -1, weight.dtype)
    turned_bar = apart(torch.bmm(score_bar, observed.key), spot.heads)
    own, own_weight = (
        apart(t[..., spot.keys :].diagonal(dim1=1, dim2=2), spot.heads)[..., None]
        for t in (score_bar, weight)
    )
    query_bar = rotate(turned_bar, spot.turns, inverse=True)
    value_bar = own_weight * apart(flat_bar, spot.heads)
    return flat_bar, [score_bar], join([query_bar, own * heads.query, value_bar])


def seen(observed: Observed, spot: Spot) -> Observed:
    """The observed keys and values, and the places of the rows' own."""
    places = spot.hidden.shape[1]
    if observed.key.shape[1] == places:
        return observed
    return Observed(observed.key[:, :places], observed.value[:, :places])


@lru_cache(maxsize=8)
def own_only(rows: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Rows by rows: 0 for each row itself, -inf for the others."""
    with torch.inference_mode(False):
        others = torch.full((rows, rows), -torch.inf, device=device, dtype=dtype)
        return others.fill_diagonal_(0)
