"""A run of several processes on GPUs: as many as there are, up to two; one makes a group, too."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from harness.data.datasets import load_images
from harness.data.images import ImageRows
from harness.records import RunFolder, read_json, read_jsonl
from harness.training.batches import RowBatches
from harness.training.loop import Operation, train
from harness.training.parallel import ALONE, Ranks, _join
from tests.training.tiny import build, spec_of

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SPEC = spec_of("ebt_image", accumulate=2, budget={"steps": 5})


def train_on(device: torch.device, results: Path, ranks: Ranks) -> RunFolder:
    folder = RunFolder(results, SPEC.run_id)
    batches = RowBatches(ImageRows(load_images("builtin/digits", "train")), SPEC, device, ranks)
    operation = Operation(log_every=1)
    train(
        SPEC,
        build(SPEC).to(device),
        batches,
        folder,
        total_steps=5,
        operation=operation,
        ranks=ranks,
    )
    return folder


def one_rank(rank: int, size: int, port: int, results: Path) -> None:
    told = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, str(value))
        device = torch.device(DEVICE, rank)
        group = _join(rank, size, rank, device, timedelta(minutes=1))
        try:
            train_on(device, results, group)
            assert group.all_gather(f"rank {rank}") == [f"rank {r}" for r in range(size)]
            assert group.broadcast(rank) == 0
        finally:
            group.leave()


def test_a_group_on_gpus_trains_as_one_process_does(tmp_path: Path) -> None:
    size = min(2, torch.cuda.device_count())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    multiprocessing.spawn(one_rank, (size, port, tmp_path / "group"), nprocs=size)
    one, group = train_on(torch.device(DEVICE), tmp_path / "alone", ALONE), tmp_path / "group"
    other = RunFolder(group, SPEC.run_id)
    assert read_json(other.training)["processes"] == size
    for line, same in zip(read_jsonl(one.train_log), read_jsonl(other.train_log), strict=True):
        assert same["loss"] == pytest.approx(line["loss"], rel=1e-5)
        assert same["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-4)
