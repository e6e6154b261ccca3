"""The tables over several suites, which no suite has of its own."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.claims.judging import judge
from harness.analysis.claims.tables import claims_table
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.overview.cost_table import cost_tables
from harness.analysis.overview.rates import rates_table
from harness.analysis.paper.index import paper_index
from harness.analysis.tables.table import Table


def overview_tables(shown: Sequence[SuiteExhibits]) -> list[Table]:
    """The paper's exhibits, costs, scaling rates and, last, the verdicts on the paper's claims."""
    return [
        paper_index(shown),
        *cost_tables(shown),
        rates_table(shown),
        claims_table(judge(shown)),
    ]
