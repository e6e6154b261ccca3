"""What an adapter is saved to, computed in, and offers besides the contract's three methods."""

from __future__ import annotations

import io
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from harness.capabilities import Compiles, Features, Generates, Replays
from harness.conformance.independence import kept
from harness.conformance.outcome import Outcome, failed, not_offered, passed, within
from harness.conformance.subject import NOISE, ROWS, Recorded, Subject, difference, rows_of
from harness.protocol import ImageBatch, Prediction, State, TextBatch

#: Relative differences that bfloat16 may make: to the loss, and to this share of a prediction's
#: numbers. The rest may end elsewhere altogether, where steps are large enough to be chaotic.
BF16_LOSS, BF16_PREDICTION, BF16_SHARE = 0.1, 0.1, 0.8


def saving(subject: Subject) -> Outcome:
    """The state dict holds everything: loaded into another instance, it predicts the same."""
    model = subject.stirred()
    loss, value = subject.loss(subject.stirred()), subject.predict(model).value
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    stored = {
        "torch.save": torch.load(buffer, weights_only=True),
        "safetensors": load(save(model.state_dict())),
    }
    for name, state in stored.items():
        other = subject.stirred(seed=5)
        other.load_state_dict(state)
        if not torch.equal(subject.predict(other).value, value):
            return failed(f"through {name}, predictions differ: something is not in the state dict")
        if not torch.equal(subject.loss(other), loss):
            return failed(f"through {name}, the loss differs: something is not in the state dict")
    return passed(" and ".join(stored))


def bfloat16(subject: Subject) -> Outcome:
    """Under bfloat16 autocast all is finite and close to float32; energies stay float32."""
    model = subject.stirred()
    seen: list[State] = []
    loss, value = subject.loss(subject.stirred()), subject.predict(model).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = subject.loss(subject.stirred())
        prediction = subject.predict(model, on_state=seen.append)
    trained = subject.stirred()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = subject.loss(trained)
    output.backward()  # type: ignore[no-untyped-call]
    bad = [n for n, p in trained.named_parameters() if not _finite(p.grad)]
    if bad:
        return failed(f"gradients are not finite: {', '.join(bad[:5])}")
    energies = [*(state.energy for state in seen), prediction.energy]
    found = {energy.dtype for energy in energies if energy is not None} - {torch.float32}
    if found:
        return failed(f"energies are compared in {', '.join(map(str, found))}, not float32")
    if not all(_finite(value) for value in (prediction.value, *(state.value for state in seen))):
        return failed("predictions are not finite")
    gap = difference(low, loss)
    if not gap <= BF16_LOSS:
        return failed(f"loss: relative difference {gap:.1e}, allowed {BF16_LOSS}")
    return within(_typical(prediction.value, value), BF16_PREDICTION, "prediction")


def _finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(gradient.isfinite().all())


def _typical(found: Tensor, expected: Tensor) -> float:
    """Difference that most numbers keep to, over the root mean square of what is expected."""
    off = (found.double() - expected.double()).abs().flatten()
    most = off.sort().values[int(BF16_SHARE * (len(off) - 1))]
    return float(most / expected.double().square().mean().sqrt())


