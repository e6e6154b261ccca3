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
    """One layer's observed keys (rotated) and values, each (B * H, T + 1 or more, D / H).

    Beside the scores of all T keys there is room for a row's own.
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
    """Where the query rows stand: rotations ([B, 1,] R, D / 2H, 2), blocks; heads, norm eps."""

    turns: Tensor
    blocks: Sequence[Rows]
    heads: int
    eps: float


class Heads(NamedTuple):
    """Attention of a layer: rows (B, H, R, D / H), and what products read (B * H, R, ...).

    Queries, keys and values are views of one product: no product reads a row's own, so that none
    needs copying. A block's weights (B * H, rows, keys + 1) end with the own key's.
    """

    turned: Tensor  # (B * H, R, D / H)
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


def attend(qkv: Tensor, observed: Observed, view: View) -> Heads:
    """Attention of each row over the observed keys that it may see, and itself.

    The score of a row with itself needs no rotation: query and key stand at the same position. It
    is written over the column after the last key that the block sees.
    """
    query, key, value = split(qkv, observed, view.heads, 3)
    turned = rotate(query, view.turns).flatten(0, 1)
    own = (query * key).sum(-1).flatten(0, 1)  # (B * H, R)
    weights, mixed, start = [], [], 0
    for rows, keys, bias in view.blocks:
        here = slice(start, start + rows)
        score = torch.bmm(turned[:, here], observed.key[:, : keys + 1].transpose(1, 2))
        score[..., keys - bias.shape[-1] : keys] += bias
        score[..., -1] = own[:, here]
        weight = score.softmax(-1)
        seen = apart(torch.bmm(weight[..., :-1], observed.value[:, :keys]), view.heads)
        mixed.append(seen.addcmul_(apart(weight[..., -1:], view.heads), value[:, :, here]))
        weights.append(weight)
        start += rows
    return Heads(turned, query, key, value, weights, by_row(mixed))


def attend_inner(
    heads: Heads, mixed_bar: Tensor, observed: Observed, view: View
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Adjoints: `mixed_bar` as products read it, scores by block, queries to values (B * R, 3D)."""
    rows_bar = split(mixed_bar, observed, view.heads, 1)[0]
    total = (rows_bar * heads.mixed).sum(-1, keepdim=True).flatten(0, 1)  # of weight * weight_bar
    own_bar = (rows_bar * heads.value).sum(-1).flatten(0, 1)
    flat_bar = rows_bar.flatten(0, 1)
    scores_bar, turned_bar, own, own_weight, start = [], [], [], [], 0
    for (rows, keys, _), weight in zip(view.blocks, heads.weights, strict=True):
        here = slice(start, start + rows)
        score_bar = torch.bmm(flat_bar[:, here], observed.value[:, : keys + 1].transpose(1, 2))
        score_bar[..., -1] = own_bar[:, here]
        score_bar.sub_(total[:, here]).mul_(weight)
        turned_bar.append(torch.bmm(score_bar[..., :-1], observed.key[:, :keys]))
        scores_bar.append(score_bar)
        own.append(score_bar[..., -1:])
        own_weight.append(weight[..., -1:])
        start += rows
    own_score = apart(together(own), view.heads)  # (B, H, R, 1)
    query_bar = rotate(apart(together(turned_bar), view.heads), view.turns, inverse=True)
    query_bar = query_bar.addcmul_(own_score, heads.key)
    value_bar = apart(together(own_weight), view.heads) * rows_bar
    return flat_bar, scores_bar, join([query_bar, own_score * heads.query, value_bar])


def attend_dot(qkv_dot: Tensor, heads: Heads, observed: Observed, view: View) -> HeadsDot:
    query, key, value = split(qkv_dot, observed, view.heads, 3)
    turned = rotate(query, view.turns).flatten(0, 1)
    own = (query * heads.key).addcmul_(heads.query, key).sum(-1).flatten(0, 1)
    centred, weights, mixed, start = [], [], [], 0
    for (rows, keys, _), weight in zip(view.blocks, heads.weights, strict=True):
        here = slice(start, start + rows)
        score = torch.bmm(turned[:, here], observed.key[:, : keys + 1].transpose(1, 2))
        score[..., -1] = own[:, here]
        weight_dot = weight * score
        mean = weight_dot.sum(-1, keepdim=True)
        score -= mean
        weight_dot.addcmul_(weight, mean, value=-1)
        seen = apart(torch.bmm(weight_dot[..., :-1], observed.value[:, :keys]), view.heads)
        seen.addcmul_(apart(weight_dot[..., -1:], view.heads), heads.value[:, :, here])
        mixed.append(seen.addcmul_(apart(weight[..., -1:], view.heads), value[:, :, here]))
        centred.append(score)
        weights.append(weight_dot)
        start += rows
    return HeadsDot(turned, query, key, value, centred, weights, by_row(mixed))


