"""Labelled features of a probe, in memory or on disk, and the directions they vary along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Rows that are in memory at once where features lie on disk.
CHUNK_ROWS = 4096
#: A feature that varies by less than this share of its size is constant but for rounding.
_CONSTANT = 1e-6
#: A direction with less than this share of the largest one's variance is rounding.
_SPANNED = 1e-12


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows `ids` (n,) of `features` (N, D) float32 and of `labels` (N,), of `classes` classes.

    Parts share the features, which may be memory-mapped.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    classes: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    @property
    def targets(self) -> NDArray[np.int64]:
        """Their labels (n,)."""
        return self.labels[self.ids]

    def part(self, chosen: NDArray[np.bool_]) -> Examples:
        """Those of `chosen` (n,)."""
        return Examples(self.features, self.labels, self.ids[chosen], self.classes)

    def batch(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Features (b, D) float32 and labels (b,) of the examples at `places`."""
        ids = self.ids[places]
        return torch.from_numpy(self.features[ids]), torch.from_numpy(self.labels[ids])

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All of them in order."""
        for start in range(0, len(self), CHUNK_ROWS):
            yield self.batch(np.arange(start, min(start + CHUNK_ROWS, len(self))))


@dataclass(frozen=True, eq=False)
class Scale:
    """`mean` and `sd` (D,) of features, float64; `sd` is 1 where a feature is constant."""

    mean: Tensor
    sd: Tensor

    @staticmethod
    def of(examples: Examples, device: torch.device) -> Scale:
        """Two passes, so that a large mean costs no digits of a small deviation."""
        total = torch.zeros(examples.width, dtype=torch.float64, device=device)
        largest, squares = torch.zeros_like(total), torch.zeros_like(total)
        for features, _ in examples.chunks():
            own = features.to(device).double()
            total += own.sum(0)
            largest = torch.maximum(largest, own.abs().amax(0))
        mean = total / len(examples)
        for features, _ in examples.chunks():
            squares += (features.to(device).double() - mean).square().sum(0)
        sd = (squares / len(examples)).sqrt()
        return Scale(mean, torch.where(sd > _CONSTANT * largest, sd, 1.0))

    def apply(self, features: Tensor) -> Tensor:
        """Standardised features (b, D), float64, where `mean` is."""
        return (features.to(self.mean.device).double() - self.mean) / self.sd


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal directions (D, r) of standardised features, in columns, and variances (r,).

    All D of them; of fewer examples than features those that the examples span, since penalised
    weights have no part along others. A penalty on squared weights is the same in any rotation, and
    along these directions a fit's curvature is known: that of the cross-entropy is at most half the
    variance (Böhning, 1992).
    """

    scale: Scale
    directions: Tensor
    variances: Tensor

    @staticmethod
    def of(examples: Examples, device: torch.device) -> Basis:
        scale = Scale.of(examples, device)
        if len(examples) < examples.width:
            return Basis._spanned(examples, scale)
        products = torch.zeros((examples.width, examples.width), dtype=torch.float64, device=device)
        for features, _ in examples.chunks():
            standardised = scale.apply(features)
            products.addmm_(standardised.T, standardised)
        variances, directions = torch.linalg.eigh(products / len(examples))
        return Basis(scale, directions, variances.clamp(min=0))

    @staticmethod
    def _spanned(examples: Examples, scale: Scale) -> Basis:
        """From products of examples, which are fewer than those of features."""
        rows = torch.cat([scale.apply(features) for features, _ in examples.chunks()])
        squares, mixtures = torch.linalg.eigh(rows @ rows.T)
        kept = squares > _SPANNED * squares.max().clamp(min=_SPANNED)
        squares, mixtures = squares[kept], mixtures[:, kept]
        return Basis(scale, rows.T @ mixtures / squares.sqrt(), squares / len(examples))

    @property
    def rank(self) -> int:
        return len(self.variances)

    def apply(self, features: Tensor) -> Tensor:
        """Coordinates (b, r) of features (b, D), float64."""
        return self.scale.apply(features) @ self.directions

    def stiffness(self, l2: float) -> Tensor:
        """Square root (r, 1) of the bound of the objective's curvature along each direction."""
        return (0.5 * self.variances + l2).sqrt()[:, None]
