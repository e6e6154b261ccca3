"""Exhibits as files: the same on every machine, and one error each where they cannot be written."""

from __future__ import annotations

import csv
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.figures.page import Drawing, blank, write_figure
from harness.analysis.outputs import as_csv
from harness.analysis.tables.table import Cell, Table
from harness.errors import HarnessError
from harness.show.report import write_report
from harness.show.tables import print_tables
from tests.analysis.test_exhibits import TEXT, suite_of

TABLE = Table("long", "Long", ["text"], [[Cell("word " * 2000)]], [{"text": "word"}])


@contextmanager
def small_files() -> Iterator[None]:
    """The system itself refuses files of more than 4 kB, as it refuses any on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def drawing() -> Drawing:
    figure = blank()
    axes = figure.subplots()
    axes.scatter(range(500), [i % 7 for i in range(500)], c=range(500))
    return Drawing("dots", "Dots", figure, ({"x": 1},))


def test_a_disk_that_takes_no_more_is_one_error_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "long.md").write_text("old")
    with small_files(), pytest.raises(HarnessError, match="cannot write here: File too large") as e:
        TABLE.write(tmp_path)
    assert e.value.where == str(tmp_path / "long.md")
    assert "--out" in str(e.value)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"long.md": "old"}


def test_and_of_a_figure(tmp_path: Path) -> None:
    with small_files(), pytest.raises(HarnessError, match="cannot write here: File too large") as e:
        write_figure(drawing(), tmp_path)
    assert e.value.where == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert write_figure(drawing(), tmp_path).pdf.stat().st_size > 4096


@pytest.mark.parametrize("place", ["file/inside", "x" * 300])
def test_a_place_that_can_be_no_folder_is_one_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    for write in (lambda folder: write_figure(drawing(), folder), TABLE.write):
        with pytest.raises(
            HarnessError, match=r"cannot write here: (Not a dir|File name too long)"
        ):
            write(tmp_path / place)


def test_a_report_of_too_long_a_name_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot write here: File name too long"):
        write_report([], tmp_path, tmp_path / f"{'x' * 300}.html", as_json=False)


def test_brackets_of_a_suites_path_are_no_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m[" / "x]"
    folder.mkdir(parents=True)
    suite = suite_of(TEXT.partition("report:")[0], folder)
    print_tables([suite], tmp_path, lambda _: tmp_path / "out", as_json=False)
    said = "".join(capsys.readouterr().out.split("\n"))
    assert "m[/x]/suite.yaml has no report sections" in said


@given(st.lists(st.floats(allow_nan=False) | st.integers(), min_size=1))
def test_csv_keeps_whole_numbers_in_full_and_ten_digits_of_others(values: list[float]) -> None:
    written = list(csv.DictReader(as_csv([{"x": value} for value in values]).splitlines()))
    for value, row in zip(values, written, strict=True):
        if isinstance(value, int):
            assert int(row["x"]) == value
        elif not math.isfinite(value) or (value.is_integer() and abs(value) < 2**53):
            assert float(row["x"]) == value
        else:
            assert math.isclose(float(row["x"]), value, rel_tol=1e-9)
        assert row["x"] not in ("-0.0", "-0")


def test_sums_in_another_order_are_the_same_csv() -> None:
    parts = [0.1, 0.2, 0.3]
    forwards, backwards = sum(parts), sum(reversed(parts))
    assert forwards != backwards
    assert as_csv([{"x": forwards}]) == as_csv([{"x": backwards}])


@given(st.integers(1, 2**48))
def test_a_whole_number_and_what_arithmetic_makes_of_it_are_written_alike(whole: int) -> None:
    near = [math.nextafter(whole, other) for other in (-math.inf, math.inf)]
    assert len({as_csv([{"x": value}]) for value in (float(whole), *near)}) == 1


def test_csv_leaves_what_is_missing_empty() -> None:
    assert as_csv([{"a": None, "b": "x"}, {"c": 2.5, "a": True}]) == "a,b,c\n,x,\nTrue,,2.5\n"


@pytest.mark.parametrize("verb", ["table", "figures", "report", "publish"])
def test_exhibits_are_made_without_threads_beside_their_processes(
    tmp_path: Path, verb: str
) -> None:
    """With them, 41 suites took longer on two cores than on one."""
    suite = suite_of(TEXT, tmp_path)
    code = (
        "import sys\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "from threadpoolctl import threadpool_info\n"
        "print({each['num_threads'] for each in threadpool_info() if each['user_api'] == 'blas'},"
        " file=sys.stderr)"
    )
    words = [verb, str(suite.path), "--results", str(tmp_path / "results")]
    user = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=user, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "{1}"
