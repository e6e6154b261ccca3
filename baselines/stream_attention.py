"""Attention of the prediction stream over observed keys and itself, and its three derivatives.

Every row reads the observed keys up to its own position and its own key, never another row. The
passes are those of `baselines.energy_slope`: `_bar` inner adjoints, `_dot` tangents, `_adj` outer
adjoints. Rows are cut into causal blocks, so that most keys that a row may not see are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.rotary import rotate


class Observed(NamedTuple):
    """One layer's observed keys (rotated) and values, each (B * H, T + 1, D / H).

    The last of them is zero: beside the scores of all T keys it makes room for a row's own.
    """

    key: Tensor
    value: Tensor


class Rows(NamedTuple):
    """A block of query rows: how many, the keys any of them sees, and -inf where one may not.

    `bias` (1 or B * H, rows, columns) covers the last of those keys only: all rows see the others.
    """

    rows: int
    keys: int
    bias: Tensor


class View(NamedTuple):
    """Where the query rows stand: rotations ([B * H,] R, D / 2H, 2), blocks; heads, norm eps."""

    turns: Tensor
    blocks: Sequence[Rows]
    heads: int
    eps: float


class Heads(NamedTuple):
    """Attention of a layer, (B * H, R, D / H) each; a block's weights end with the own key's."""

    turned: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    weights: list[Tensor]
    mixed: Tensor


class HeadsDot(NamedTuple):
    """Tangents of a layer's attention; `centred` are score tangents less their weighted mean."""

    turned: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    centred: list[Tensor]
    weights: list[Tensor]
    mixed: Tensor


def attend(qkv: Tensor, observed: Observed, view: View, batch: int) -> Heads:
    """Attention of each row over the observed keys that it may see, and itself.

    The score of a row with itself needs no rotation: query and key stand at the same position. It
    is written over the column after the last key that the block sees.
    """
    query, key, value = split(qkv, batch, 3, view.heads)
    turned = rotate(query, view.turns)
    own = (query * key).sum(-1)  # (B * H, R)
    weights, mixed, start = [], [], 0
    for rows, keys, bias in view.blocks:
        here = slice(start, start + rows)
        score = turned[:, here] @ observed.key[:, : keys + 1].transpose(1, 2)
        score[..., keys - bias.shape[-1] : keys] += bias
        score[..., -1] = own[:, here]
        weight = score.softmax(-1)
        seen = weight[..., :-1] @ observed.value[:, :keys]
        mixed.append(seen.addcmul_(weight[..., -1:], value[:, here]))
        weights.append(weight)
        start += rows
    return Heads(turned, query, key, value, weights, torch.cat(mixed, dim=1))


def attend_inner(
    heads: Heads, mixed_bar: Tensor, observed: Observed, view: View
) -> tuple[list[Tensor], Tensor]:
    """Adjoints of the scores, block by block, and of queries, keys and values (B * R, 3D)."""
    total = (mixed_bar * heads.mixed).sum(-1, keepdim=True)  # of weight * weight_bar
    own_bar = (mixed_bar * heads.value).sum(-1)
    scores_bar, turned_bar, own, own_weight, start = [], [], [], [], 0
    for (rows, keys, _), weight in zip(view.blocks, heads.weights, strict=True):
        here = slice(start, start + rows)
        score_bar = mixed_bar[:, here] @ observed.value[:, : keys + 1].transpose(1, 2)
        score_bar[..., -1] = own_bar[:, here]
        score_bar.sub_(total[:, here]).mul_(weight)
        turned_bar.append(score_bar[..., :-1] @ observed.key[:, :keys])
        scores_bar.append(score_bar)
        own.append(score_bar[..., -1:])
        own_weight.append(weight[..., -1:])
        start += rows
    own_score = torch.cat(own, dim=1)  # (B * H, R, 1)
    query_bar = rotate(torch.cat(turned_bar, dim=1), view.turns, inverse=True)
    query_bar = torch.addcmul(query_bar, own_score, heads.key)
    value_bar = torch.cat(own_weight, dim=1) * mixed_bar
    return scores_bar, join([query_bar, own_score * heads.query, value_bar], view.heads)


