"""What results may not depend on: later tokens, other rows, callers, memory, global randomness."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.capabilities import Replays, VariesWork
from harness.conformance.outcome import Outcome, failed, not_offered, passed, within
from harness.conformance.subject import (
    NOISE,
    OTHER_NOISE,
    ROUNDING,
    ROWS,
    Recorded,
    Subject,
    difference,
    rows_of,
)
from harness.protocol import Prediction, TextBatch, TextShape, VideoBatch


def leakage(subject: Subject) -> Outcome:
    """What comes later changes no earlier prediction (text, video), and no earlier loss (text)."""
    if subject.record.modality == "image":
        return not_offered("an image has no later")
    model, dtype = subject.stirred(dtype=subject.dtype), subject.dtype
    batch: Any = subject.given(dtype=dtype)
    length = subject.shape.context  # type: ignore[union-attr]
    before, worst = subject.predict(model, batch), 0.0
    for cut in range(1, length + 1):
        after = subject.predict(model, _changed(subject, batch, cut))
        worst = max(worst, difference(after.value[:, :cut], before.value[:, :cut]))
        if before.energy is not None and after.energy is not None:
            worst = max(worst, difference(after.energy[:, :cut], before.energy[:, :cut]))
        if not worst <= subject.rounding / 100:
            what = "token" if isinstance(batch, TextBatch) else "frame"
            return failed(
                f"another {what} {cut} changes predictions made before it was seen "
                f"(relative difference {worst:.1e})"
            )
    if isinstance(batch, TextBatch):
        valid = torch.arange(length) < length // 2
        early = replace(batch, mask=valid.expand(ROWS, -1).clone())
        late = _changed(subject, early, length // 2 + 1)
        losses = [subject.loss(subject.stirred(dtype=dtype), each) for each in (early, late)]
        if not difference(*losses) <= subject.rounding / 100:
            return failed("tokens after the last valid target change the training loss")
    return passed(f"{length} cuts, largest relative difference {worst:.1e}")


def _changed(subject: Subject, batch: Any, cut: int) -> Any:
    """The batch with everything from position `cut` on replaced."""
    if isinstance(batch, TextBatch):
        assert isinstance(subject.shape, TextShape)
        tokens = batch.tokens.clone()
        tokens[:, cut:] = (tokens[:, cut:] + 7) % subject.shape.vocab_size
        return replace(batch, tokens=tokens)
    assert isinstance(batch, VideoBatch)
    frames = batch.frames.clone()
    frames[:, cut:] = -frames[:, cut:].flip(-1)
    return replace(batch, frames=frames)


def batch_size(subject: Subject) -> Outcome:
    """A row's prediction is the same alone and in any batch; losses add over micro-batches."""
    dtype = subject.dtype
    model = subject.stirred(dtype=dtype)
    batch = subject.given(dtype=dtype)
    whole = subject.predict(model, batch)
    worst = 0.0
    for rows in ([0], [ROWS - 1], [2, 0], list(reversed(range(ROWS)))):
        part = subject.predict(model, rows_of(batch, torch.tensor(rows)))
        worst = max(worst, difference(part.value, whole.value[rows]))
        if part.energy is not None and whole.energy is not None:
            worst = max(worst, difference(part.energy, whole.energy[rows]))
        if not worst <= subject.rounding:
            return failed(f"rows {rows} alone are predicted otherwise: {worst:.1e} relative")
    if not isinstance(model, Replays | VariesWork):
        train = subject.batch(dtype=dtype)
        parts = [subject.loss(model, rows_of(train, part)) for part in _halves()]
        gap = difference(torch.stack(parts).sum(), subject.loss(model, train))
        if not gap <= subject.rounding:
            return failed(f"losses of two micro-batches do not add up: {gap:.1e} relative")
    return within(worst, subject.rounding, f"{str(dtype).removeprefix('torch.')}")


def _halves() -> tuple[slice, slice]:
    return slice(0, 1), slice(1, ROWS)


