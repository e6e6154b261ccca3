"""The tables over several suites, which no suite has of its own."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.overview.cost_table import cost_tables
from harness.analysis.overview.rates import rates_table
from harness.analysis.tables.table import Table


def overview_tables(shown: Sequence[SuiteExhibits]) -> list[Table]:
    """Scaling rates, and what training and predicting cost."""
    return [rates_table(shown), *cost_tables(shown)]
