"""AdamW over the adapter's groups, and the learning rate along the budget."""

from __future__ import annotations

from math import cos, pi

import torch
from torch import nn

from harness.planning.spec import Optimizer
from harness.protocol import Adapter


def build_optimizer(adapter: Adapter, settings: Optimizer) -> torch.optim.AdamW:
    """One AdamW with the adapter's groups; AssertionError if a parameter is missing or doubled."""
    assert isinstance(adapter, nn.Module)
    groups = list(adapter.param_groups())
    listed = [id(p) for group in groups for p in group.params]
    trainable = {id(p) for p in adapter.parameters() if p.requires_grad}
    assert len(listed) == len(set(listed)), "a parameter is in two groups"
    assert set(listed) == trainable, "param_groups() must list every trainable parameter"
    return torch.optim.AdamW(
        [
            {
                "params": list(group.params),
                "lr": settings.lr * group.lr_multiplier,
                "peak_lr": settings.lr * group.lr_multiplier,
                "weight_decay": settings.weight_decay if group.weight_decay else 0.0,
                "name": group.name,
            }
            for group in groups
        ],
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )


def set_learning_rates(
    optimizer: torch.optim.Optimizer, settings: Optimizer, step: int, fraction: float
) -> float:
    """Set every group's rate for the coming step; returns the base group's.

    `step` counts finished steps; `fraction` in [0, 1] is how much of the cosine has passed.
    """
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    wave = 0.5 * (1 + cos(pi * min(1.0, max(0.0, fraction))))
    for group in optimizer.param_groups:
        peak = group["peak_lr"]
        bottom = settings.floor_ratio * (peak if settings.floor == "per_group" else settings.lr)
        group["lr"] = warmup * (bottom + (peak - bottom) * wave)
    return warmup * settings.lr * (settings.floor_ratio + (1 - settings.floor_ratio) * wave)


def cosine_fraction(
    settings: Optimizer, step: int, total_steps: int | None, elapsed: float
) -> float:
    """Share of the cosine passed after `step` steps; `elapsed` is the share of a seconds budget."""
    if total_steps is None:
        return elapsed
    length = (settings.decay_steps or total_steps) - settings.warmup_steps
    return (step - settings.warmup_steps) / max(1, length)
