"""What predictions cost that stop by themselves: a mean over the whole set, not over a sample."""

from __future__ import annotations

from collections.abc import Callable

from harness.cost import FlopCounter
from harness.protocol import Prediction


class StoppingCost:
    """Passes, steps and FLOPs per prediction over all batches that went through `predict`."""

    def __init__(self, *, vocab_size: int) -> None:
        self.counter = FlopCounter(vocab_size=vocab_size)
        self.predictions = 0
        self.sums = {"nfe": 0.0, "forward": 0.0, "backward": 0.0, "steps_used": 0.0}

    def predict(self, make: Callable[[], Prediction], predictions: int) -> Prediction:
        """What `make` predicts, `predictions` of them; FLOPs are counted on what is still moving.

        Call it where FLOPs can be counted: under `no_grad`, not `inference_mode`.
        """
        with self.counter:
            prediction = make()
        assert prediction.steps is not None, "a descent with a tolerance tells its steps"
        self.predictions += predictions
        found = {
            "nfe": prediction.passes.nfe,
            "forward": prediction.passes.forward,
            "backward": prediction.passes.backward,
            "steps_used": float(prediction.steps.double().mean()),
        }
        for name, mean in found.items():
            self.sums[name] += mean * predictions
        return prediction

    @property
    def cost(self) -> dict[str, float | None]:
        """Means per prediction, under the names of a measurement's cost."""
        vocabulary = self.counter.vocabulary
        return {
            **{name: total / self.predictions for name, total in self.sums.items()},
            "flops": self.counter.total / self.predictions,
            "flops_vocabulary": None if vocabulary is None else vocabulary / self.predictions,
        }
