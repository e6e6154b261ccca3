"""Decoders beside predictions made at once: long, in pieces, in other modes and precisions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.adapters import descending
from baselines.key_values import KeyValues
from baselines.observed_stream import ObservedStream
from harness.cost import FlopCounter
from harness.protocol import Descent, Single
from tests.baselines.tiny_streams import NOISE
from tests.baselines.tiny_text import BATCH, VOCAB, batch, ebt, transformer

LONG = 300


def fed(model: Any, tokens: Tensor, thinking: Any, sizes: list[int]) -> Tensor:
    """The last prediction after `tokens`, fed in pieces of `sizes`."""
    decoder = model.decoder(torch.arange(len(tokens)), thinking, NOISE)
    for piece in tokens.split(sizes, dim=1):
        found = decoder.feed(piece).value
    return found


@pytest.mark.parametrize("name", ["transformer", "s1", "adaln"])
def test_caches_and_rotations_grow(name: str) -> None:
    """Past the room that caches and tables of rotations start with, token by token."""
    settings: dict[str, Any] = {"step_conditioning": "adaln"} if name == "adaln" else {}
    model: Any = transformer() if name == "transformer" else ebt(**settings)
    thinking = Single() if name == "transformer" else Descent(steps=2, samples=2)
    tokens = torch.randint(VOCAB, (2, LONG), generator=torch.Generator().manual_seed(7))
    at_once = fed(model, tokens, thinking, [LONG])
    torch.testing.assert_close(fed(model, tokens, thinking, [1] * LONG), at_once)


@pytest.mark.parametrize("conditioning", ["time_embed", "adaln", "adaln_zero"])
def test_landscapes_side_by_side_are_those_one_by_one(conditioning: str) -> None:
    network = ebt(step_conditioning=conditioning, landscapes=3, steps=3).network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        tokens = batch().tokens
        stream = ObservedStream(network, [0, 1, 2, 2], spare=2)
        for piece in tokens.split([4, 1, tokens.shape[1] - 5], dim=1):
            found = stream.extend(network.embed(piece))
        for landscape, context in found.items():
            alone = network.context(tokens, landscape)
            torch.testing.assert_close(context.head, alone.head)
            torch.testing.assert_close(context.layers, alone.layers)
            keys = alone.observed[0].key.shape[1] - 1
            for one, other in zip(context.observed, alone.observed, strict=True):
                torch.testing.assert_close(one.key[:, :keys], other.key[:, :keys])
                torch.testing.assert_close(one.value[:, :keys], other.value[:, :keys])


@pytest.mark.parametrize(
    "thinking",
    [
        Descent(steps=2, samples=5),
        Descent(steps=6, samples=5, tolerance=1e-3),
        Descent(steps=3, samples=5, accept="lower", noise="every", noise_std=0.1),
    ],
)
def test_samples_in_chunks_decode_the_same(
    thinking: Descent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer rows than there is room for: in a last chunk, and where some have stopped."""
    model, tokens = ebt(), batch().tokens
    together = fed(model, tokens, thinking, [4, 6])
    monkeypatch.setattr(descending, "CHUNK_NUMBERS", 2 * BATCH * VOCAB)
    torch.testing.assert_close(fed(model, tokens, thinking, [4, 6]), together)
    alone = [fed(model, tokens[:1], thinking, [4, 6])]
    torch.testing.assert_close(alone[0], together[:1])


@pytest.mark.parametrize("name", ["transformer", "ebt"])
def test_decoding_goes_on_while_flops_are_counted_and_after(name: str) -> None:
    model: Any = transformer() if name == "transformer" else ebt()
    thinking = Single() if name == "transformer" else Descent(steps=2, samples=2)
    tokens = batch().tokens
    decoder = model.decoder(torch.arange(BATCH), thinking, NOISE)
    decoder.feed(tokens[:, :3])
    with torch.no_grad(), FlopCounter(vocab_size=VOCAB) as counter:
        decoder.feed(tokens[:, 3:4])
    assert counter.vocabulary
    last = decoder.feed(tokens[:, 4:])
    assert not last.value.is_inference()
    torch.testing.assert_close(last.value, fed(model, tokens, thinking, [tokens.shape[1]]))