def attend_outer(
    heads: Heads,
    flat_bar: Tensor,
    scores_bar: Sequence[Tensor],
    observed: Observed,
    view: View,
    dots: HeadsDot,
    mixed_adj: Tensor,
) -> tuple[Tensor, Observed]:
    """Outer adjoints of queries, keys and values (B * R, 3D), and of the observed ones."""
    rows_adj, rows_bar = split(mixed_adj, observed, view.heads, 1)[0], apart(flat_bar, view.heads)
    own_adj = (rows_adj * heads.value).addcmul_(rows_bar, dots.value).sum(-1).flatten(0, 1)
    flat_adj = rows_adj.flatten(0, 1)
    key_adj, value_adj = torch.zeros_like(observed.key), torch.zeros_like(observed.value)
    turned, own, start = [], [], 0
    for index, (rows, keys, _) in enumerate(view.blocks):
        here = slice(start, start + rows)
        weight, weight_dot = heads.weights[index], dots.weights[index]
        score_bar = scores_bar[index]
        score_adj = torch.bmm(flat_adj[:, here], observed.value[:, : keys + 1].transpose(1, 2))
        score_adj[..., -1] = own_adj[:, here]
        score_adj.mul_(weight).addcmul_(score_bar, dots.centred[index])
        score_adj.addcmul_(weight, score_adj.sum(-1, keepdim=True), value=-1)
        turned.append(torch.bmm(score_adj[..., :-1], observed.key[:, :keys]))
        # Not baddbmm_: on CPU it takes the matrices one by one where its target is a slice.
        key_adj[:, :keys] += torch.bmm(score_adj[..., :-1].transpose(1, 2), heads.turned[:, here])
        key_adj[:, :keys] += torch.bmm(score_bar[..., :-1].transpose(1, 2), dots.turned[:, here])
        value_adj[:, :keys] += torch.bmm(weight[..., :-1].transpose(1, 2), flat_adj[:, here])
        value_adj[:, :keys] += torch.bmm(weight_dot[..., :-1].transpose(1, 2), flat_bar[:, here])
        own.append([t[..., -1:] for t in (score_adj, score_bar, weight, weight_dot)])
        start += rows
    columns = (apart(together(column), view.heads) for column in zip(*own, strict=True))
    adj, bar, weight, weight_dot = columns
    query_adj = rotate(apart(together(turned), view.heads), view.turns, inverse=True)
    query_adj = query_adj.addcmul_(adj, heads.key).addcmul_(bar, dots.key)
    own_key_adj = (adj * heads.query).addcmul_(bar, dots.query)
    own_value_adj = (weight * rows_adj).addcmul_(weight_dot, rows_bar)
    return join([query_adj, own_key_adj, own_value_adj]), Observed(key_adj, value_adj)


def split(x: Tensor, observed: Observed, heads: int, parts: int) -> Tensor:
    """(B * R, parts * D) as (parts, B, H, R, D / H), a view."""
    batch, _, width = observed.key.shape
    return x.view(batch // heads, -1, parts, heads, width).permute(2, 0, 3, 1, 4)


def apart(x: Tensor, heads: int) -> Tensor:
    """(B * H, R, ...) as (B, H, R, ...), a view."""
    return x.view(-1, heads, *x.shape[1:])


def together(blocks: Sequence[Tensor]) -> Tensor:
    """Blocks of rows (B * H, rows, ...) as one."""
    return blocks[0] if len(blocks) == 1 else torch.cat(list(blocks), dim=1)


def by_row(blocks: Sequence[Tensor]) -> Tensor:
    """Blocks of rows (B, H, rows, D / H) as one; several, copied, then lie as (B, R, H, D / H)."""
    if len(blocks) == 1:
        return blocks[0]
    return torch.cat([block.transpose(1, 2) for block in blocks], dim=1).transpose(1, 2)


def merge(mixed: Tensor) -> Tensor:
    """(B, H, R, D / H) to (B * R, D), a view of what `by_row` has copied."""
    return mixed.transpose(1, 2).reshape(mixed.shape[0] * mixed.shape[2], -1)


def join(parts: Sequence[Tensor]) -> Tensor:
    """Tensors (B, H, R, D / H) to (B * R, parts * D)."""
    stacked = torch.stack([part.transpose(1, 2) for part in parts], dim=2)
    return stacked.view(stacked.shape[0] * stacked.shape[1], -1)
