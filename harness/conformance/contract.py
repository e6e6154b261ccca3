"""What comes out: types, shapes, parameter groups, counted passes."""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from harness.conformance.outcome import Outcome, failed, passed
from harness.conformance.subject import NOISE, ROWS, Subject
from harness.protocol import (
    Adapter,
    Descent,
    Diffusion,
    ParamGroup,
    Passes,
    Prediction,
    State,
    StepOutput,
    TextBatch,
    TextShape,
    VideoBatch,
    VideoShape,
)


def shapes(subject: Subject) -> Outcome:
    """training_loss, predict and its states have the contract's types, shapes and dtypes."""
    model = subject.stirred()
    if not isinstance(model, nn.Module) or not isinstance(model, Adapter):
        return failed("not an nn.Module with training_loss, predict and param_groups")
    seen: list[State] = []
    problem = (
        _wrong_loss(subject, model)
        or _wrong_prediction(subject, subject.predict(model, on_state=seen.append))
        or _wrong_states(subject, model, seen)
    )
    if problem:
        return failed(problem)
    return passed(f"{len(seen)} state{'s' * (len(seen) > 1)}, the last the prediction")


def _wrong_loss(subject: Subject, model: Any) -> str | None:
    batch = subject.batch()
    output = model.train().training_loss(batch, NOISE)
    if not isinstance(output, StepOutput):
        return f"training_loss gave a {type(output).__name__}, not a StepOutput"
    loss = output.loss_sum
    if not _is_number(loss) or not loss.requires_grad:
        return "loss_sum is not a finite scalar tensor with a gradient"
    counted = _counted(batch)
    if not isinstance(output.n, int) or output.n != counted:
        return f"n is {output.n!r}; the batch has {counted} valid targets"
    for name, pair in output.metrics.items():
        total, count = pair
        if not _is_number(total) or not isinstance(count, int):
            return f"metric {name!r} is not a (sum, count) of a finite scalar tensor and an int"
    return None


def _counted(batch: Any) -> int:
    """Valid tokens, predicted frames, or images."""
    if isinstance(batch, TextBatch):
        return int(batch.mask.sum())
    if isinstance(batch, VideoBatch):
        return len(batch.frames) * (batch.frames.shape[1] - 1)
    return ROWS


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and isfinite(float(value.detach()))


def _sizes(subject: Subject) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of a row's predictions: the value's sizes, and those of its energies."""
    shape = subject.shape
    if isinstance(shape, TextShape):
        return (shape.context, shape.vocab_size), (shape.context,)
    frame = (shape.channels, shape.height, shape.width)
    if isinstance(shape, VideoShape):
        return (shape.context, *frame), (shape.context,)
    return frame, ()


def _wrong_prediction(subject: Subject, prediction: Any) -> str | None:
    if not isinstance(prediction, Prediction):
        return f"predict gave a {type(prediction).__name__}, not a Prediction"
    value, energy = _sizes(subject)
    if not isinstance(prediction.passes, Passes):
        return f"passes is a {type(prediction.passes).__name__}, not Passes"
    if prediction.steps is not None and prediction.steps.shape != (ROWS, *energy):
        return f"steps are {tuple(prediction.steps.shape)}, not {(ROWS, *energy)}"
    return _wrong_tensor("the prediction", prediction.value, (ROWS, *value)) or (
        None
        if prediction.energy is None
        else _wrong_tensor("the energy", prediction.energy, (ROWS, *energy))
    )


def _wrong_tensor(what: str, found: Any, shape: tuple[int, ...]) -> str | None:
    if not isinstance(found, Tensor):
        return f"{what} is a {type(found).__name__}, not a tensor"
    if tuple(found.shape) != shape:
        return f"{what} has shape {tuple(found.shape)}, not {shape}"
    if found.dtype != torch.float32:
        return f"{what} is {found.dtype} for float32 weights"
    if found.requires_grad:
        return f"{what} still requires a gradient"
    return None if bool(found.isfinite().all()) else f"{what} is not finite"


def _wrong_states(subject: Subject, model: Any, seen: list[State]) -> str | None:
    if not seen:
        return "predict never called on_state"
    value, energy = _sizes(subject)
    for state in seen:
        if not isinstance(state, State):
            return f"on_state got a {type(state).__name__}, not a State"
        samples = len(state.samples)
        problem = _wrong_tensor("a state's value", state.value, (ROWS, samples, *value)) or (
            None
            if state.energy is None
            else _wrong_tensor("a state's energy", state.energy, (ROWS, samples, *energy))
        )
        if problem:
            return problem
    chosen = subject.predict(model).value
    last = [state for state in seen if state.step == max(s.step for s in seen)]
    if getattr(subject.thinking, "samples", 1) == 1 and not torch.equal(
        last[-1].value[:, 0], chosen
    ):
        return "the last state is not the prediction"
    return None


def passes(subject: Subject) -> Outcome:
    """The passes counted for a prediction are those its thinking asks for."""
    found, thinking = subject.predict(subject.stirred()).passes, subject.thinking
    text = f"{thinking.kind}: NFE {found.nfe:g}, forward {found.forward:g}, "
    text += f"backward {found.backward:g}"
    if not all(isfinite(x) and x >= 0 for x in (found.nfe, found.forward, found.backward)):
        return failed(f"{text}; all must be finite and not negative")
    if found.nfe < 1 or found.forward < found.nfe:
        return failed(f"{text}; every evaluation takes at least one forward pass")
    asked = None
    if isinstance(thinking, Descent):
        asked = thinking.steps * thinking.samples * thinking.recursions
    if isinstance(thinking, Diffusion):
        asked = thinking.steps * thinking.recursions
    if asked is not None and found.nfe != asked:
        return failed(f"{text}; NFE must be {asked}")
    if isinstance(thinking, Descent) and found.backward < found.nfe:
        return failed(f"{text}; every optimization step takes a backward pass to the input")
    return passed(text)


def param_groups(subject: Subject) -> Outcome:
    """param_groups lists every trainable parameter exactly once."""
    model = subject.build()
    groups = list(model.param_groups())
    if not all(isinstance(group, ParamGroup) for group in groups):
        return failed("an entry is not a ParamGroup")
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    listed = [id(p) for group in groups for p in group.params]
    missing = [name for key, name in names.items() if key not in listed]
    doubled = [name for key, name in names.items() if listed.count(key) > 1]
    strange = [key for key in listed if key not in names]
    problems = [
        f"not listed: {', '.join(missing)}" if missing else "",
        f"listed twice: {', '.join(doubled)}" if doubled else "",
        f"{len(strange)} listed that are not trainable parameters" if strange else "",
        *(
            f"group {group.name!r} has the learning-rate multiplier {group.lr_multiplier}"
            for group in groups
            if not (isfinite(group.lr_multiplier) and group.lr_multiplier > 0)
        ),
    ]
    problems = [problem for problem in problems if problem]
    if problems:
        return failed("; ".join(problems))
    return passed(f"{len(names)} parameters in {len(groups)} group{'s' * (len(groups) > 1)}")