def seeds(subject: Subject) -> Outcome:
    """Equal noise seeds give equal numbers, in another instance too; another seed others."""
    functions: dict[str, Callable[[Any, Any], Tensor]] = {
        "training_loss": lambda model, noise: subject.loss(model, noise=noise),
        "predict": lambda model, noise: subject.predict(model, noise=noise).value,
    }
    found = []
    for name, function in functions.items():
        recorded = Recorded(NOISE)
        first = function(subject.stirred(), recorded)
        again = function(subject.stirred(), NOISE)
        if not torch.equal(first, again):
            return failed(f"{name}: a second instance, equally built and seeded, gives others")
        other = function(subject.stirred(), OTHER_NOISE)
        if recorded.draws and torch.equal(first, other):
            return failed(f"{name} draws noise, yet another seed changes nothing")
        if not recorded.draws and not torch.equal(first, other):
            return failed(f"{name} draws no noise, yet another seed changes it")
        found.append(f"{name} draws {'noise' if recorded.draws else 'none'}")
    return passed("; ".join(found))


def memory(subject: Subject) -> Outcome:
    """Nothing is remembered from call to call, and predict changes no weight or buffer."""
    model = subject.stirred()
    if isinstance(model, Replays):
        for first in (0, ROWS):
            subject.loss(model, subject.batch(first))
    replay = kept(model)
    loss, value = subject.loss(model), subject.predict(model).value
    put_back(model, replay)
    if not torch.equal(subject.loss(model), loss):
        return failed("training_loss gives another loss the second time")
    before = {name: t.detach().clone() for name, t in model.state_dict().items()}
    model.eval()
    again = subject.predict(model).value
    subject.predict(model, subject.given(ROWS))
    changed = [n for n, t in model.state_dict().items() if not torch.equal(t, before[n])]
    if changed:
        return failed(f"predict changes {', '.join(changed[:5])}")
    if model.training:
        return failed("predict puts the adapter into training mode")
    if any(p.grad is not None for p in model.parameters()):
        return failed("predict or training_loss leaves gradients in .grad")
    if not torch.equal(again, value) or not torch.equal(subject.predict(model).value, value):
        return failed("predict gives another prediction the second time")
    return passed("equal when called again")


def kept(model: Any) -> Mapping[str, Tensor]:
    """A copy of the replay state; empty where there is none."""
    if not isinstance(model, Replays):
        return {}
    return {name: tensor.clone() for name, tensor in model.replay_state().items()}


def put_back(model: Any, state: Mapping[str, Tensor]) -> None:
    """Rewind an adapter that replays to a state `kept` before."""
    if state:
        model.load_replay_state({name: tensor.clone() for name, tensor in state.items()})


def randomness(subject: Subject) -> Outcome:
    """No global random generator (torch, NumPy, Python) is read or moved."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        model = subject.stirred()
        before = _generators()
        loss = subject.loss(model)
        loss.backward()  # type: ignore[no-untyped-call]
        results.append((loss, subject.predict(model).value))
        moved = [name for name, state in _generators().items() if state != before[name]]
        if moved:
            return failed(f"the global generator of {' and '.join(moved)} was drawn from")
    if not all(torch.equal(one, other) for one, other in zip(*results, strict=True)):
        return failed("results depend on the global seed")
    return passed("torch, NumPy and Python's generators untouched")


def _generators() -> dict[str, bytes]:
    numpy: Any = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "NumPy": numpy[1].tobytes() + repr(numpy[2:]).encode(),
        "Python": repr(random.getstate()).encode(),
    }


def callers(subject: Subject) -> Outcome:
    """predict and training_loss work, and give the same, under no_grad and inference_mode."""
    model = subject.stirred()
    expected, loss = subject.predict(model).value, float(subject.fresh_loss(model).detach())
    modes: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "no context": nullcontext,
        "torch.no_grad": torch.no_grad,
        "torch.inference_mode": torch.inference_mode,
    }
    for name, mode in modes.items():
        try:
            with mode():
                prediction: Prediction = subject.predict(model, subject.given())
        except Exception as error:
            return failed(f"under {name}: {type(error).__name__}: {error}")
        try:
            with mode():
                quiet = subject.fresh_loss(model)
        except Exception as error:
            return failed(f"training_loss under {name}: {type(error).__name__}: {error}")
        if not abs(float(quiet.detach()) - loss) <= ROUNDING[torch.float32] / 100 * abs(loss):
            return failed(f"training_loss under {name} is {float(quiet):g}, not {loss:g}")
        if prediction.value.requires_grad:
            return failed(f"under {name} the prediction requires a gradient")
        if not difference(prediction.value, expected) <= ROUNDING[torch.float32] / 100:
            return failed(f"under {name} the prediction is another one")
    try:
        subject.loss(model).backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return failed(f"no training step is possible after inference_mode: {error}")
    return passed(", ".join(modes))
