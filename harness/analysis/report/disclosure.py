"""What a reader of scaling results should be told, asked of each suite and answered from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.report import disclosed_results as results_of
from harness.analysis.report import disclosed_training as training_of
from harness.analysis.report.facts import Answer, Given, Question, SuiteFacts
from harness.analysis.report.runs import ReportedRun
from harness.planning.sections import TuningSection

#: What an answer may be, in the order of the page.
GIVEN: tuple[str, ...] = get_args(Given)
QUESTIONS = (
    Question("Design", "How many runs, points and seeds are there?", training_of.runs_and_points),
    Question("Design", "How many training seeds at each point?", training_of.seeds),
    Question("Design", "Are compared models of one size?", training_of.matched_sizes),
    Question("Sizes", "How were sizes counted, with or without embeddings?", training_of.sizes),
    Question("Costs", "How were training FLOPs counted?", training_of.flops),
    Question("Costs", "What does a prediction cost?", results_of.test_time),
    Question("Costs", "How much compute was used?", results_of.compute),
    Question("Training", "Which schedule, and how long for each budget?", training_of.schedules),
    Question(
        "Training",
        "Was the learning rate tried for each size and model, with equal trials?",
        training_of.learning_rates,
    ),
    Question("Training", "Which batch size?", training_of.batches),
    Question("Training", "Which number format and device?", results_of.precision),
    Question("Data", "Trained on what, and how often was it seen?", training_of.training_data),
    Question("Data", "Which tokenizer?", training_of.tokenizers),
    Question("Data", "Evaluated on what, and how much of it?", results_of.evaluation_sets),
    Question("Data", "Are evaluation sets apart from training sets?", results_of.kept_apart),
    Question(
        "Data",
        "Were settings chosen on other data than are reported?",
        results_of.chosen_apart,
    ),
    Question("Fits", "Which form, objective, optimizer, start and bounds?", results_of.fits),
    Question("Fits", "How are points weighted?", results_of.weights),
    Question("Fits", "How are intervals made?", results_of.intervals),
    Question("Fits", "Was an extrapolation held out?", results_of.held_out),
    Question(
        "Records", "Is every planned run shown, and what is left out named?", results_of.left_out
    ),
    Question("Records", "Can others get code and data?", results_of.availability),
)


@dataclass(frozen=True)
class Disclosure:
    """One suite's answers, in the order of `QUESTIONS`."""

    suite: str
    answers: tuple[Answer, ...]

    def count(self, given: str) -> int:
        return sum(answer.given == given for answer in self.answers)


def disclosures(
    shown: Sequence[SuiteExhibits], runs: Sequence[ReportedRun], results: Path
) -> list[Disclosure]:
    """The answers of every suite."""
    found = []
    tuned = [each.suite.name for each in shown if _tunes(each)]
    for each in shown:
        name = each.suite.name
        facts = SuiteFacts(
            each,
            [run for run in runs if name in run.suites],
            [other for other in tuned if other != name],
            results,
        )
        found.append(Disclosure(name, tuple(question.answer(facts) for question in QUESTIONS)))
    return found


def _tunes(each: SuiteExhibits) -> bool:
    return any(isinstance(section, TuningSection) for section in each.suite.report)