def attend_dot(
    qkv_dot: Tensor, heads: Heads, observed: Observed, view: View, batch: int
) -> HeadsDot:
    query, key, value = split(qkv_dot, batch, 3, view.heads)
    turned = rotate(query, view.turns)
    own = torch.addcmul(query * heads.key, heads.query, key).sum(-1)
    centred, weights, mixed, start = [], [], [], 0
    for (rows, keys, _), weight in zip(view.blocks, heads.weights, strict=True):
        here = slice(start, start + rows)
        score = turned[:, here] @ observed.key[:, : keys + 1].transpose(1, 2)
        score[..., -1] = own[:, here]
        weight_dot = weight * score
        mean = weight_dot.sum(-1, keepdim=True)
        score -= mean
        weight_dot.addcmul_(weight, mean, value=-1)
        seen = weight_dot[..., :-1] @ observed.value[:, :keys]
        seen.addcmul_(weight_dot[..., -1:], heads.value[:, here])
        mixed.append(seen.addcmul_(weight[..., -1:], value[:, here]))
        centred.append(score)
        weights.append(weight_dot)
        start += rows
    return HeadsDot(turned, query, key, value, centred, weights, torch.cat(mixed, dim=1))


def attend_outer(
    heads: Heads,
    mixed_bar: Tensor,
    scores_bar: Sequence[Tensor],
    observed: Observed,
    view: View,
    dots: HeadsDot,
    mixed_adj: Tensor,
) -> tuple[Tensor, Observed]:
    """Outer adjoints of queries, keys and values (B * R, 3D), and of the observed ones."""
    own_adj = torch.addcmul(mixed_adj * heads.value, mixed_bar, dots.value).sum(-1)
    key_adj, value_adj = torch.zeros_like(observed.key), torch.zeros_like(observed.value)
    turned, own, start = [], [], 0
    for index, (rows, keys, _) in enumerate(view.blocks):
        here = slice(start, start + rows)
        weight, weight_dot = heads.weights[index], dots.weights[index]
        score_bar = scores_bar[index]
        score_adj = mixed_adj[:, here] @ observed.value[:, : keys + 1].transpose(1, 2)
        score_adj[..., -1] = own_adj[:, here]
        score_adj.mul_(weight).addcmul_(score_bar, dots.centred[index])
        score_adj.addcmul_(weight, score_adj.sum(-1, keepdim=True), value=-1)
        turned.append(score_adj[..., :-1] @ observed.key[:, :keys])
        key_adj[:, :keys].baddbmm_(score_adj[..., :-1].transpose(1, 2), heads.turned[:, here])
        key_adj[:, :keys].baddbmm_(score_bar[..., :-1].transpose(1, 2), dots.turned[:, here])
        value_adj[:, :keys].baddbmm_(weight[..., :-1].transpose(1, 2), mixed_adj[:, here])
        value_adj[:, :keys].baddbmm_(weight_dot[..., :-1].transpose(1, 2), mixed_bar[:, here])
        own.append([t[..., -1:] for t in (score_adj, score_bar, weight, weight_dot)])
        start += rows
    adj, bar, weight, weight_dot = (torch.cat(column, dim=1) for column in zip(*own, strict=True))
    query_adj = rotate(torch.cat(turned, dim=1), view.turns, inverse=True)
    query_adj = torch.addcmul(torch.addcmul(query_adj, adj, heads.key), bar, dots.key)
    own_key_adj = torch.addcmul(adj * heads.query, bar, dots.query)
    own_value_adj = torch.addcmul(weight * mixed_adj, weight_dot, mixed_bar)
    joined = join([query_adj, own_key_adj, own_value_adj], view.heads)
    return joined, Observed(key_adj, value_adj)


def split(x: Tensor, batch: int, parts: int, heads: int) -> Tensor:
    """(B * R, parts * D) to (parts, B * H, R, D / H)."""
    apart = x.view(batch, -1, parts, heads, x.shape[-1] // (parts * heads))
    return apart.permute(2, 0, 3, 1, 4).reshape(parts, batch * heads, -1, apart.shape[-1])


def merge(mixed: Tensor, batch: int) -> Tensor:
    """(B * H, R, D / H) to (B * R, D)."""
    heads = mixed.view(batch, -1, *mixed.shape[1:])
    return heads.transpose(1, 2).reshape(batch * mixed.shape[1], -1)


def join(parts: list[Tensor], heads: int) -> Tensor:
    """Tensors (B * H, R, D / H) to (B * R, parts * D)."""
    stacked = torch.stack(parts).unflatten(1, (-1, heads))  # (parts, B, H, R, D / H)
    return stacked.permute(1, 3, 0, 2, 4).reshape(-1, len(parts) * heads * stacked.shape[-1])
