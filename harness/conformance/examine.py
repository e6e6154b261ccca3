"""Run the checks of a subject, in an order in which the first failure explains the most."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import getdoc

import numpy as np
import torch

from harness.conformance import capabilities, contract, counts, independence, learning
from harness.conformance.outcome import Check, Outcome, Verdict, failed, passed
from harness.conformance.subject import Subject


def builds(subject: Subject) -> Outcome:
    """The factory builds the adapter from its config."""
    model = subject.build()
    return passed(f"{type(model).__module__}.{type(model).__name__}")


CHECKS: tuple[Check, ...] = (
    builds,
    contract.shapes,
    contract.param_groups,
    contract.passes,
    independence.leakage,
    independence.batch_size,
    independence.seeds,
    independence.memory,
    independence.randomness,
    independence.callers,
    learning.gradients,
    learning.overfits,
    learning.descends,
    counts.parameters,
    counts.training_flops,
    counts.prediction_flops,
    capabilities.saving,
    capabilities.bfloat16,
    capabilities.decoder,
    capabilities.features,
    capabilities.replay,
    capabilities.declares_features,
    capabilities.declares_compile,
    capabilities.compiled,
)
#: Checks that take half a minute, run on request.
SLOW: frozenset[str] = frozenset({"compiled"})


@dataclass(frozen=True)
class Finding:
    """A check's name, the sentence it holds the adapter to, and how that went."""

    check: str
    claim: str
    verdict: Verdict
    reason: str


def examine(subject: Subject, *, slow: bool = False) -> Iterator[Finding]:
    """Run every check, one finding each; without `slow` those of SLOW are skipped.

    A check that raises has failed. Where the adapter cannot be built, that is the only finding.
    """
    for check in CHECKS:
        if check.__name__ in SLOW and not slow:
            outcome = Outcome("skipped", "takes half a minute; ask with --compile")
        else:
            outcome = perform(check, subject)
        claim = (getdoc(check) or "").partition("\n")[0]
        yield Finding(check.__name__.replace("_", " "), claim, outcome.verdict, outcome.reason)
        if check is builds and outcome.verdict == "failed":
            return


def perform(check: Check, subject: Subject) -> Outcome:
    """One check; an exception is a failure. Leaves the global random generators as they were."""
    with _generators_kept():
        try:
            return check(subject)
        except Exception as error:  # the adapter's code runs here, and may do anything
            first = str(error).strip().partition("\n")[0]
            return failed(f"{type(error).__name__}: {first}".rstrip(": "))


@contextmanager
def _generators_kept() -> Iterator[None]:
    numpy, python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(python)
