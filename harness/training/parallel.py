"""The processes that train one run together, and what they do as one.

Each rank takes its part of every micro-batch; gradients are averaged by DDP and the update is made
by all alike, so that it is the update of one process with the same rows. Rank 0 writes. There is no
random state to hand on or to keep: every draw is keyed by dataset row (`harness.noise`), whichever
process makes it.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.planning.spec import TrainSpec
from harness.protocol import Adapter, Batch, Noise, StepOutput

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")
#: A sum and a count per name, which add over micro-batches and ranks.
Sums = dict[str, tuple[float, float]]
#: Whoever starts several processes tells each by these who it is; torchrun sets them.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT_MIN = 30.0


class Replica:
    """An adapter as one process trains it alone."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def training_loss(self, batch: Batch, noise: Noise) -> StepOutput:
        """The adapter's; of its backward pass, gradients are this process's."""
        return self.adapter.training_loss(batch, noise)

    def no_sync(self) -> AbstractContextManager[None]:
        """Around a micro-batch, its backward pass included, that another of its step follows."""
        return nullcontext()


class Ranks:
    """Who this process is among those that train a run: here, rank 0 of one.

    `local_rank` counts the processes of one machine. What all agree on is what it says itself.
    """

    rank = 0
    size = 1
    local_rank = 0

    def all_sum(self, numbers: Sequence[float]) -> list[float]:
        """Each number summed over ranks, in float64."""
        return list(numbers)

    def sums(self, own: Sums) -> Sums:
        """Everyone's, added; RuntimeError where ranks have different names."""
        return own

    def all_gather(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        return [value]

    def broadcast(self, value: T) -> T:
        """Rank 0's value."""
        return value

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def replica(self, adapter: Adapter) -> Replica:
        """The adapter, with gradients averaged over ranks; all start from rank 0's weights."""
        return Replica(adapter)

    def first_reason(self, reason: str) -> str | None:
        """This rank fails for `reason`: the first that any rank gave; None where nobody answers.

        It must leave then: its peers fail once it has left, and their reason, to have lost it,
        comes after its own.
        """
        return reason

    def leave(self) -> None:
        """End the group: from here on each process is alone. All ranks leave at the same time."""


ALONE = Ranks()


class _Group(Ranks):
    """A process group's member; `device` holds what is exchanged."""

    def __init__(
        self, rank: int, size: int, local_rank: int, device: torch.device, store: Store
    ) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.device, self.store = device, store
        self.names: tuple[str, ...] = ()
        self.replicas: list[_Averaged] = []
        self.left = self.failed = False

    def all_sum(self, numbers: Sequence[float]) -> list[float]:
        import torch.distributed as dist

        vector = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(vector)
        summed: list[float] = vector.tolist()
        return summed

    def sums(self, own: Sums) -> Sums:
        # The vector is as long as all know it to be; who has other names says no more than that.
        known = self.names == tuple(sorted(own))
        flat = [number for name in self.names for number in (own[name] if known else (0.0, 0.0))]
        strangers, *totals = self.all_sum([float(not known), *flat])
        if strangers:
            self._agree_on(tuple(sorted(own)))
            return self.sums(own)
        places = {name: 2 * place for place, name in enumerate(self.names)}
        return {name: (totals[places[name]], totals[places[name] + 1]) for name in own}

    def _agree_on(self, names: tuple[str, ...]) -> None:
        everyones = self.all_gather(names)
        if len(set(everyones)) > 1:
            listed = "; ".join(f"rank {r} {', '.join(own)}" for r, own in enumerate(everyones))
            raise RuntimeError(f"ranks have different metrics, which do not add up: {listed}")
        self.names = names

    def all_gather(self, value: T) -> list[T]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def broadcast(self, value: T) -> T:
        import torch.distributed as dist

        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def barrier(self) -> None:
        self.all_sum([0.0])

    def replica(self, adapter: Adapter) -> Replica:
        self.replicas.append(_Averaged(adapter))
        return self.replicas[-1]

    def first_reason(self, reason: str) -> str | None:
        if self.left:
            return reason
        self.failed = True
        try:
            return self.store.compare_set("reason", "", reason).decode()
        except RuntimeError:  # rank 0 kept the store, and is gone
            return None

    def leave(self) -> None:
        import torch.distributed as dist

        if self.left:
            return
        self.left = True
        group = dist.group.WORLD
        if self.failed and self.device.type == "cuda" and group is not None:
            group.abort()  # which waits for nobody; the process cannot join again
        elif group is not None:
            dist.destroy_process_group()
        # Connections close, and peers that wait for this rank notice, once nothing refers to them.
        for replica in self.replicas:
            del replica.parallel
        del group
        gc.collect()


class _Averaged(Replica):
    """An adapter under DDP."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__(adapter)
        # Which parameters a step uses may differ by step and rank (a random number of optimization
        # steps, a landscape that is not reached), and one that nobody used must keep no gradient,
        # as alone. DDP then keeps its buckets, too, so that a resumed run adds in the same order.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        self.parallel = nn.parallel.DistributedDataParallel(
            _Loss(adapter),
            broadcast_buffers=False,
            find_unused_parameters=True,
            gradient_as_bucket_view=True,
        )

    def training_loss(self, batch: Batch, noise: Noise) -> StepOutput:
        loss_sum, n, metrics = self.parallel(batch, noise)
        return StepOutput(loss_sum, n, metrics)

    def no_sync(self) -> AbstractContextManager[None]:
        return self.parallel.no_sync()


class _Loss(nn.Module):
    """A training loss as one forward pass: its loss alone leads to parameters.

    One parameter is never used: where all are, DDP warns that it need not look for the others.
    """

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        assert isinstance(adapter, nn.Module)
        self.adapter = adapter
        self.unused = nn.Parameter(next(adapter.parameters()).new_zeros(1))

    def forward(
        self, batch: Batch, noise: Noise
    ) -> tuple[Tensor, int, dict[str, tuple[Tensor, int]]]:
        output = self.adapter.training_loss(batch, noise)
        metrics = {name: (total.detach(), n) for name, (total, n) in output.metrics.items()}
        return output.loss_sum, output.n, metrics


def lost_peer(error: Exception) -> bool:
    """The error is what gloo or nccl raises where another process has ended."""
    signs = ("closed by peer", "reset by peer", "remote process exited")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def check_parts(spec: TrainSpec, ranks: Ranks) -> None:
    """HarnessError where micro-batches cannot be cut into equal parts for all ranks."""
    try:
        spec.check_processes(ranks.size)
    except ValueError as error:
        raise HarnessError(str(error)) from error


def device_of(name: str, local_rank: int | None = None) -> torch.device:
    """The device `name` ("auto", "cpu", "cuda"); of several GPUs, that of `local_rank`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cuda" or local_rank is None:
        return torch.device(name)
    visible = torch.cuda.device_count()
    if visible == 1:  # as where Slurm gives each task a GPU of its own
        return torch.device("cuda", 0)
    if local_rank >= visible:
        raise HarnessError(
            f"this is process {local_rank} of its machine, counted from 0, and {visible} GPUs are "
            "visible",
            hint="start one process per GPU",
        )
    return torch.device("cuda", local_rank)


@contextmanager
def joined(device: str = "auto", *, timeout_min: float = TIMEOUT_MIN) -> Iterator[Ranks]:
    """Join the processes that `VARIABLES` tell of; `ALONE` where they tell of no other.

    Exchanges go by gloo on CPU, by nccl on GPUs. Whoever waits for a rank longer than `timeout_min`
    fails. gloo's ranks fail as soon as a peer has left or died, while nccl's may wait, so that
    whoever started the processes should end all when one fails (as torchrun and `srun
    --kill-on-bad-exit` do). Raises HarnessError where variables are missing or contradict each
    other, and where the others cannot be reached.
    """
    told = _told()
    if told is None:
        yield ALONE
        return
    ranks = _join(*told, device_of(device, told[2]), timedelta(minutes=timeout_min))
    try:
        yield ranks
    except BaseException:
        ranks.failed = True
        raise
    finally:
        ranks.leave()


def _told() -> tuple[int, int, int] | None:
    """Rank, size and local rank; None for a process alone."""
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if not given.keys() & {"RANK", "WORLD_SIZE", "LOCAL_RANK"} or given.get("WORLD_SIZE") == "1":
        return None
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise HarnessError(
            f"{', '.join(missing)} missing in the environment, where {', '.join(given)} tell of "
            "several processes",
            hint=f"start them with torchrun, or set {', '.join(VARIABLES)} for each",
        )
    numbers = {name: _number(name, given[name]) for name in VARIABLES if name != "MASTER_ADDR"}
    rank, size, local_rank = (numbers[name] for name in VARIABLES[:3])
    if not local_rank <= rank < size:
        raise HarnessError(
            "the environment contradicts itself: LOCAL_RANK is at most RANK, which is below "
            "WORLD_SIZE",
            given=", ".join(f"{name}={given[name]}" for name in VARIABLES[:3]),
        )
    return rank, size, local_rank


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise HarnessError(f"{name} in the environment must be a number from 0", given=text)
    return int(text)


_groups = 0  # that this process has joined


#: Where processes find each other, by address and port: who joins again may be there before rank 0.
_stores: dict[tuple[str, str], Store] = {}


def _join(
    rank: int, size: int, local_rank: int, device: torch.device, timeout: timedelta
) -> _Group:
    import torch.distributed as dist
    import torch.distributed.nn  # later, its functions' defaults would keep the group for good
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    if dist.is_initialized():
        raise HarnessError(
            "this process is still in a group: a run failed on its GPUs, where nobody can be told",
            hint="start all processes again",
        )
    global _groups
    _groups += 1
    place = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if place not in _stores:
            _stores[place] = next(rendezvous("env://", timeout=timeout))[0]
        own = PrefixStore(f"group-{_groups}", _stores[place])
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("backend", own),
            rank=rank,
            world_size=size,
            timeout=timeout,
            device_id=device if device.type == "cuda" else None,
        )
    except RuntimeError as error:
        raise HarnessError(
            f"rank {rank} of {size} could not join the others at {':'.join(place)} (it waits "
            f"{timeout.total_seconds() / 60:g} min at most): {str(error).splitlines()[0]}",
            hint="do all processes run, and may they connect to MASTER_ADDR?",
        ) from error
    return _Group(rank, size, local_rank, device, own)
