"""Every adapter passes; and each check fails on the adapter made to break it, and on no other."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from harness.conformance import capabilities, contract, counts, independence, learning
from harness.conformance.examine import CHECKS, SLOW, examine, perform
from harness.conformance.outcome import Check
from harness.conformance.subject import Subject, subject_of
from harness.protocol import AdapterRecord, FlopCount, ImageShape, ParameterCount, VideoShape
from harness.registry import adapter, adapter_names
from tests.conformance import broken, working
from tests.conformance.working import CLEANER, DESCENDER, REPLAYER, SLIDER, subject

SIZE = {"depth": 2, "width": 32, "heads": 2}
#: Settings beside an adapter's example, under which it is checked too.
OTHERWISE: list[tuple[str, dict[str, Any]]] = [
    ("ebt_text", {"variant": "s2", "step_size": 0.5}),
    ("ebt_text", {"step_conditioning": "adaln_zero", "projection": "embedding"}),
    ("ebt_text", {"update_space": "logits", "recompute": True}),
    ("ebt_text", {"between_steps": "unroll", "step_size": 2.0}),
    ("ebt_video", {"variant": "s2", "step_size": 30.0}),
    ("ebt_image", {"steps": 2, "between_steps": "unroll", "start": "noise"}),
]


def verdicts(of: Subject, **options: Any) -> dict[str, str]:
    return {
        finding.check.replace(" ", "_"): f"{finding.verdict}: {finding.reason}"
        for finding in examine(of, **options)
    }


def failures(of: Subject) -> dict[str, str]:
    found = verdicts(of, slow=True)
    return {name: said for name, said in found.items() if said.startswith("failed")}


@pytest.mark.parametrize(
    ("name", "settings"), [*((name, {}) for name in adapter_names()), *OTHERWISE]
)
def test_registered_adapters_keep_the_contract(name: str, settings: dict[str, Any]) -> None:
    record = adapter(name)
    example = {k: v for k, v in record.example.items() if k not in settings}
    config = record.config.model_validate(example | settings)
    found = verdicts(subject_of(record, config))
    assert not [f"{check} {said}" for check, said in found.items() if said.startswith("failed")]
    assert found["compiled"].startswith("skipped")


@pytest.mark.parametrize("record", [DESCENDER, REPLAYER, SLIDER, CLEANER], ids=lambda r: r.name)
def test_working_adapters_pass_every_check(record: AdapterRecord) -> None:
    assert failures(subject(record)) == {}


def test_what_is_not_offered_is_not_called_passed() -> None:
    def not_offered(record: AdapterRecord) -> set[str]:
        found = verdicts(subject(record), slow=True)
        return {name for name, said in found.items() if said.startswith("not offered")}

    assert not_offered(DESCENDER) == {"replay", "features"}
    assert not_offered(REPLAYER) == {"features"}
    assert not_offered(SLIDER) == {"descends", "decoder", "features", "replay", "compiled"}
    assert not_offered(CLEANER) == {"leakage", "descends", "decoder", "replay", "compiled"}
    hidden = perform(learning.descends, subject(DESCENDER, broken.HidesItsEnergies))
    assert hidden.verdict == "not offered"
    image = adapter("dit_image")
    found = perform(
        independence.leakage,
        subject_of(image, image.config.model_validate(image.example)),
    )
    assert (found.verdict, found.reason) == ("not offered", "an image has no later")


# --- each check can fail ---------------------------------------------------------------------


def more(formula: Any, factor: float = 1.03) -> Any:
    """A FLOP formula that says 3 % too much."""

    def said(*of: Any) -> FlopCount:
        count = formula(*of)
        return FlopCount(factor * count.total, factor * count.vocabulary)

    return said


def elsewhere(formula: Any) -> Any:
    """A formula that is right in total but counts nothing as vocabulary."""
    return lambda *of: FlopCount(formula(*of).total)


def plus(extra: int, own: int = 0) -> Any:
    """Parameters, `extra` more in total and `own` more outside the vocabulary."""

    def said(config: Any, shape: Any) -> ParameterCount:
        count = working.text_parameters(config, shape)
        return ParameterCount(count.total + extra, count.non_embedding + own)

    return said


IDLE = {"parameters": plus(3, 3)}
FAULTS: list[tuple[Check, AdapterRecord, type | None, dict[str, Any], str]] = [
    (contract.shapes, DESCENDER, broken.CountsMaskedTargets, {}, "valid targets"),
    (contract.shapes, DESCENDER, broken.MeanInMetrics, {}, "metric 'accuracy' is not"),
    (contract.shapes, DESCENDER, broken.Silent, {}, "never called on_state"),
    (contract.shapes, DESCENDER, broken.StateWithoutSamples, {}, "state's value has shape"),
    (contract.shapes, DESCENDER, broken.LastStateIsAnother, {}, "last state is not"),
    (contract.param_groups, DESCENDER, broken.ForgetsAlpha, {}, "not listed: alpha"),
    (contract.passes, DESCENDER, broken.CountsOnePass, {}, "NFE must be 2"),
    (contract.passes, DESCENDER, broken.ForgetsBackward, {}, "takes a backward pass"),
    (independence.leakage, DESCENDER, broken.SeesLaterTokens, {}, "another token"),
    (independence.leakage, DESCENDER, broken.TrainsOnLaterTokens, {}, "the training loss"),
    (independence.leakage, SLIDER, broken.SeesLaterFrames, {}, "another frame"),
    (independence.batch_size, DESCENDER, broken.SeesOtherRows, {}, "predicted otherwise"),
    (independence.batch_size, DESCENDER, broken.AveragesTheLoss, {}, "do not add up"),
    (independence.seeds, DESCENDER, broken.IgnoresNoise, {}, "another seed changes nothing"),
    (independence.memory, DESCENDER, broken.CountsPredictions, {}, "changes predictions"),
    (independence.randomness, DESCENDER, broken.DrawsGlobally, {}, "generator of torch"),
    (independence.randomness, DESCENDER, broken.ReadsTheGlobalSeed, {}, "global seed"),
    (independence.callers, DESCENDER, broken.NeedsAGraph, {}, "under torch.inference_mode"),
    (learning.gradients, DESCENDER, broken.HasAnIdleWeight, IDLE, "5 updates: idle"),
    (learning.overfits, DESCENDER, broken.Climbs, {}, "the loss stays above"),
    (learning.descends, DESCENDER, broken.StepsUphill, {}, "lower at 0%"),
    (learning.descends, DESCENDER, broken.DescendsFromElsewhere, {}, "starts elsewhere"),
    (counts.parameters, DESCENDER, None, {"parameters": plus(1)}, "the record counts"),
    (counts.parameters, DESCENDER, None, {"parameters": plus(0, 1)}, "outside vocabulary"),
    (counts.training_flops, DESCENDER, None, {"training_flops": more(working.text_training)}, "3"),
    (counts.training_flops, REPLAYER, None, {"training_flops": working.text_training}, "draws"),
    (counts.training_flops, REPLAYER, broken.SaysOneCost, {}, "steps of"),
    (
        counts.prediction_flops,
        DESCENDER,
        None,
        {"prediction_flops": elsewhere(working.text_prediction)},
        "vocabulary 70,272 a row",
    ),
    (
        counts.prediction_flops,
        DESCENDER,
        None,
        {"prediction_flops": more(working.text_prediction)},
        "total 73,728 a row",
    ),
    (capabilities.saving, DESCENDER, broken.KeepsAPlainTensor, {}, "not in the state dict"),
    (capabilities.bfloat16, DESCENDER, broken.ComparesInBfloat16, {}, "torch.bfloat16"),
    (capabilities.bfloat16, DESCENDER, broken.OverflowsInLowPrecision, {}, "not finite"),
    (
        capabilities.bfloat16,
        DESCENDER,
        broken.PredictsInfinityInLowPrecision,
        {},
        "predictions are not finite",
    ),
    (
        capabilities.bfloat16,
        DESCENDER,
        broken.PredictsOtherwiseInLowPrecision,
        {},
        "prediction: relative difference",
    ),
    (capabilities.decoder, DESCENDER, broken.ForgetsWhatItWasFed, {}, "after 6 tokens"),
    (capabilities.decoder, DESCENDER, broken.DecodesWithNoise, {}, "after 1 tokens"),
    (capabilities.decoder, DESCENDER, broken.DecodesTwice, {}, "logits have shape"),
    (capabilities.features, CLEANER, broken.FeaturesByPatch, {}, "(4, 1, 12) for 4 images"),
    (capabilities.features, CLEANER, broken.FeaturesWithAGraph, {}, "require a gradient"),
    (capabilities.features, CLEANER, broken.FeaturesOfAnEmptyImage, {}, "not finite"),
    (capabilities.features, CLEANER, broken.FeaturesOfTheBatch, {}, "rows [0] alone"),
    (capabilities.features, CLEANER, broken.FeaturesWithNoise, {}, "at the second call"),
    (capabilities.features, CLEANER, broken.FeaturesOfAnotherMode, {}, "torch.inference_mode"),
    (capabilities.replay, REPLAYER, None, {"replay_bytes": None}, "replay_bytes says None"),
    (capabilities.replay, REPLAYER, None, {"replay_bytes": lambda c, s: 9}, "replay_bytes says 9"),
    (capabilities.declares_features, CLEANER, None, {"features": False}, "has features of images"),
    (capabilities.declares_features, SLIDER, None, {"features": True}, "has no features of images"),
    (capabilities.declares_compile, DESCENDER, None, {"compiles": False}, "has compile_body"),
    (capabilities.compiled, DESCENDER, broken.CompilesToAnother, {}, "loss and gradients"),
]


@pytest.mark.parametrize(
    ("check", "record", "model", "changes", "reason"),
    FAULTS,
    ids=[f"{f[0].__name__}-{f[2].__name__ if f[2] else '-'.join(f[3])}" for f in FAULTS],
)
def test_one_fault_fails_one_check(
    check: Check, record: AdapterRecord, model: type | None, changes: dict[str, Any], reason: str
) -> None:
    found = failures(subject(record, model, **changes))
    assert list(found) == [check.__name__], found
    assert reason in found[check.__name__]


#: Faults that more than one check must notice.
@pytest.mark.parametrize(
    ("record", "model", "noticed", "reason"),
    [
        (DESCENDER, broken.OneEnergyARow, {"shapes"}, "the energy has shape (4,), not (4, 12)"),
        (DESCENDER, broken.Probabilities64, {"shapes"}, "torch.float64 for float32 weights"),
        (DESCENDER, broken.ListsTwice, {"param_groups"}, "listed twice: embed.weight"),
        (DESCENDER, broken.NegativeRate, {"param_groups"}, "multiplier nan"),
        (DESCENDER, broken.RemembersTheLastRow, {"memory"}, "another prediction the second time"),
        (DESCENDER, broken.TiresOfTraining, {"memory"}, "another loss the second time"),
        (DESCENDER, broken.CountsInstances, {"seeds"}, "a second instance"),
        (REPLAYER, broken.LosesItsReplay, {"replay", "memory"}, "1 steps after the state"),
    ],
)
def test_other_faults_are_named(
    record: AdapterRecord, model: type, noticed: set[str], reason: str
) -> None:
    found = failures(subject(record, model))
    assert noticed <= set(found)
    assert any(reason in said for said in found.values()), found


def test_every_check_has_an_adapter_that_fails_it() -> None:
    assert {fault[0] for fault in FAULTS} | {CHECKS[0]} == set(CHECKS)
    assert {check.__name__ for check in CHECKS} > SLOW


def test_what_cannot_be_built_is_the_only_finding() -> None:
    (only,) = examine(subject(DESCENDER, broken.CannotBeBuilt))
    assert (only.check, only.verdict) == ("builds", "failed")
    assert only.reason == "OSError: no such tokenizer file"
    not_an_adapter = perform(contract.shapes, subject(DESCENDER, broken.NoPredict))
    assert not_an_adapter.reason.startswith("not an nn.Module with training_loss")


class OnlyFloat32(working.Descender):
    """Computes in nothing else, as some kernels do."""

    def predict(self, batch, thinking, noise, on_state=None):
        if self.alpha.dtype != torch.float32:
            raise TypeError("float32 only")
        return super().predict(batch, thinking, noise, on_state)


def test_float64_is_used_where_offered_and_not_asked_for() -> None:
    assert subject(DESCENDER).dtype == torch.float64
    only = subject(DESCENDER, OnlyFloat32)
    assert only.dtype == torch.float32
    assert failures(only) == {}


# --- the subject -----------------------------------------------------------------------------


def test_rows_are_the_same_in_every_batch() -> None:
    for record in (DESCENDER, SLIDER, adapter("dit_image")):
        config = record.config.model_validate(record.example)
        of = subject_of(record, config)
        for make in (of.batch, of.given):
            whole, part = vars(make(0, 4)), vars(make(2, 2))
            for name, value in part.items():
                if isinstance(value, torch.Tensor):
                    first = 0 if name == "mask" else 2
                    assert torch.equal(value, whole[name][first : first + 2]), name


def test_shapes_fit_the_config() -> None:
    record = adapter("dit_image")
    config = record.config.model_validate(SIZE | {"patch_size": 7})
    shape = subject_of(record, config).shape
    assert isinstance(shape, ImageShape)
    assert (shape.height, shape.width) == (28, 28)
    with pytest.raises(ValueError, match="patch_size 9 does not divide"):
        subject_of(record, record.config.model_validate(SIZE | {"patch_size": 9}))
    assert isinstance(subject(SLIDER).shape, VideoShape)
    wide = subject_of(DESCENDER, working.Config(width=61))  # told apart from the vocabulary
    assert perform(counts.training_flops, wide).verdict == "passed"


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    list(examine(subject(DESCENDER)))
    drawn = torch.rand(()), np.random.random(), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    assert drawn == (torch.rand(()), np.random.random(), random.random())


def test_findings_repeat() -> None:
    assert list(examine(subject(REPLAYER))) == list(examine(subject(REPLAYER)))
