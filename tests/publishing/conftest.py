from pathlib import Path

import pytest

from harness.planning.planned import Suite
from tests.publishing.trained import suite_in


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Eight runs with two evaluations each; the file is `suite.yaml`."""
    return suite_in(tmp_path)
