"""Planted experiments: two families of known exponents, with noise, as points of runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from harness.analysis.rates.points import Point


@dataclass(frozen=True)
class World:
    """What is planted; sigma in nats, or of the log loss if `log_noise`; `correlation` between
    families of the same point and seed."""

    rate: float = 0.35
    exponent: float = 0.3
    floor: float = 1.8
    reducible: float = 1.2
    sigma: float = 0.005
    points: int = 6
    decades: float = 2.0
    seeds: int = 3
    correlation: float = 0.0
    start: float = 1e7
    log_noise: bool = False


Planted = tuple[list[Point], list[Point]]


def plant_pair(world: World, rng: np.random.Generator) -> Planted:
    x = world.start * np.geomspace(1, 10**world.decades, world.points)
    shape = (world.points, world.seeds)
    common = rng.normal(0, 1, shape)
    families = []
    for name, exponent in (
        ("candidate", world.exponent * (1 + world.rate)),
        ("baseline", world.exponent),
    ):
        own = rng.normal(0, 1, shape)
        noise = np.sqrt(world.correlation) * common + np.sqrt(1 - world.correlation) * own
        loss = world.floor + world.reducible * (x / x[0]) ** -exponent
        loss = loss[:, None] + world.sigma * noise * (loss[:, None] if world.log_noise else 1)
        families.append(as_points(x, loss, name))
    return families[0], families[1]


def as_points(x: Sequence[float] | np.ndarray, loss: np.ndarray, name: str) -> list[Point]:
    """Points of losses (n, seeds), one run each."""
    return [
        Point(x=float(x[i]), seed=s, loss=float(loss[i, s]), run=f"{name}-{i}-{s}")
        for i in range(loss.shape[0])
        for s in range(loss.shape[1])
    ]


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def plant() -> Callable[..., Planted]:
    """plant(seed=…, **World fields) -> (candidate, baseline) points."""

    def make(*, seed: int = 0, **fields: float) -> Planted:
        return plant_pair(World(**fields), np.random.default_rng(seed))

    return make


@pytest.fixture(scope="session")
def points_of() -> Callable[..., list[Point]]:
    return as_points
