"""What predictions cost that stop by themselves: a mean over the whole set, not over a sample."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from harness.cost import FlopCounter
from harness.protocol import Prediction


class StoppingCost:
    """Steps per prediction whose loss counts; passes and FLOPs per position computed, padding and
    what stands before an answer among them. Over all batches that went through `predict`.
    """

    def __init__(self, *, vocab_size: int) -> None:
        self.counter = FlopCounter(vocab_size=vocab_size)
        self.computed = self.counted = 0
        self.steps = 0.0
        self.sums = {"nfe": 0.0, "forward": 0.0, "backward": 0.0}

    def predict(self, make: Callable[[], Prediction], mask: Tensor) -> Prediction:
        """What `make` predicts, of which those count that `mask` (B, S) holds; FLOPs are counted on
        what is still moving.

        Call it where FLOPs can be counted: under `no_grad`, not `inference_mode`.
        """
        with self.counter:
            prediction = make()
        assert prediction.steps is not None, "a descent with a tolerance tells its steps"
        self.computed += mask.numel()
        self.counted += int(mask.sum())
        self.steps += float(prediction.steps[mask].double().sum())
        found = {
            "nfe": prediction.passes.nfe,
            "forward": prediction.passes.forward,
            "backward": prediction.passes.backward,
        }
        for name, mean in found.items():
            self.sums[name] += mean * mask.numel()
        return prediction

    @property
    def cost(self) -> dict[str, float | None]:
        """Means, under the names of a measurement's cost."""
        vocabulary = self.counter.vocabulary
        return {
            **{name: total / self.computed for name, total in self.sums.items()},
            "steps_used": self.steps / self.counted,
            "flops": self.counter.total / self.computed,
            "flops_vocabulary": None if vocabulary is None else vocabulary / self.computed,
        }
