"""A report over written records, made once a session; a browser that is skipped if not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.show.report import write_report
from tests.report.browser import APT, Browser, Page, chromium
from tests.report.written import ODD, TEXT, UNTRAINED, suite_of, write_records


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page over records of one suite, three runs of which are missing, and an untrained one."""
    folder = tmp_path_factory.mktemp("report")
    suites = [suite_of(TEXT, folder, "hostile.yaml"), suite_of(UNTRAINED, folder, "untrained.yaml")]
    write_records(suites[0], folder / "results", leave=3)
    out = folder / "report.html"
    write_report(suites, folder / "results", out, as_json=True)
    return out


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page over records of a suite whose labels and titles are hard to lay out."""
    folder = tmp_path_factory.mktemp("odd")
    suite = suite_of(ODD, folder, "odd.yaml")
    write_records(suite, folder / "results")
    out = folder / "report.html"
    write_report([suite], folder / "results", out, as_json=True)
    return out


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Skipped where chromium is not installed, unless REQUIRE_CHROMIUM=1."""
    if chromium() is None:
        reason = f"chromium is not installed: {APT}"
        if os.environ.get("REQUIRE_CHROMIUM") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    started = Browser(tmp_path_factory.mktemp("profile"))
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def page(browser: Browser, written: Path) -> Iterator[Page]:
    """The page, of which nothing may be asked for or complained."""
    with browser.page(written) as opened:
        yield opened
        assert opened.complaints() == []
        assert opened.requests() == []
