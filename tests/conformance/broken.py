"""One fault each, as somebody might make it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import torch
from torch import nn
from torch.nn import functional as F

from harness.protocol import Prediction, State
from tests.conformance.working import Cleaner, Decoder, Descender, Replayer, Slider


class CannotBeBuilt(Descender):
    def __init__(self, config, shape):
        raise OSError("no such tokenizer file")


# --- types and shapes ------------------------------------------------------------------------


class NoPredict(nn.Module):
    """Not an adapter."""

    def __init__(self, config, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


class CountsMaskedTargets(Descender):
    def training_loss(self, batch, noise):
        return replace(super().training_loss(batch, noise), n=batch.mask.numel())


class MeanInMetrics(Descender):
    def training_loss(self, batch, noise):
        output = super().training_loss(batch, noise)
        return replace(output, metrics={"accuracy": (0.5, 1)})


class OneEnergyARow(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        prediction = super().predict(batch, thinking, noise, on_state)
        return replace(prediction, energy=prediction.value.mean((1, 2)))


class Probabilities64(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        prediction = super().predict(batch, thinking, noise, on_state)
        return replace(prediction, value=prediction.value.double())


class Silent(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        return super().predict(batch, thinking, noise)


class StateWithoutSamples(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        def flat(state: State) -> None:
            on_state(replace(state, value=state.value[:, 0]))

        return super().predict(batch, thinking, noise, None if on_state is None else flat)


class LastStateIsAnother(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        prediction = super().predict(batch, thinking, noise, on_state)
        return replace(prediction, value=prediction.value + 1)


# --- parameters, passes ----------------------------------------------------------------------


class ForgetsAlpha(Descender):
    def param_groups(self):
        return super().param_groups()[:1]


class ListsTwice(Descender):
    def param_groups(self):
        first, second = super().param_groups()
        return [first, replace(second, params=[self.alpha, self.embed.weight])]


class NegativeRate(Descender):
    def param_groups(self):
        first, second = super().param_groups()
        return [first, replace(second, lr_multiplier=float("nan"))]


class CountsOnePass(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        prediction = super().predict(batch, thinking, noise, on_state)
        return replace(prediction, passes=replace(prediction.passes, nfe=1))


class ForgetsBackward(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        prediction = super().predict(batch, thinking, noise, on_state)
        return replace(prediction, passes=replace(prediction.passes, backward=0))


# --- dependence ------------------------------------------------------------------------------


class SeesLaterTokens(Descender):
    def _observed(self, tokens):
        c = self.context(tokens)
        return c + 1e-3 * c.mean(1, keepdim=True)


class TrainsOnLaterTokens(Descender):
    def training_loss(self, batch, noise):
        output = super().training_loss(batch, noise)
        return replace(output, loss_sum=output.loss_sum + 1e-3 * batch.tokens[:, -1].sum())


class SeesLaterFrames(Slider):
    def _frames(self, frames):
        return super()._frames(frames) + 1e-3 * frames[:, 1:].flip(1).cumsum(1).flip(1)


class SeesOtherRows(Descender):
    def _observed(self, tokens):
        c = self.context(tokens)
        return c - 1e-3 * c.mean(0)


class AveragesTheLoss(Descender):
    def training_loss(self, batch, noise):
        output = super().training_loss(batch, noise)
        return replace(output, loss_sum=output.loss_sum / output.n)


class IgnoresNoise(Descender):
    def _start(self, rows, length, noise):
        return 0 * super()._start(rows, length, noise)


class CountsInstances(Descender):
    instances = count()

    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.register_buffer("offset", torch.tensor(1e-3 * next(self.instances)))

    def step(self, p, c):
        return super().step(p, c + self.offset)


class CountsPredictions(Descender):
    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.register_buffer("predictions", torch.zeros(()))

    def predict(self, batch, thinking, noise, on_state=None):
        self.predictions += 1
        return super().predict(batch, thinking, noise, on_state)


class RemembersTheLastRow(Descender):
    """An attribute that no checkpoint holds."""

    last = 0.0

    def _observed(self, tokens):
        c = self.context(tokens) + self.last
        self.last = float(tokens[-1, -1])
        return c


class TiresOfTraining(Descender):
    calls = 0

    def training_loss(self, batch, noise):
        self.calls += 1
        output = super().training_loss(batch, noise)
        return replace(output, loss_sum=output.loss_sum * (1 + 1e-3 * self.calls))


class DrawsGlobally(Descender):
    def training_loss(self, batch, noise):
        torch.rand(())
        return super().training_loss(batch, noise)


class ReadsTheGlobalSeed(Descender):
    def training_loss(self, batch, noise):
        output = super().training_loss(batch, noise)
        return replace(output, loss_sum=output.loss_sum * (1 + torch.initial_seed() % 7))


class NeedsAGraph(Descender):
    """Its gradient by autograd, which inference mode has switched off."""

    def predict(self, batch, thinking, noise, on_state=None):
        with torch.enable_grad():
            start = torch.ones(3).requires_grad_()
            torch.autograd.grad(start.square().sum(), start)
        return super().predict(batch, thinking, noise, on_state)


# --- learning --------------------------------------------------------------------------------


class HasAnIdleWeight(Descender):
    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.idle = nn.Parameter(torch.ones(3))


class Climbs(Descender):
    def training_loss(self, batch, noise):
        output = super().training_loss(batch, noise)
        loss = output.loss_sum
        return replace(output, loss_sum=2 * loss.detach() - loss)


class StepsUphill(Descender):
    def descent_energies(self, batch, noise, step_size):
        return super().descent_energies(batch, noise, -step_size)


class DescendsFromElsewhere(Descender):
    def descent_energies(self, batch, noise, step_size):
        return super().descent_energies(batch, noise.within("elsewhere"), step_size)


class HidesItsEnergies(Descender):
    descent_energies = None


# --- what is kept, computed in, and offered --------------------------------------------------


class KeepsAPlainTensor(Descender):
    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.offset = 0.1 * torch.randn(())

    def _observed(self, tokens):
        return self.context(tokens) + self.offset


class ComparesInBfloat16(Descender):
    def _energy(self, residual):
        return F.linear(residual.square(), residual.new_full((1, residual.shape[-1]), 0.5))[..., 0]


class OverflowsInLowPrecision(Descender):
    def training_loss(self, batch, noise):
        output = super().training_loss(batch, noise)
        low = torch.is_autocast_enabled("cpu")
        return replace(output, loss_sum=output.loss_sum * (float("inf") if low else 1))


class PredictsOtherwiseInLowPrecision(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        found = super().predict(batch, thinking, noise, on_state)
        low = torch.is_autocast_enabled("cpu")
        return replace(found, value=found.value * (1.5 if low else 1))


class PredictsInfinityInLowPrecision(Descender):
    def predict(self, batch, thinking, noise, on_state=None):
        found = super().predict(batch, thinking, noise, on_state)
        if not torch.is_autocast_enabled("cpu"):
            return found
        value = found.value.clone()
        value[..., ::3] = float("inf")
        return replace(found, value=value)


class ForgetfulDecoder(Decoder):
    def feed(self, tokens):
        self.total = 0.0
        return super().feed(tokens)


class ForgetsWhatItWasFed(Descender):
    def decoder(self, rows, thinking, noise):
        return ForgetfulDecoder(self, rows, thinking, noise)


class DecodesWithNoise(Descender):
    """Without noise in `predict`, a decoder has to give the same."""

    def _start(self, rows, length, noise):
        return self.alpha.new_zeros(len(rows), length, self.vocabulary)


class DecodesTwice(Descender):
    """Its decoder gives the logits of every token it was fed."""

    def decoder(self, rows, thinking, noise):
        class Long(Decoder):
            def feed(self, tokens):
                logits = super().feed(tokens).value
                passes = super().feed(tokens).passes
                return Prediction(logits[:, None], None, passes)

        return Long(self, rows, thinking, noise)


class FeaturesByPatch(Cleaner):
    def features(self, batch):
        return super().features(batch)[:, None]


class FeaturesWithAGraph(Cleaner):
    def features(self, batch):
        return self.down(batch.images.flatten(1))


class FeaturesOfAnEmptyImage(Cleaner):
    """Normalised by a spread that rounding makes imaginary."""

    def features(self, batch):
        found = super().features(batch)
        return found / (found.var(1, keepdim=True) - 1e3).sqrt()


class FeaturesOfTheBatch(Cleaner):
    def features(self, batch):
        found = super().features(batch)
        return found - 1e-3 * found.mean(0)


class FeaturesWithNoise(Cleaner):
    draws = 0

    def features(self, batch):
        self.draws += 1
        return super().features(batch) + 1e-6 * self.draws


class FeaturesOfAnotherMode(Cleaner):
    def features(self, batch):
        return super().features(batch) * (1 + 1e-3 * torch.is_inference_mode_enabled())


class LosesItsReplay(Replayer):
    def load_replay_state(self, state):
        """Taken, and dropped."""


class SaysOneCost(Replayer):
    def work(self, batch, noise):
        return "always the same"


class CompilesToAnother(Descender):
    compiled = False

    def training_loss(self, batch, noise):
        output = super().training_loss(batch, noise)
        return replace(output, loss_sum=output.loss_sum * (2 if self.compiled else 1))
