"""The network of the toy adapter, and its ways to go wrong."""

import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from harness.protocol import ParamGroup, Passes, Prediction, StepOutput


class Toy(nn.Module):
    """Logits of the next token by table.

    In the working folder, a file `fragile` makes `predict` raise; a file `wait` makes it say so in
    a file `waiting` and wait. `compile_body` adds a line to a file `compiled`.
    """

    def __init__(self, config, shape):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(shape.vocab_size, shape.vocab_size)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def training_loss(self, batch, noise):
        self.step += 1
        time.sleep(self.config.delay)
        if self.config.raise_at == int(self.step):
            raise RuntimeError("the toy broke [/it]\nand said more")
        logits = self.table(batch.tokens[:, :-1])
        if self.config.spoil_at == int(self.step):
            logits = logits * float("nan")
        loss = F.cross_entropy(logits[batch.mask], batch.tokens[:, 1:][batch.mask], reduction="sum")
        return StepOutput(loss, int(batch.mask.sum()))

    def predict(self, batch, thinking, noise, on_state=None):
        if Path("fragile").exists():
            raise RuntimeError("the toy is fragile")
        while Path("wait").exists():
            Path("waiting").touch()
            time.sleep(0.01)
        return Prediction(self.table(batch.tokens[:, :-1]), None, Passes(1, 1, 0))

    def compile_body(self):
        with Path("compiled").open("a") as file:
            file.write("compiled\n")

    def param_groups(self):
        return [ParamGroup("table", [self.table.weight])]
