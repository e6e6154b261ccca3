"""The energy evaluation: numbers worked out row by row, counterparts, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from harness.data.datasets import load_clips, load_documents
from harness.data.text import TextRows, prepare_text
from harness.data.tokenizer import ByteTokenizer
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.energy import ENERGIES, EXAMPLES, evaluate_energy
from harness.evals.subjects import CONTENTS, other_tokens, pieces, subject_of
from harness.evals.trace import Trace
from harness.planning.eval_spec import EnergyEval
from harness.planning.shapes import shape_of
from harness.protocol import Descent, TextBatch, VideoBatch
from harness.records import Measurement, read_json
from harness.registry import adapter as find_adapter
from tests.training.tiny import CORPUS, CPU, build, spec_of

pytestmark = pytest.mark.usefixtures("corpus")
DIGITS = "builtin/moving-digits"
THINKING = Descent(steps=4)


def context_of(name: str, cache: Path, **changes: Any) -> EvalContext:
    spec = spec_of(name, **changes)
    record = find_adapter(name)
    adapter = build(spec)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, weight in adapter.named_parameters():
            if "alpha" not in key:
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    config = record.config.model_validate(spec.config)
    return EvalContext(adapter, record, config, shape_of(spec.task), spec, CPU, cache)


def evaluation(data: str = CORPUS, **changes: Any) -> EnergyEval:
    given: dict[str, Any] = {"split": "validation", "limit": 12, "thinking": THINKING}
    return EnergyEval(data=data, **(given | changes))


def stored(folder: Path) -> dict[str, NDArray[Any]]:
    with np.load(folder / ENERGIES) as found:
        return dict(found)


def value(found: list[Measurement], name: str, **tags: Any) -> float | None:
    chosen = [m for m in found if m.name == name and tags.items() <= m.tags.items()]
    assert len(chosen) == 1, (name, tags)
    return chosen[0].value


@pytest.mark.parametrize("samples", [1, 3])
def test_energies_and_losses_are_those_of_rows_predicted_alone(
    samples: int, tmp_path: Path
) -> None:
    context = context_of("ebt_text", tmp_path)
    thinking = Descent(steps=3, samples=samples)
    spec = evaluation(thinking=thinking, noise_seeds=(0, 5), batch_size=5)
    found = evaluate_energy(spec, context, tmp_path / "out")
    arrays = stored(tmp_path / "out")
    shards = prepare_text(CORPUS, "validation", tokenizer="bytes", cache=tmp_path)
    rows = TextRows(shards, context=16)
    energy, loss = np.zeros((4, len(shards))), np.zeros((4, len(shards)))
    final: list[float] = []
    nats: list[float] = []
    for row in range(12):
        tokens, mask = (torch.from_numpy(a) for a in rows.get(np.array([row])))
        batch = TextBatch(tokens, mask, torch.tensor([row]))
        trace = Trace(positions=slice(None))
        noise = context.noise(5, f"{CORPUS}/validation")
        context.adapter.predict(batch, thinking, noise, trace)
        owners = rows.target_documents(np.array([row]))[0]
        for place in np.flatnonzero(mask[0]):
            of_samples = trace.energies[:, :, 0, place]
            best = int(of_samples[-1].argmin())
            chances = trace.values[:, best, 0, place].double().log_softmax(-1)
            own = -chances[:, tokens[0, place + 1]]
            energy[:, owners[place]] += of_samples[:, best].numpy()
            loss[:, owners[place]] += own.numpy()
            final.append(float(of_samples[-1, best]))
            nats.append(float(own[-1]))
    np.testing.assert_allclose(arrays["energy"][1, 0], energy, rtol=1e-5)
    np.testing.assert_allclose(arrays["loss"][1, 0], loss, rtol=1e-5)
    assert arrays["n"].sum() == len(final)
    np.testing.assert_allclose(arrays["kept_energy"][1, 0], final, rtol=1e-5)
    one = [m for m in found if m.noise_seed == 5]
    mean = value(one, "energy", content="real", optimization_step=3)
    assert mean == pytest.approx(np.mean(final), rel=1e-5)
    assert value(one, "loss", content="real", optimization_step=3) == pytest.approx(
        np.mean(nats), rel=1e-5
    )
    correlation = value(one, "energy_loss_rank_correlation", content="real")
    assert correlation == pytest.approx(spearmanr(final, nats).statistic, abs=1e-3)
    drop = value(one, "energy_drop", content="real")
    assert drop == pytest.approx((energy[0] - energy[-1]).sum() / len(final), rel=1e-4)


def test_batches_change_nothing_and_statistics_are_sklearns(tmp_path: Path) -> None:
    context = context_of("ebt_text", tmp_path)
    texts = ("learn the noise of a token", "é")
    found = {}
    for size in (2, 7):
        spec = evaluation(batch_size=size, texts=texts)
        found[size] = evaluate_energy(spec, context, tmp_path / str(size))
    first, second = stored(tmp_path / "2"), stored(tmp_path / "7")
    for name, array in first.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(array, second[name], rtol=2e-5, atol=2e-5, err_msg=name)
        else:
            assert np.array_equal(array, second[name])
    assert (tmp_path / "2" / EXAMPLES).read_text() == (tmp_path / "7" / EXAMPLES).read_text()
    real, _, random = first["kept_energy"][0]
    labels = np.repeat([0, 1], len(real))
    area = roc_auc_score(labels, np.concatenate([real, random]))
    assert value(found[2], "energy_auroc", content="random") == pytest.approx(area)
    cost = found[2][0].cost
    record, config = context.record, context.config
    formula = record.prediction_flops(config, context.shape, THINKING).total / 16
    assert cost["flops"] == pytest.approx(formula, rel=0.01)
    assert cost["nfe"] == 4
    assert {m.n for m in found[2] if m.name == "energy"} == {int(first["n"].sum())}


def test_counterparts_are_keyed_by_row_and_noise_seed(tmp_path: Path) -> None:
    context = context_of("ebt_text", tmp_path)
    subject = subject_of(evaluation(limit=None), context)
    (rows,) = list(subject.batches(100))
    batch = rows.batch
    for content in CONTENTS[1:]:
        other = subject.counterpart(batch, content, 0)
        assert torch.equal(other.tokens, subject.counterpart(batch, content, 0).tokens)
        assert not torch.equal(other.tokens, subject.counterpart(batch, content, 1).tokens)
        alone = TextBatch(batch.tokens[3:4], batch.mask[3:4], batch.rows[3:4])
        assert torch.equal(subject.counterpart(alone, content, 0).tokens, other.tokens[3:4])
        assert torch.equal(other.mask, batch.mask)
        # The last row is shorter: what is past its end stays end of text.
        inside = int(batch.mask[-1].sum()) + 1
        assert inside < 17
        assert (other.tokens[-1, inside:] == 256).all()
        for own, changed in zip(batch.tokens, other.tokens, strict=True):
            if content == "shuffled":
                assert torch.equal(own.sort().values, changed.sort().values)
            else:
                assert not torch.equal(own.sort().values, changed.sort().values)


def test_random_tokens_are_uniform_over_the_vocabulary() -> None:
    drawn = other_tokens(np.zeros(40_000, np.int64), "random", 40, ("key",))
    counts = np.bincount(drawn, minlength=40)
    assert len(counts) == 40
    assert ((counts - 1000) ** 2 / 1000).sum() < 75  # chi-squared, 39 degrees: p = 0.0005


def test_texts_are_kept_whole_in_windows_of_the_context(tmp_path: Path) -> None:
    context = context_of("ebt_text", tmp_path)
    text = "a token learnt twice: é!"
    spec = evaluation(texts=(text,), noise_seeds=(0, 1))
    evaluate_energy(spec, context, tmp_path / "out")
    examples = read_json(tmp_path / "out" / EXAMPLES)["examples"]
    assert [e["content"] for e in examples] == list(CONTENTS)
    real = examples[0]
    size = len(text.encode())
    assert "".join(real["pieces"]) == text
    assert real["windows"] == [place // 16 for place in range(size)]
    assert np.shape(real["energies"]) == (2, 5, size)
    assert real["in_training"] is False
    # The second window is a row that starts with the token before its first target.
    ids = torch.tensor([256, *text.encode()])
    tokens = torch.full((1, 17), 256)
    tokens[0, : len(ids) - 16] = ids[16:]
    batch = TextBatch(tokens, torch.ones(1, 16, dtype=torch.bool), torch.tensor([1]))
    trace = Trace()
    context.adapter.predict(batch, THINKING, context.noise(1, f"text/{text}"), trace)
    expected = trace.energies[:, 0, 0, : size - 16]
    np.testing.assert_allclose(np.array(real["energies"])[1][:, 16:], expected, rtol=1e-5)


def test_a_text_of_the_training_set_is_said_to_be_one(tmp_path: Path) -> None:
    context = context_of("ebt_text", tmp_path)
    seen = load_documents(CORPUS, "train").texts[0].decode()
    evaluate_energy(evaluation(texts=("unseen words", seen)), context, tmp_path / "out")
    examples = read_json(tmp_path / "out" / EXAMPLES)["examples"]
    assert [e["in_training"] for e in examples] == [False, None, None, True, None, None]


def test_one_token_before_which_nothing_stands_is_refused(tmp_path: Path) -> None:
    context = context_of("ebt_text", tmp_path, task={"rows": "first_window"})
    with pytest.raises(HarnessError, match="nothing to predict"):
        evaluate_energy(evaluation(texts=("a",)), context, tmp_path)


def test_pieces_are_characters_and_hex_where_bytes_are_no_text() -> None:
    tokens = np.array([*"né".encode(), 0xC3, 256, 0xA9, *"€".encode(), 0xE2, 0x82])
    expected = ("n", "é", "", "c3", "<|endoftext|>", "a9", "€", "", "", "e2", "82")
    assert pieces(ByteTokenizer(), tokens) == expected


def test_clips_energies_are_those_of_rows_predicted_alone(tmp_path: Path) -> None:
    context = context_of("ebt_video", tmp_path)
    spec = evaluation(DIGITS, limit=8, batch_size=3)
    found = evaluate_energy(spec, context, tmp_path / "out")
    arrays = stored(tmp_path / "out")
    clips = load_clips(DIGITS, "validation").pixels
    final, errors, documents = [], [], []
    for row in range(8):
        clip, window = divmod(row, 3)
        frames = torch.from_numpy(clips[clip, window * 4 : window * 4 + 5][None].copy())
        trace = Trace(positions=slice(None))
        noise = context.noise(0, f"{DIGITS}/validation")
        batch = VideoBatch(frames, torch.tensor([row]))
        context.adapter.predict(batch, THINKING, noise, trace)
        gap = (trace.values[-1, 0, 0] - frames[0, 1:]).abs().double().numpy()
        smooth = np.where(gap < 1, gap**2 / 2, gap - 0.5).mean((1, 2, 3))
        final += trace.energies[-1, 0, 0].tolist()
        errors += smooth.tolist()
        documents += [clip] * 4
    np.testing.assert_allclose(arrays["kept_energy"][0, 0], final, rtol=1e-5)
    np.testing.assert_allclose(arrays["kept_loss"][0, 0], errors, rtol=1e-4)
    assert arrays["kept_document"].tolist() == documents
    assert "kept_entropy" not in arrays
    correlation = value(found, "energy_loss_rank_correlation", content="real")
    assert correlation == pytest.approx(spearmanr(final, errors).statistic, abs=1e-6)
    examples = json.loads((tmp_path / "out" / EXAMPLES).read_text())["examples"]
    assert [e["name"] for e in examples[::3]] == ["clip 1", "clip 2", "clip 3"]
    assert examples[0]["pieces"] == [str(frame) for frame in range(2, 14)]
    np.testing.assert_allclose(np.array(examples[0]["energies"])[0, -1, :4], final[:4], rtol=1e-5)
    subject = subject_of(spec, context)
    rows = next(subject.batches(3)).batch
    shuffled = subject.counterpart(rows, "shuffled", 0).frames
    random = subject.counterpart(rows, "random", 0).frames
    assert sorted(f.sum().item() for f in shuffled[1]) == sorted(
        f.sum().item() for f in rows.frames[1]
    )
    assert not torch.equal(shuffled, rows.frames)
    assert random.std() == pytest.approx(2 / 12**0.5, rel=0.05)  # uniform over [-1, 1]


def test_an_adapter_without_energy_is_refused(tmp_path: Path) -> None:
    context = context_of("ebt_text", tmp_path)
    predict = context.adapter.predict

    def without(batch: Any, thinking: Any, noise: Any, on_state: Any = None) -> Any:
        return predict(batch, thinking, noise, lambda state: on_state(replace(state, energy=None)))

    context.adapter.predict = without  # type: ignore[method-assign]
    with pytest.raises(HarnessError, match="gives no energy"):
        evaluate_energy(evaluation(), context, tmp_path / "out")
    assert not (tmp_path / "out").exists()