def _norm(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def decoder(subject: Subject) -> Outcome:
    """A decoder fed token by token predicts what one fed everything at once does, or `predict`."""
    model = subject.stirred(dtype=subject.dtype).eval()
    if not isinstance(model, Generates):
        return not_offered("no decoder, so it cannot generate")
    batch = subject.given(dtype=subject.dtype)
    assert isinstance(batch, TextBatch)
    recorded = Recorded(NOISE)
    full = subject.predict(model, batch, noise=recorded).value
    tokens, worst = batch.tokens[:, :-1], 0.0

    def fed(*pieces: Tensor) -> Tensor:
        fresh = model.decoder(batch.rows, subject.thinking, NOISE)
        prediction: Prediction | None = None
        with torch.no_grad():
            for piece in pieces:
                prediction = fresh.feed(piece)
        assert prediction is not None
        return prediction.value

    for length in (1, tokens.shape[1] // 2, tokens.shape[1]):
        seen = tokens[:, :length]
        at_once = fed(seen)
        if at_once.shape != (ROWS, full.shape[-1]):
            return failed(f"logits have shape {tuple(at_once.shape)}")
        cuts = (list(range(1, length)), [length // 3])  # token by token, and in two pieces
        for cut in cuts:
            pieces = [piece for piece in seen.tensor_split(cut, dim=1) if piece.shape[1]]
            worst = max(worst, difference(fed(*pieces), at_once))
        if not recorded.draws:  # else predict draws by row, a decoder by position
            worst = max(worst, difference(at_once, full[:, length - 1]))
        if not worst <= subject.rounding:
            return failed(f"after {length} tokens: relative difference {worst:.1e}")
    return passed(f"largest relative difference {worst:.1e}")


def features(subject: Subject) -> Outcome:
    """An image's features are finite numbers (B, D), its own alone, the same at each call."""
    model = subject.stirred(dtype=subject.dtype).eval()
    batch = subject.batch(dtype=subject.dtype)
    if not isinstance(model, Features) or not isinstance(batch, ImageBatch):
        return not_offered("no features, so no linear probe")
    found = model.features(batch)
    if not isinstance(found, Tensor):
        return failed(f"features gave a {type(found).__name__}, not a tensor")
    if found.dim() != 2 or len(found) != ROWS or not found.is_floating_point():
        return failed(f"features are {found.dtype} {tuple(found.shape)} for {ROWS} images")
    if not _finite(found):
        return failed("features are not finite")
    if found.requires_grad:
        return failed("features still require a gradient")
    if not torch.equal(model.features(batch), found):
        return failed("other features at the second call")
    with torch.inference_mode():
        inside = model.features(rows_of(batch, slice(None)))
    if not torch.equal(inside, found):
        return failed("other features under torch.inference_mode")
    worst = 0.0
    for rows in ([0], [ROWS - 1], [2, 0], list(reversed(range(ROWS)))):
        part = model.features(rows_of(batch, torch.tensor(rows)))
        worst = max(worst, difference(part, found[rows]))
        if not worst <= subject.rounding:
            return failed(f"rows {rows} alone have other features: {worst:.1e} relative")
    return passed(f"{found.shape[1]} numbers an image; largest relative difference {worst:.1e}")


def replay(subject: Subject) -> Outcome:
    """An adapter that replays goes on from its replay state as if never interrupted."""
    model = subject.stirred()
    if not isinstance(model, Replays):
        return not_offered("nothing is replayed")
    for index in range(3):
        subject.loss(model, subject.batch(index * ROWS), noise=NOISE.within(index))
    state = kept(model)
    if not state:
        return not_offered("replay is off in this config")
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    declared = subject.record.replay_bytes
    if declared is None or size > declared(subject.config, subject.shape):
        said = None if declared is None else declared(subject.config, subject.shape)
        return failed(f"the state holds {size:,} bytes; record.replay_bytes says {said}")
    other = subject.stirred()
    other.load_replay_state(load(save({name: t.contiguous() for name, t in state.items()})))
    for index in range(3, 6):
        batch, noise = subject.batch(index * ROWS), NOISE.within(index)
        ours, theirs = (subject.loss(each, batch, noise=noise) for each in (model, other))
        if not torch.equal(ours, theirs):
            return failed(f"the loss differs {index - 2} steps after the state was taken back")
    return passed(f"{size:,} bytes, the next 3 steps equal")


def declares_features(subject: Subject) -> Outcome:
    """record.features says whether there are features of images."""
    offered = subject.record.modality == "image" and isinstance(subject.build(), Features)
    return _declared("features", subject.record.features, "features of images", offered)


def declares_compile(subject: Subject) -> Outcome:
    """record.compiles says whether there is a compile_body."""
    offered = isinstance(subject.build(), Compiles)
    return _declared("compiles", subject.record.compiles, "compile_body", offered)


def _declared(field: str, said: bool, method: str, offered: bool) -> Outcome:
    if offered == said:
        return passed("declared and offered" if offered else "neither declared nor offered")
    has = "has" if offered else "has no"
    return failed(f"record.{field} is {said}, but the adapter {has} {method}")


def compiled(subject: Subject) -> Outcome:
    """Compiled, a training step has the same loss and gradients."""
    if not isinstance(subject.build(), Compiles):
        return not_offered("no compile_body")
    eager, model = subject.stirred(), subject.stirred()
    model.compile_body()
    worst = difference(subject.loss(model), subject.loss(eager))
    for each in (eager, model):
        subject.loss(each).backward()  # type: ignore[no-untyped-call]
    gradients = zip(_gradients(model), _gradients(eager), strict=True)
    worst = max([worst, *(_norm(one, other) for one, other in gradients)])
    return within(worst, 1e-2, "loss and gradients")


def _gradients(model: Any) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None and bool(p.grad.any())]