@pytest.mark.parametrize("name", ["transformer", "ebt"])
def test_a_decoder_keeps_the_precision_that_it_was_first_fed_in(name: str) -> None:
    model: Any = transformer(torch.float32) if name == "transformer" else ebt(torch.float32)
    thinking = Single() if name == "transformer" else Descent(steps=2, samples=2)
    tokens = batch().tokens
    decoder = model.decoder(torch.arange(BATCH), thinking, NOISE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoder.feed(tokens[:, :3])
        assert decoder.feed(tokens[:, 3:4]).value.isfinite().all()
    with pytest.raises(ValueError, match="one precision"):
        decoder.feed(tokens[:, 4:5])


@pytest.mark.parametrize("name", ["transformer", "ebt"])
def test_a_decoder_is_fed_as_many_sequences_as_at_first(name: str) -> None:
    """One key would fit a memory of many, by broadcasting."""
    model: Any = transformer() if name == "transformer" else ebt()
    thinking = Single() if name == "transformer" else Descent(steps=2, samples=2)
    tokens = batch().tokens
    decoder = model.decoder(torch.arange(BATCH), thinking, NOISE)
    decoder.feed(tokens[:, :3])
    with pytest.raises(ValueError, match="as many sequences as at first"):
        decoder.feed(tokens[:1, 3:4])
    expected = fed(model, tokens[:, :4], thinking, [4])
    torch.testing.assert_close(decoder.feed(tokens[:, 3:4]).value, expected)


def test_modulations_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a context, for the weights beside it, and for all tokens that are decoded."""
    model, made = ebt(step_conditioning="adaln"), []
    real = type(model.network).modulations_of

    def counted(network: Any, landscape: int) -> Any:
        made.append(landscape)
        return real(network, landscape)

    monkeypatch.setattr(type(model.network), "modulations_of", counted)
    model.network.context(batch().tokens, 0)
    assert made == [0]
    made.clear()
    fed(model, batch().tokens, Descent(steps=2), [4, 3, 3])
    assert made == [0, 1]


def test_float64_stays_float64_under_autocast() -> None:
    model, of = ebt(), batch()
    expected = model.predict(of, Descent(steps=2), NOISE).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model.predict(of, Descent(steps=2), NOISE).value, expected)


def test_a_frozen_embedding_table_trains_the_rest() -> None:
    model, of = ebt(), batch()
    model.network.embed.weight.requires_grad_(False)
    model.training_loss(of, NOISE).loss_sum.backward()
    assert model.network.embed.weight.grad is None
    assert model.network.layers[0].attention.wq.weight.grad is not None


def test_keys_have_room_for_others_and_keep_what_they_had() -> None:
    own, everything = KeyValues(spare=7), torch.randn(2, 1, 2, 400, 4)
    for start in range(0, 400, 50):
        key, value = everything[:, :, :, start : start + 50]
        keys, values = own.append(key, value)
        assert own.held is not None
        assert own.held.shape[3] >= own.length + 7
        torch.testing.assert_close(torch.stack([keys, values]), everything[..., : start + 50, :])


def test_rows_may_differ_in_which_samples_have_stopped() -> None:
    """One row of the batch has no moving sample left while another still thinks."""
    model, of = ebt(), batch()
    for tolerance in (0.01, 0.05, 0.2):
        thinking = Descent(steps=8, samples=3, tolerance=tolerance)
        together = fed(model, of.tokens, thinking, [of.tokens.shape[1]])
        for row in range(BATCH):
            decoder = model.decoder(torch.tensor([row]), thinking, NOISE)
            own = decoder.feed(of.tokens[row : row + 1]).value
            torch.testing.assert_close(own, together[row : row + 1])
