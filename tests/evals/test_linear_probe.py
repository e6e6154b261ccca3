"""A probe's classifier: against scikit-learn, on planted data, and how much it holds at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from harness.evals import linear_probe, probe_examples
from harness.evals.linear_probe import Classifier, fit_full_batch, fit_minibatch
from harness.evals.probe_examples import Examples

CPU = torch.device("cpu")
Floats = NDArray[np.float32]


def examples(features: Any, labels: Any, classes: int) -> Examples:
    found = np.asarray(features, np.float32)
    return Examples(found, np.asarray(labels, np.int64), np.arange(len(found)), classes)


def planted(n: int, *, seed: int = 0, classes: int = 4, width: int = 12) -> Examples:
    """Overlapping classes whose features lie at different scales and depend on each other."""
    random = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(classes, width))
    mixing = np.random.default_rng(98).normal(size=(width, width))
    labels = random.integers(classes, size=n)
    features = (means[labels] + 1.5 * random.normal(size=(n, width))) @ mixing
    return examples(features * np.geomspace(0.01, 100, width) + 5, labels, classes)


def probabilities(one: Classifier, features: Floats) -> NDArray[np.float64]:
    return one.scores(torch.from_numpy(features)).softmax(1).numpy()


def objective(one: Classifier, on: Examples) -> float:
    scores = one.scores(torch.from_numpy(on.features))
    mean = torch.nn.functional.cross_entropy(scores, torch.from_numpy(on.targets))
    return float(mean + 0.5 * one.l2 * one.weights.square().sum())


@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_all_at_once_is_scikit_learns_classifier(l2: float) -> None:
    own, test = planted(300), planted(100, seed=1)
    (found,) = fit_full_batch(own, [l2], CPU)
    x = own.features.astype(np.float64)
    mean, sd = x.mean(0), x.std(0)
    # Its penalty is on the sum over examples, ours on their mean.
    peer = LogisticRegression(C=1 / (len(own) * l2), tol=1e-8, max_iter=5000)
    peer.fit((x - mean) / sd, own.targets)
    assert found.converged
    expected = peer.predict_proba((test.features - mean) / sd)
    assert np.abs(probabilities(found, test.features) - expected).max() < 2e-3
    assert np.abs(found.weights.T.numpy() - peer.coef_).max() < 5e-3


def test_a_penalty_means_the_same_for_any_number_of_examples() -> None:
    own = planted(200)
    twice = Examples(own.features, own.labels, np.tile(own.ids, 2), own.classes)
    one, other = (fit_full_batch(each, [0.01], CPU)[0] for each in (own, twice))
    assert torch.allclose(one.weights, other.weights, atol=2e-3)


def test_penalties_come_back_in_their_order_and_do_not_depend_on_each_other() -> None:
    own = planted(200)
    several = fit_full_batch(own, [0.1, 1e-3, 1.0], CPU)
    assert [each.l2 for each in several] == [0.1, 1e-3, 1.0]
    for each in several:
        (alone,) = fit_full_batch(own, [each.l2], CPU)
        assert objective(each, own) == pytest.approx(objective(alone, own), abs=1e-5)


def test_minibatches_end_where_all_at_once_does() -> None:
    own, test = planted(600), planted(400, seed=1)
    penalties = [1e-2, 1e-1]
    whole = fit_full_batch(own, penalties, CPU)
    small = fit_minibatch(own, penalties, CPU, epochs=30)
    for one, other in zip(whole, small, strict=True):
        assert other.converged
        assert objective(one, own) <= objective(other, own) < objective(one, own) + 2e-3
        apart = probabilities(one, test.features) - probabilities(other, test.features)
        assert np.abs(apart).mean() < 0.01


def test_classes_that_can_be_told_apart_are() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    own = examples(np.eye(3)[labels] * 10 + random.normal(size=(120, 3)), labels, 3)
    for fit in (fit_full_batch, lambda *given: fit_minibatch(*given, epochs=20)):
        (found,) = fit(own, [1e-2], CPU)
        assert (probabilities(found, own.features).argmax(1) == labels).all()


def test_shuffled_labels_are_not_learnt() -> None:
    own, test = planted(1500), planted(1500, seed=1)
    shuffled = np.random.default_rng(3).permutation(own.labels)
    (found,) = fit_full_batch(examples(own.features, shuffled, 4), [1e-2], CPU)
    right = float((probabilities(found, test.features).argmax(1) == test.targets).mean())
    assert abs(right - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 1500), "five standard errors of chance"


def test_units_and_constant_features_change_nothing() -> None:
    own = planted(150)
    factors = np.geomspace(1e-3, 1e3, own.width)
    dull = np.full((len(own), 2), 0.1)
    changed = np.hstack([own.features * factors - 3 * factors, dull])
    one = fit_full_batch(own, [1e-2], CPU)[0]
    other = fit_full_batch(examples(changed, own.labels, 4), [1e-2], CPU)[0]
    expected = probabilities(one, own.features)
    assert np.abs(probabilities(other, changed.astype(np.float32)) - expected).max() < 2e-3
    assert torch.isfinite(other.weights).all()


def test_more_features_than_examples_is_scikit_learns_classifier_too() -> None:
    own, test = planted(30, width=200), planted(50, seed=1, width=200)
    (found,) = fit_full_batch(own, [1e-2], CPU)
    x = own.features.astype(np.float64)
    mean, sd = x.mean(0), x.std(0)
    peer = LogisticRegression(C=1 / (len(own) * 1e-2), tol=1e-10, max_iter=9999)
    peer.fit((x - mean) / sd, own.targets)
    assert found.converged
    assert found.weights.shape == (200, 4)
    assert np.abs(found.weights.T.numpy() - peer.coef_).max() < 2e-3
    expected = peer.predict_proba((test.features - mean) / sd)
    assert np.abs(probabilities(found, test.features) - expected).max() < 2e-2


def test_a_fit_that_did_not_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "MAX_ITERATIONS", 2)
    (found,) = fit_full_batch(planted(300), [1e-4], CPU)
    assert not found.converged
    assert found.gradient > linear_probe.TOLERANCE
    (short,) = fit_minibatch(planted(300), [1e-4], CPU, epochs=1)
    assert not short.converged


@pytest.fixture(scope="module")
def repeated() -> Examples:
    """Digits of which some columns come twice: nearly separable, where the gradient is small long
    before the minimum.
    """
    digits = load_digits()
    features = digits.data[:600] / 8 - 1
    return examples(np.hstack([features, features[:, 20:25]]), digits.target[:600], 10)


@pytest.mark.parametrize("l2", [1e-5, 1e-3])
def test_a_small_gradient_is_not_taken_for_the_minimum(repeated: Examples, l2: float) -> None:
    (whole,) = fit_full_batch(repeated, [l2], CPU)
    (small,) = fit_minibatch(repeated, [l2], CPU, epochs=20)
    lowest, reached = objective(whole, repeated), objective(small, repeated)
    assert whole.converged
    assert small.gradient < 3e-3
    assert reached > 1.03 * lowest
    assert not small.converged
    assert 0.4 * (reached - lowest) < small.excess < 1.1 * (reached - lowest)


def test_the_objective_is_at_its_minimum_where_a_fit_says_so(repeated: Examples) -> None:
    (found,) = fit_full_batch(repeated, [1e-3], CPU)
    x = repeated.features.astype(np.float64)
    peer = LogisticRegression(C=1 / (len(repeated) * 1e-3), tol=1e-10, max_iter=20_000)
    scaled = (x - found.scale.mean.numpy()) / found.scale.sd.numpy()
    peer.fit(scaled, repeated.targets)
    loss = log_loss(repeated.targets, peer.predict_proba(scaled))
    lowest = loss + 0.5e-3 * float(np.square(peer.coef_).sum())
    assert found.converged
    assert objective(found, repeated) == pytest.approx(lowest, rel=1e-3)


def test_an_excess_is_compared_with_what_was_learnt_too() -> None:
    """Of features that say little, a hundredth of the loss may be all there is to learn."""
    own = planted(2000)
    noise = np.random.default_rng(5).normal(size=own.features.shape) * own.features.std(0) * 8
    faint = examples(own.features + noise, own.labels, 4)
    (whole,) = fit_full_batch(faint, [1e-5], CPU)
    (small,) = fit_minibatch(faint, [1e-5], CPU, epochs=1)
    lowest = objective(whole, faint)
    assert whole.converged
    assert 1e-4 < small.excess < 0.01 * lowest
    assert small.excess > 0.01 * (np.log(4) - lowest)
    assert not small.converged


def test_features_that_say_nothing_are_fitted_to_the_end() -> None:
    dull = examples(np.full((40, 3), 0.1), np.arange(40) % 4, 4)
    for fit in (fit_full_batch, lambda *given: fit_minibatch(*given, epochs=60)):
        (found,) = fit(dull, [1e-2], CPU)
        assert found.converged
        assert found.excess < 1e-6


class Watched(np.ndarray[Any, Any]):
    """Remembers how many rows were taken at once."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        found = np.asarray(self)[key]
        Watched.taken = max(Watched.taken, len(found))
        return found


def test_minibatches_hold_a_chunk_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_examples, "CHUNK_ROWS", 50)
    monkeypatch.setattr(linear_probe, "MINIBATCH_ROWS", 40)
    own = planted(700)
    watched = Examples(own.features.view(Watched), own.labels, own.ids, own.classes)
    fit_minibatch(watched.part(own.ids % 2 == 0), [1e-2], CPU, epochs=2)
    assert 0 < Watched.taken <= 50


def test_minibatches_come_in_the_same_order_each_time() -> None:
    own = planted(200)
    one, other = (fit_minibatch(own, [1e-2], CPU, epochs=2)[0] for _ in range(2))
    assert torch.equal(one.weights, other.weights)
