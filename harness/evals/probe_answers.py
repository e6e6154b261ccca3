"""What a linear probe answers on a test set, its penalty chosen on a held-out part of training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.evals.linear_probe import Classifier, fit_full_batch, fit_minibatch
from harness.evals.probe_examples import Examples
from harness.planning.eval_spec import ProbeEval

#: Answers that are looked through for the right one.
TOP = (1, 5)


@dataclass(frozen=True, eq=False)
class Answers:
    """Of each test image: how many classes are ranked above its own, `ranks` (n,), and the
    cross-entropy in nats, `losses` (n,).

    `l2` is the chosen penalty, `at_edge` that no smaller (or no larger) one was tried, `holdout`
    the held-out part's accuracy. `converged`, `gradient` and `excess` are of the last fit;
    `seconds` are of all fits.
    """

    ranks: NDArray[np.int64]
    losses: NDArray[np.float64]
    l2: float
    at_edge: bool
    holdout: float
    holdout_n: int
    train_n: int
    width: int
    converged: bool
    gradient: float
    excess: float
    seconds: float

    def right(self, top: int) -> NDArray[np.bool_]:
        """Whether each image's class is among the `top` highest."""
        return self.ranks < top


def answers(
    training: Examples,
    held_out: NDArray[np.bool_],
    test: Examples,
    spec: ProbeEval,
    device: torch.device,
) -> Answers:
    """Fit each penalty without `held_out` (n,), then the best on all, and answer the test.

    The best has the most right answers held out; where several do, the smallest cross-entropy.
    HarnessError where a part holds too little to fit or choose by.
    """
    began = time.monotonic()
    fitted, judging = training.part(~held_out), training.part(held_out)
    _check(fitted, judging, spec)
    judged = [_judge(one, judging) for one in _fit(fitted, spec.l2, spec, device)]
    best = min(range(len(spec.l2)), key=lambda i: (-_share(judged[i][0]), judged[i][1].mean()))
    chosen = spec.l2[best]
    (classifier,) = _fit(training, [chosen], spec, device)
    seconds = time.monotonic() - began
    ranks, losses = _judge(classifier, test)
    return Answers(
        ranks=ranks,
        losses=losses,
        l2=chosen,
        at_edge=len(spec.l2) > 1 and chosen in (min(spec.l2), max(spec.l2)),
        holdout=_share(judged[best][0]),
        holdout_n=len(judging),
        train_n=len(training),
        width=training.width,
        converged=classifier.converged,
        gradient=classifier.gradient,
        excess=classifier.excess,
        seconds=seconds,
    )


def _check(fitted: Examples, judging: Examples, spec: ProbeEval) -> None:
    images = len(fitted) + len(judging)
    if not len(judging) or not len(fitted):
        raise HarnessError(
            f"{'no' if not len(judging) else 'every'} training image of {spec.data} is held out, "
            f"of {images}",
            hint="give a larger `train_limit`, or another `holdout`",
        )
    if len(np.unique(fitted.targets)) < 2:
        raise HarnessError(
            f"the {len(fitted)} training images of {spec.data} are all of one class",
            hint="give a larger `train_limit`, or data with several classes",
        )


def _fit(
    examples: Examples, penalties: Sequence[float], spec: ProbeEval, device: torch.device
) -> list[Classifier]:
    if spec.solver == "full_batch":
        return fit_full_batch(examples, penalties, device)
    return fit_minibatch(examples, penalties, device, epochs=spec.epochs)


def _judge(
    classifier: Classifier, examples: Examples
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ranks and cross-entropies; of classes with equal scores the earlier ranks higher."""
    ranks, losses = [], []
    for features, labels in examples.chunks():
        scores = classifier.scores(features)
        own = labels.to(scores.device)[:, None]
        of_own = scores.gather(1, own)
        earlier = torch.arange(examples.classes, device=scores.device) < own
        above = (scores > of_own) | ((scores == of_own) & earlier)
        ranks.append(above.sum(1).cpu().numpy())
        losses.append((scores.logsumexp(1) - of_own[:, 0]).cpu().numpy())
    return np.concatenate(ranks), np.concatenate(losses)


def _share(ranks: NDArray[np.int64]) -> float:
    return float((ranks == 0).mean())
