"""The text objective with its backward passes scheduled by hand.

Where the prediction carries no graph between steps (S1, and S2 with a fixed step size) and the
update is of probabilities, a step's gradient can be taken as soon as its loss is known. The
activations of one step are then all that is alive, whatever the number of steps. And the vocabulary
costs few products: with u = p' W of the distribution after a step and y the target,

    dL/dg = -alpha * (u - W[y]),    dL/dalpha = -<u - W[y], g>

where u is the next step's projection anyway, and the two gradients that W gets through one
distribution share a product. S1 takes 3n + 2 products of size (B*S, V, D) instead of the 6n of
autograd, S2 takes 2(n - 1) + 5; and two tensors of size (B*S, V) are alive.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.ebt import Context, TextEnergy
from baselines.energy_slope import (
    Stream,
    Tape,
    detached,
    flat,
    flat_gradients,
)
from baselines.known_gradients import Computed, loss_with_gradients
from baselines.modes import without_autocast
from baselines.text_descent import Rows
from baselines.training_descent import Objective, Steps
from baselines.vocabulary import add_scores


def can_schedule(network: TextEnergy, alpha: Tensor) -> bool:
    """Whether `scheduled_objective` covers the network's settings."""
    config = network.config
    if config.update_space != "probabilities" or config.between_steps == "unroll":
        return False
    return config.between_steps == "detach" or not alpha.requires_grad


def scheduled_objective(network: TextEnergy, rows: Rows, steps: Steps) -> Objective:
    """As `plain_objective`; `rows.start` is used up, and its end is there for a replay only.

    The loss can be differentiated once, by the network's parameters: their gradients are known.
    """
    if not torch.is_grad_enabled():
        return _Schedule(network, rows, steps, None).run()
    parameters = [p for p in network.parameters() if p.requires_grad]
    found: list[Objective] = []

    def compute() -> Computed:
        known = Gradients(network, steps.alpha, rows.tokens[:, :-1])
        found.append(_Schedule(network, rows, steps, known).run())
        return found[0].loss, [known.found.get(p) for p in parameters]

    loss = loss_with_gradients(compute, parameters)
    return replace(found[0], loss=loss)


class Gradients:
    """Parameters' gradients so far, and those of one landscape's stream until it is done with.

    Contexts start from `embedded`, apart from the table it comes from, whose gradient is as large
    as the vocabulary: it is made once, at the end, and not for each landscape.
    """

    def __init__(self, network: TextEnergy, alpha: Tensor, inputs: Tensor) -> None:
        self.network, self.alpha, self.inputs = network, alpha, inputs
        learned = network.embed.weight.requires_grad
        self.embedded = network.embed(inputs).detach().requires_grad_(learned)
        self.found: dict[Tensor, Tensor] = {}
        self.stream: list[Tensor] | None = None
        self.vocabulary: Tensor | None = None  # (V, D)
        self.d_alpha: Tensor | None = None

    def add_stream(self, found: list[Tensor]) -> None:
        """Add gradients of a stream's tensors, in the order of `flat`."""
        if self.stream is None:
            self.stream = found
            return
        for total, own in zip(self.stream, found, strict=True):
            total += own

    def add_vocabulary(self, distribution: Tensor, through: Tensor) -> None:
        """Add distribution^T through, from (n, V) and (n, D)."""
        if through.dtype in (torch.bfloat16, torch.float16):  # products are, their sum is not
            product = (distribution.t() @ through).float()
            self.vocabulary = product if self.vocabulary is None else self.vocabulary.add_(product)
        elif self.vocabulary is None:
            self.vocabulary = distribution.t() @ through
        else:
            self.vocabulary.addmm_(distribution.t(), through)

    def close_landscape(self, context: Context, stream: Stream) -> None:
        """Take the stream's gradients through its context to the parameters."""
        if self.stream is None:
            return
        outputs = [
            (t, g)
            for t, g in zip(flat(_attached(stream, context)), self.stream, strict=True)
            if t.requires_grad
        ]
        self._through([t for t, _ in outputs], [g for _, g in outputs])
        self.stream = None

    def close(self) -> None:
        """Take what embeddings, the vocabulary and alpha got to their parameters."""
        d_embedded = self.found.pop(self.embedded, None)
        if d_embedded is not None:
            with torch.enable_grad():
                embedded = self.network.embed(self.inputs)
            self._through([embedded], [d_embedded])
        rows = self.network.rows
        if self.vocabulary is not None:
            with torch.enable_grad():
                rows = self.network.rows
            self._through([rows], [self.vocabulary.to(rows.dtype)])
        if self.d_alpha is not None and self.alpha.requires_grad:
            d_alpha = self.d_alpha.sum_to_size(self.alpha.shape)
            self._through([self.alpha], [d_alpha.to(self.alpha.dtype)])

    def _through(self, outputs: list[Tensor], gradients: list[Tensor]) -> None:
        wanted = [p for p in self.network.parameters() if p.requires_grad]
        if self.embedded.requires_grad:
            wanted.append(self.embedded)
        own = torch.autograd.grad(outputs, wanted, gradients, allow_unused=True)
        for parameter, gradient in zip(wanted, own, strict=True):
            if gradient is not None:
                before = self.found.get(parameter)
                self.found[parameter] = gradient if before is None else before.add_(gradient)


