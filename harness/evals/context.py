"""What every evaluator is given, and how it words a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from harness.cost import device_name, uncompiled
from harness.noise import NoiseSource
from harness.planning.spec import TrainSpec
from harness.protocol import Adapter, AdapterRecord, Passes, Shape
from harness.records import Measurement


@dataclass(frozen=True)
class EvalContext:
    """A trained adapter and the facts that its measurements carry.

    `weights` is the sha256 of its weights, None before they are loaded.
    """

    adapter: Adapter
    record: AdapterRecord
    config: Any
    shape: Shape
    spec: TrainSpec
    device: torch.device
    cache: Path
    step: int = 0
    tokens_seen: int | None = None
    weights: str | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    def noise(self, seed: int, purpose: str) -> NoiseSource:
        """Evaluation noise: independent of the training seed, equal for every adapter."""
        return NoiseSource(seed, ("eval", purpose))

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Evaluation mode, without an outer graph, uncompiled, at the run's precision.

        Uncompiled because a run may be evaluated by another process than the one that trained it.
        """
        module: Any = self.adapter
        module.eval()
        bf16 = self.spec.precision == "bf16"
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)
        with uncompiled(), torch.no_grad(), autocast:
            try:
                yield
            finally:
                module.train()

    def measurement(
        self,
        name: str,
        value: float | None,
        *,
        n: int,
        unit: str,
        higher_is_better: bool | None,
        noise_seed: int | None = None,
        tags: Mapping[str, Any] | None = None,
        cost: Mapping[str, float | int | None] | None = None,
    ) -> Measurement:
        return Measurement(
            name=name,
            value=value,
            n=n,
            unit=unit,
            higher_is_better=higher_is_better,
            step=self.step,
            tokens_seen=self.tokens_seen,
            train_seed=self.spec.seed,
            noise_seed=noise_seed,
            device=device_name(self.device, self.spec.threads),
            tags=tags or {},
            cost=cost or {},
        )


def passes_cost(passes: Passes) -> dict[str, float]:
    """NFE and passes per prediction, as measurement cost."""
    return {"nfe": passes.nfe, "forward": passes.forward, "backward": passes.backward}
