"""The autoregressive energy network (paper section 2, "Text" and "Video"), in two-stream form.

The textbook form runs S observed and S predicted states as one sequence of 2S states. Here the
observed stream is run once per landscape (`Context`) and kept as keys and values; the prediction
stream reads them. The numbers are the same, and what differs is the cost: observed states never
depend on a prediction, so optimization steps of a landscape and samples share them, and the inner
gradient is taken with respect to the D-wide projected prediction alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from baselines import autoregressive
from baselines.autoregressive import AutoregressiveDescent, query_blocks
from baselines.blocks import Block, Modulation, RMSNorm, init_weights
from baselines.bodies import EAGER, compiled_bodies
from baselines.energy_slope import Stream, differentiable_slope, energies
from baselines.key_values import KeyValues
from baselines.modes import without_autocast
from baselines.rotary import at_least_float32, rotary_span, rotary_turns
from baselines.sizes import MIN_STEP_SIZE
from baselines.spot_attention import Spot, own_only
from baselines.stream_attention import Observed, Rows, View
from baselines.stream_layers import Layer, as_type
from baselines.text_settings import EBTTextConfig
from baselines.vocabulary import add_scores


class Weights(NamedTuple):
    """The prediction stream's weights under one landscape.

    `offset` () is what a modulated final norm adds to every energy.
    """

    layers: list[Layer]
    head: Tensor
    offset: Tensor | None


class Modulations(NamedTuple):
    """Each block's modulation, and the final norm's (shift, scale) (D,), under one landscape."""

    blocks: Sequence[Modulation | None]
    final: tuple[Tensor, Tensor] | None


class Context(NamedTuple):
    """Everything but the predictions, under one landscape: `Weights`, observed keys and values."""

    layers: list[Layer]
    head: Tensor
    offset: Tensor | None
    observed: list[Observed]


class EnergyTransformer(nn.Module):
    """Energies of predictions beside their observed context: what text and video share.

    Beside the blocks of Transformer++: `energy` (D to 1), one `step_embed` row per landscape or
    adaLN modulations of it, and the step size `alpha`.
    """

    def __init__(self, config: AutoregressiveDescent) -> None:
        super().__init__()
        self.config = config
        width = config.width
        if config.step_conditioning != "none":
            self.step_embed = nn.Embedding(config.landscapes, width)
        self.layers = nn.ModuleList(Block(config, config.norm_eps) for _ in range(config.depth))
        self.norm = RMSNorm(width, config.norm_eps)
        self.energy = nn.Linear(width, 1, bias=False)
        if self.modulated:
            self.modulations = nn.ModuleList(nn.Linear(width, 6 * width) for _ in self.layers)
            self.final_modulation = nn.Linear(width, 2 * width)
        alpha = torch.tensor(float(config.step_size))
        self.alpha = nn.Parameter(alpha, requires_grad=config.step_size_learned)
        self.bodies = self.training_bodies = EAGER

    def initialise(self) -> None:
        """Embeddings N(0, 1), linears Xavier-normal; adaln_zero starts at zero modulation, head."""
        init_weights(self)
        if not self.modulated:
            return
        for linear in (*self.modulations, self.final_modulation):
            nn.init.zeros_(linear.bias)
            if self.config.step_conditioning == "adaln_zero":
                nn.init.zeros_(linear.weight)
        if self.config.step_conditioning == "adaln_zero":
            nn.init.zeros_(self.energy.weight)

    @property
    def modulated(self) -> bool:
        return self.config.step_conditioning in ("adaln", "adaln_zero")

    @property
    def prefix(self) -> int:
        """Observed states before the first one given: the step embedding, if it is a state."""
        return int(self.config.step_conditioning == "time_embed")

    @property
    def dtype(self) -> torch.dtype:
        return self.energy.weight.dtype

    def step_size(self) -> Tensor:
        """The step size (), clamped to at least 1e-4."""
        return self.alpha.clamp(min=MIN_STEP_SIZE)

    def compile_body(self) -> None:
        """Compile what training steps run: predictions have many shapes, and stay eager."""
        self.training_bodies = compiled_bodies(self.config.depth)

    @contextmanager
    def training_step(self) -> Iterator[None]:
        """Inside, what is compiled does the work: training has few shapes, predictions many."""
        before, self.bodies = self.bodies, self.training_bodies
        try:
            yield
        finally:
            self.bodies = before

    # --- the observed stream -----------------------------------------------------------------

    def run_context(self, x: Tensor, landscape: int) -> Context:
        """The context of embedded observed states `x` (B, S, D) under one landscape."""
        own = self.modulations_of(landscape)
        weights, pairs = self.weights(own), self.observe_rows(x, [landscape], own.blocks)
        padded = [Observed(*(pad(t.flatten(0, 1), (0, 0, 0, 1)) for t in pair)) for pair in pairs]
        return Context(*weights, padded)

    def observe_rows(
        self,
        x: Tensor,
        landscapes: Sequence[int],
        modulations: Sequence[Modulation | None],
        past: Sequence[KeyValues] | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values (K * B, H, T, D / H) of `x` (B, S, D) under K landscapes.

        T = S, or S + 1 with the step embedding at position 0. The last layer stops at its keys and
        values: nothing reads its output. `past`, a layer each, is continued.
        """
        start = 0 if past is None else past[0].length
        x = x.repeat(len(landscapes), 1, 1) if len(landscapes) > 1 else x
        if self.prefix and start == 0:
            step = self.step_embed.weight[list(landscapes)]
            step = step.repeat_interleave(len(x) // len(landscapes), dim=0)
            x = torch.cat([step.type_as(x)[:, None], x], dim=1)  # (K * B, T, D)
        _, head_dim, theta, _ = self._view_key
        span = range(start, start + x.shape[1])
        turns = rotary_span(span, head_dim, theta, x.device, self.dtype)
        pairs = []
        for index, (block, modulation) in enumerate(zip(self.layers, modulations, strict=True)):
            own, last = None if past is None else past[index], index + 1 == len(self.layers)
            x, key, value = self.bodies.observe(block, x, turns, modulation, own, stop=last)
            pairs.append((key, value))
        return pairs

    def weights(self, own: Modulations) -> Weights:
        """What the prediction stream multiplies by, under one landscape."""
        dtype = self.compute_dtype()
        layers = [
            block.folded(modulation, dtype)
            for block, modulation in zip(self.layers, own.blocks, strict=True)
        ]
        energy = at_least_float32(self.energy.weight[0])
        head, offset = at_least_float32(self.norm.weight) * energy, None
        if own.final is not None:
            shift, scale = own.final
            with without_autocast(energy.device.type):
                head, offset = head * (1 + scale), shift @ energy
        return Weights(layers, head, offset)

    def modulations_of(self, landscape: int) -> Modulations:
        """What adaLN does under one landscape, if anything."""
        if not self.modulated:
            return Modulations([None] * len(self.layers), None)
        with without_autocast(self.energy.weight.device.type):
            condition = nn.functional.silu(self.step_embed.weight[landscape])  # (D,)
            blocks = [Modulation(*linear(condition).chunk(6)) for linear in self.modulations]
            shift, scale = self.final_modulation(condition).chunk(2)
        return Modulations(blocks, (shift, scale))

    # --- the prediction stream ---------------------------------------------------------------

    def energies(self, projected: Tensor, context: Context, view: View | Spot) -> Tensor:
        """Energy (B, R) of `projected` predictions (B, R, D) at the places of `view`."""
        with without_autocast(projected.device.type):
            found = energies(self.stream(context, view), projected)
        return found if context.offset is None else found + context.offset

    def slope(
        self, projected: Tensor, context: Context, view: View | Spot
    ) -> tuple[Tensor, Tensor]:
        """Energy and its slope (B, R, D), without a graph."""
        with torch.no_grad(), without_autocast(projected.device.type):
            stream = self.stream(context, view)
            energy, slope, _ = self.bodies.halves.slope(stream, projected.detach(), keep=False)
            return energy if context.offset is None else energy + context.offset, slope

    def differentiable_slope(
        self, projected: Tensor, context: Context, view: View
    ) -> tuple[Tensor, Tensor]:
        """Energy, detached, and its slope (B, R, D), differentiable in everything once."""
        stream = self.stream(context, view)
        energy, slope = differentiable_slope(stream, projected, self.bodies.halves)
        return energy if context.offset is None else energy + context.offset.detach(), slope

    def stream(self, context: Context, view: View | Spot) -> Stream:
        """The prediction stream in one context."""
        return Stream(
            context.layers,
            context.observed,
            context.head,
            view,
            self.bodies.passes,
            self.config.recompute,
        )

    def view(self, length: int, samples: int = 1) -> View:
        """Rows for predictions after each of `length` observed states, samples side by side."""
        weight = self.energy.weight
        blocks = tuple(query_blocks(length, self._block))
        key, dtype = self._view_key, self.compute_dtype()
        return _dense_view(blocks, samples, self.prefix, key, weight.device, dtype)

    def view_after(self, position: int, rows: int) -> Spot:
        """`rows` predictions after the same observed state, which see it and all before it."""
        heads, head_dim, theta, eps = self._view_key
        keys, device = position + self.prefix + 1, self.energy.weight.device
        turns = rotary_span(range(keys, keys + 1), head_dim, theta, device, _wide(self.dtype))
        hidden = own_only(rows, device, self.compute_dtype())
        return Spot(turns, keys, pad(hidden, (keys, 0)), heads, eps)

    def view_at(self, positions: Tensor) -> View:
        """Rows for predictions after the observed states `positions` (B, R), ascending in a row."""
        heads, head_dim, theta, eps = self._view_key
        wide = _wide(self.dtype)
        turns = rotary_turns(positions.flatten() + self.prefix + 1, head_dim, theta, wide)
        turns = turns.view(len(positions), 1, -1, head_dim // 2, 2)
        blocks = []
        for chunk in positions.split(self._block, dim=1):
            low, high = int(chunk.min()) + self.prefix, int(chunk.max()) + self.prefix + 1
            columns = torch.arange(low, high, device=chunk.device)
            hidden = columns > (chunk + self.prefix)[..., None]  # (B, rows, columns)
            bias = torch.zeros(hidden.shape, dtype=self.compute_dtype(), device=chunk.device)
            bias = bias.masked_fill_(hidden, -torch.inf).repeat_interleave(heads, dim=0)
            blocks.append(Rows(chunk.shape[1], high, bias))
        return View(turns, tuple(blocks), heads, eps)

    @property
    def _block(self) -> int:
        on_gpu = self.energy.weight.device.type == "cuda"
        return autoregressive.GPU_QUERY_BLOCK if on_gpu else autoregressive.QUERY_BLOCK

    @property
    def _view_key(self) -> tuple[int, int, float, float]:
        c = self.config
        return c.heads, c.width // c.heads, c.rope_theta, c.norm_eps

    def compute_dtype(self) -> torch.dtype:
        device = self.energy.weight.device.type
        if torch.is_autocast_enabled(device) and self.dtype != torch.float64:
            return torch.get_autocast_dtype(device)
        return self.dtype


@lru_cache(maxsize=32)
def _dense_view(
    spans: tuple[tuple[int, int], ...],
    samples: int,
    prefix: int,
    key: tuple[int, int, float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> View:
    """Causal blocks of query rows, position-major; rows of one position share what they see."""
    heads, head_dim, theta, eps = key
    with torch.inference_mode(False):
        start = prefix + 1
        span = range(start, start + spans[-1][1])
        turns = rotary_span(span, head_dim, theta, device, _wide(dtype))
        blocks = []
        for start, end in spans:
            columns = torch.arange(start, end, device=device)
            rows = columns.repeat_interleave(samples)
            bias = torch.zeros(1, len(rows), len(columns), dtype=dtype, device=device)
            bias.masked_fill_(columns > rows[:, None], -torch.inf)
            blocks.append(Rows(len(rows), end + prefix, bias))
        return View(turns.repeat_interleave(samples, dim=0), tuple(blocks), heads, eps)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


# --- text ------------------------------------------------------------------------------------


class TextEnergy(EnergyTransformer):
    """Energies of next-token distributions.

    Differs from Transformer++ in these parameters only: `vocab_to_embed` (V to D) instead of an
    output head (none where predictions share the embedding table), and what `EnergyTransformer`
    adds.
    """

    def __init__(self, config: EBTTextConfig, vocab_size: int) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(vocab_size, config.width)
        if config.projection == "linear":
            self.vocab_to_embed = nn.Linear(vocab_size, config.width, bias=False)
        self.initialise()
        if config.projection == "linear":
            # Rows of a token side by side in memory: its gradient then takes half the time.
            stored = self.vocab_to_embed.weight.detach().t().contiguous().t()
            self.vocab_to_embed.weight = nn.Parameter(stored)
            self.register_state_dict_post_hook(_contiguous)

    @property
    def rows(self) -> Tensor:
        """(V, D): the row that each token contributes to a projected prediction."""
        if self.config.projection == "embedding":
            return self.embed.weight
        return self.vocab_to_embed.weight.t()

    def context(self, tokens: Tensor, landscape: int) -> Context:
        """The context of `tokens` (B, S) under one landscape."""
        return self.run_context(self.embed(tokens), landscape)

    def project(self, distribution: Tensor) -> Tensor:
        """(..., V) probabilities to (..., D): a weighted sum of rows, in the model's precision."""
        dtype = self.compute_dtype()
        with without_autocast(distribution.device.type):
            rows = as_type(self.rows, dtype)
            return as_type(as_type(distribution, dtype) @ rows, self.dtype)

    def to_vocabulary(self, slope: Tensor) -> Tensor:
        """dE/dp (..., V) from dE/de (..., D)."""
        dtype = self.compute_dtype()
        with without_autocast(slope.device.type):
            rows = as_type(self.rows, dtype).t()
            return as_type(as_type(slope, dtype) @ rows, slope.dtype)

    def add_to_vocabulary(self, base: Tensor, slope: Tensor) -> Tensor:
        """`base` (n, V) plus `to_vocabulary` of the slope (n, D), in the place of `base`."""
        dtype = self.compute_dtype()
        if base.dtype != dtype:
            return base.add_(self.to_vocabulary(slope))
        with without_autocast(slope.device.type):
            return add_scores(base, as_type(slope, dtype), as_type(self.rows, dtype), out=base)


def _contiguous(module: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
    """A state dict is for files, which take no strides."""
    name = prefix + "vocab_to_embed.weight"
    state[name] = state[name].contiguous()