class _Opened(NamedTuple):
    """A landscape's context, with its graph where it is differentiated, and its bare stream."""

    landscape: int
    context: Context
    stream: Stream


class _Schedule:
    """One training step: its descent, and (with `gradients`) the backward passes as they fall."""

    def __init__(
        self, network: TextEnergy, rows: Rows, steps: Steps, gradients: Gradients | None
    ) -> None:
        self.network, self.rows, self.steps, self.gradients = network, rows, steps, gradients
        self.every = network.config.loss_on == "every"
        self.targets = rows.tokens[:, 1:].reshape(-1)
        self.valid = rows.mask.reshape(-1, 1).to(rows.start.dtype)  # (n, 1) with n = B * S
        self.alpha = steps.alpha.detach().expand(*rows.mask.shape, 1).reshape(-1, 1)
        self.vocabulary = network.rows.detach().to(network.compute_dtype())  # (V, D)
        self.opened: _Opened | None = None
        self.shape = rows.start.shape
        self.spare = None if rows.spare is None else rows.spare.flatten(0, 1)

    def run(self) -> Objective:
        count, noise = self.steps.count, self.steps.noise
        values = self.rows.start.flatten(0, 1)  # logits (n, V), or their softmax once entered
        owed: Tensor | None = None  # W owes the last loss this through the current distribution
        losses, energies = [], []
        projected: Tensor | None = None
        with torch.no_grad(), without_autocast(values.device.type):
            for step in range(1, count + 1):
                if projected is None:
                    values, projected = self._enter(values, step)
                energy, slope, tape = self._slope(step, projected)
                energies.append((energy.reshape(-1, 1) * self.valid).sum())
                distribution, values = values, self._stepped(values, slope, keep=tape is not None)
                counted = self.every or step == count
                chained = noise is None and step < count
                kept = step < count or self.network.config.replay_records > 0
                after, projected = values, None
                if counted or chained:
                    above = values.amax(-1, keepdim=True) - values.gather(1, self.targets[:, None])
                    place = values if chained or not kept else None
                    after = torch.softmax(values, dim=-1, out=place)
                    if counted:  # from softmax: exp and log_softmax crawl where they underflow
                        nats = above - after.amax(-1, keepdim=True).log()
                        losses.append((nats * self.valid).sum())
                    if chained or tape is not None:
                        projected = self._project(after)
                if tape is not None:
                    assert projected is not None
                    owed = self._backward(tape, slope, projected, distribution, owed)
                    if not chained:
                        self._add_vocabulary(after, -owed)  # no further step enters it
                        owed = None
                if chained:
                    values = after
                else:
                    projected = None
                if distribution is not values:
                    self.spare = distribution
                del distribution, after
            self._close()
        loss = torch.stack(losses).mean() if self.every else losses[-1]
        logits = values.view(self.shape) if kept else None
        return Objective(loss, losses[-1], energies[0], energies[-1], logits)

    # --- forward -------------------------------------------------------------------------

    def _enter(self, values: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The distribution (n, V) that a step starts from, in the place of `values`; projected."""
        if self.steps.noise is not None:
            room = self.spare
            drawn = self.steps.noise(step, None if room is None else room.view(self.shape))
            values.add_(drawn.flatten(0, 1), alpha=self.steps.noise_std)
        values = torch.softmax(values, dim=-1, out=values)
        return values, self._project(values)

    def _slope(self, step: int, projected: Tensor) -> tuple[Tensor, Tensor, Tape | None]:
        """Energies (B, S), slope (n, D), and a tape where the step is differentiated."""
        graph = self.gradients is not None and self.network.config.differentiated(
            step, self.steps.count
        )
        opened = self._open(self.network.config.landscape(step))
        batch, length = self.rows.mask.shape
        energy, slope, tape = self.network.bodies.halves.slope(
            opened.stream, projected.view(batch, length, -1), keep=graph
        )
        if opened.context.offset is not None:
            energy = energy + opened.context.offset.detach()
        return energy, slope.flatten(0, 1), tape

    def _open(self, landscape: int) -> _Opened:
        if self.opened is None or self.opened.landscape != landscape:
            self._close_landscape()
            inputs, config = self.rows.tokens[:, :-1], self.network.config
            known = self.gradients
            embedded = self.network.embed(inputs) if known is None else known.embedded
            graph = known is not None and config.recorded(landscape, self.steps.count)
            with torch.set_grad_enabled(graph), self._autocast():
                context = self.network.run_context(embedded, landscape)
                view = self.network.view(inputs.shape[1])
            bare = detached(self.network.stream(context, view))
            self.opened = _Opened(landscape, context, bare)
        return self.opened

    def _autocast(self) -> torch.autocast:
        dtype = self.vocabulary.dtype
        half = dtype in (torch.bfloat16, torch.float16)
        device = self.vocabulary.device.type
        return torch.autocast(device, dtype if half else None, enabled=half, cache_enabled=False)

    def _stepped(self, distribution: Tensor, slope: Tensor, *, keep: bool) -> Tensor:
        """p - alpha * W g (n, V); without `keep` in the place of p."""
        pulled = (-self.alpha * slope).to(self.vocabulary.dtype)
        if distribution.dtype != self.vocabulary.dtype:
            moved = pulled @ self.vocabulary.t()
            return distribution + moved if keep else distribution.add_(moved)
        if keep:
            room, self.spare = self.spare, None
            return add_scores(distribution, pulled, self.vocabulary, out=room)
        return add_scores(distribution, pulled, self.vocabulary, out=distribution)

    def _project(self, distribution: Tensor) -> Tensor:
        projected = distribution.to(self.vocabulary.dtype) @ self.vocabulary
        return projected.to(self.network.dtype)  # (n, D)

    # --- backward ------------------------------------------------------------------------

    def _backward(
        self,
        tape: Tape,
        slope: Tensor,
        projected: Tensor,
        distribution: Tensor,
        owed: Tensor | None,
    ) -> Tensor:
        """Everything that this step's loss reaches but W through the distribution after it.

        `projected` is of that distribution, u above. Returns what W is owed through it (n, D).
        """
        gradients, opened = self.gradients, self.opened
        assert gradients is not None
        assert opened is not None
        share = self.valid / (self.steps.count if self.every else 1)
        surprise = share * (projected - self.vocabulary.index_select(0, self.targets))
        if self.steps.alpha.requires_grad:
            own = -(surprise * slope).sum(-1).view(*self.rows.mask.shape, 1)
            gradients.d_alpha = own if gradients.d_alpha is None else gradients.d_alpha + own
        v = (-self.alpha * surprise).view(*self.rows.mask.shape, -1)
        halves = self.network.bodies.halves
        through, head, layers = halves.gradients(opened.stream, tape, v)
        gradients.add_stream(flat_gradients(head, layers))
        through = through.flatten(0, 1)
        self._add_vocabulary(distribution, through if owed is None else through - owed)
        pulled = share * self.alpha * slope
        assert gradients.vocabulary is not None
        gradients.vocabulary.index_add_(0, self.targets, pulled.to(gradients.vocabulary.dtype))
        return pulled

    def _add_vocabulary(self, distribution: Tensor, through: Tensor) -> None:
        assert self.gradients is not None
        dtype = self.vocabulary.dtype
        self.gradients.add_vocabulary(distribution.to(dtype), through.to(dtype))

    def _close_landscape(self) -> None:
        if self.gradients is not None and self.opened is not None:
            self.gradients.close_landscape(self.opened.context, self.opened.stream)
        self.opened = None

    def _close(self) -> None:
        self._close_landscape()
        if self.gradients is not None:
            self.gradients.close()


def _attached(stream: Stream, context: Context) -> Stream:
    return stream._replace(layers=context.layers, observed=context.observed, head=context.head)
