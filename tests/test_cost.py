"""Counted FLOPs against hand counts, through first and second order."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.cost import FlopCounter, peak_memory_bytes, reset_peak_memory, seconds_median

B, D, H = 3, 5, 7


def _two_layers() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(B, D, requires_grad=True)
    w1 = torch.randn(D, H, requires_grad=True)
    w2 = torch.randn(H, D, requires_grad=True)
    return x, w1, w2


def test_forward_and_backward_of_two_layers() -> None:
    x, w1, w2 = _two_layers()
    one = 2 * B * D * H
    with FlopCounter() as counter:
        ((x @ w1).tanh() @ w2).sum().backward()
    assert counter.total == 6 * one  # each product: forward, to its input, to its weight
    assert counter.vocabulary is None


def test_second_order_through_an_inner_gradient() -> None:
    x, w1, w2 = _two_layers()
    one = 2 * B * D * H
    with FlopCounter() as counter:
        energy = ((x @ w1).tanh() @ w2).pow(3).sum()
        (inner,) = torch.autograd.grad(energy, x, create_graph=True)
        assert counter.total == 4 * one  # forward and input gradients only
        inner.pow(2).sum().backward()
    assert counter.total == 12 * one  # 6 products per weight, as performance.md section 1 counts
    assert w1.grad is not None


@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_on_cpu_and_its_backward(causal: bool) -> None:
    q, k, v = (torch.randn(2, 3, 8, 4, requires_grad=True) for _ in range(3))
    product = 2 * 2 * 3 * 8 * 8 * 4
    with FlopCounter() as counter:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        assert counter.total == 2 * product
        out.sum().backward()
    assert counter.total == 7 * product


def test_explicit_attention_counts_the_same_forward() -> None:
    q, k, v = (torch.randn(2, 3, 8, 4) for _ in range(3))
    with FlopCounter() as counter:
        (q @ k.transpose(-1, -2)).softmax(-1) @ v
    assert counter.total == 2 * 2 * 2 * 3 * 8 * 8 * 4


def test_products_in_place_and_into_a_given_output() -> None:
    a, b, c = torch.randn(3, 4), torch.randn(4, 5), torch.randn(3, 5)
    with FlopCounter() as counter:
        c.addmm_(a, b)
        torch.mm(a, b, out=c)
        torch.addmm(c, a, b, out=torch.empty(3, 5))
        torch.randn(2, 3, 5).baddbmm_(a.expand(2, 3, 4), b.expand(2, 4, 5))
        torch.einsum("bsd,dv->bsv", a.expand(2, 3, 4), b)
        a.mv(b[:, 0])
    assert counter.total == 3 * 120 + 2 * 120 + 2 * 120 + 24


def test_convolution_is_counted() -> None:
    conv = nn.Conv2d(3, 6, 2, stride=2)
    with FlopCounter() as counter:
        conv(torch.randn(2, 3, 8, 8))
    assert counter.total == 2 * 2 * 16 * 6 * 3 * 4


def test_vocabulary_part_leaves_out_width_and_attention() -> None:
    vocab, width, length = 257, 16, 9
    tokens = torch.randn(2, length, width, requires_grad=True)
    inner, head = nn.Linear(width, width), nn.Linear(width, vocab)
    scores = torch.randn(2, length, vocab)  # as many keys as words
    with FlopCounter(vocab_size=vocab) as counter:
        head(inner(tokens)).sum().backward()
        scores @ torch.randn(2, vocab, width)
    rows = 2 * 2 * length * width
    assert counter.vocabulary == 3 * rows * vocab
    assert counter.total == counter.vocabulary + 3 * rows * width + rows * vocab


def test_an_operator_without_a_formula_is_refused() -> None:
    q = torch.randint(-5, 5, (32, 32), dtype=torch.int8)
    with pytest.raises(RuntimeError, match=r"_int_mm.*no FLOP formula"), FlopCounter():
        torch._int_mm(q, q)


def test_interpolation_and_conversion_are_not_taken_for_products() -> None:
    with FlopCounter() as counter:
        F.interpolate(torch.randn(1, 1, 4, 4), scale_factor=2, mode="bilinear").double()
    assert counter.total == 0


def test_inference_mode_is_refused_wherever_it_starts() -> None:
    linear, x = nn.Linear(4, 4), torch.randn(2, 4)
    with torch.inference_mode():
        with pytest.raises(RuntimeError, match="no_grad instead"), FlopCounter():
            linear(x)
        made_inside = torch.randn(1, 2, 8, 4)
    with (
        pytest.raises(RuntimeError, match="no_grad instead"),
        FlopCounter(),
        torch.inference_mode(),
    ):
        linear(x)
    with torch.no_grad(), FlopCounter() as counter:
        linear(x)
    assert counter.total == 2 * 2 * 4 * 4
    with pytest.raises(RuntimeError, match="made outside"), torch.no_grad(), FlopCounter():
        F.scaled_dot_product_attention(made_inside, made_inside, made_inside)


def test_seconds_median_ignores_an_outlier_and_peak_memory_is_of_the_process() -> None:
    pauses = iter([0.2, 0.0, 0.0])
    assert seconds_median(lambda: time.sleep(next(pauses)), 3, "cpu", warmup=0) < 0.1
    with pytest.raises(ValueError, match="repeats"):
        seconds_median(lambda: None, 0, "cpu")
    reset_peak_memory("cpu")
    assert peak_memory_bytes("cpu") > 50 * 2**20  # torch alone is larger
