"""The page in a real browser: what sorts, narrows and opens by mouse and keyboard, and is said."""

from __future__ import annotations

import json
import re

import pytest

from tests.report.browser import Page
from tests.report.reading import RUNS

pytestmark = pytest.mark.browser


def column(page: Page, table: str, index: int) -> list[str]:
    """The texts of a column as shown, from above."""
    return page.js(
        f"[...document.querySelectorAll('{table} tbody tr:not(.detail)')].filter(r => !r.hidden)"
        f".map(r => r.cells[{index}].textContent.trim())"
    )


def shown(page: Page) -> int:
    return page.js(f"[...document.querySelectorAll('{RUNS}')].filter(r => !r.hidden).length")


def said(page: Page, words: str) -> None:
    """The live region comes to say that."""
    page.until(f"document.querySelector('#announce').textContent.includes({json.dumps(words)})")


def test_it_shows_without_a_complaint(page):
    assert page.js("document.title") == "Energy-Based Transformers: verdicts, exhibits, runs"
    assert page.js("document.documentElement.className") == "js"
    assert page.js("[...document.images].every(i => i.alt)")


def test_pictures_are_drawn(page):
    page.js("document.images[0].scrollIntoView()")
    page.until("document.images[0].complete")
    assert page.js("document.images[0].naturalWidth") > 600


# --- sorting ---------------------------------------------------------------------------------

VALUES = ["1.2 M ± 3", "−5", "", "2,000", "1.5 k", "never", "∞", "+0.3 %", "12 min 05 s", "4.2 ms"]
SORTED = ["−5", "4.2 ms", "+0.3 %", "12 min 05 s", "1.5 k", "2,000", "1.2 M ± 3", "∞"]


def _write_values(page: Page) -> str:
    """Known values into a column of the second table of an exhibit, as many as it has rows."""
    return page.js(
        "(() => { const table = document.querySelector('#run-table');"
        f"const values = {json.dumps(VALUES)};"
        "const rows = [...table.tBodies[0].rows];"
        "rows.forEach((row, i) => { if (i >= values.length) row.remove(); else {"
        "row.cells[5].removeAttribute('data-v'); row.cells[5].textContent = values[i]; } });"
        "return 'th:nth-child(6) button'; })()"
    )


def test_numbers_sort_as_numbers_and_what_is_empty_comes_last(page):
    button = f"#run-table {_write_values(page)}"
    page.click(button)
    assert column(page, "#run-table", 5) == [*SORTED, "never", ""]
    assert page.js("document.querySelector('#run-table th:nth-child(6)').ariaSort") == "ascending"
    page.click(button)
    assert column(page, "#run-table", 5) == [*SORTED[::-1], "never", ""]
    assert page.js("document.querySelectorAll('#run-table [aria-sort]').length") == 1
    said(page, "descending")


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_sorts(page, key):
    page.js("document.querySelector('#run-table th:nth-child(7) button').focus()")
    before = column(page, "#run-table", 4)
    page.press("Tab", shift=True)
    page.press("Tab", shift=True)
    assert page.js("document.activeElement.textContent") == "seed"
    page.press(key)
    after = column(page, "#run-table", 4)
    assert after == sorted(after)
    assert after != before
    said(page, "Sorted by seed, ascending")


def test_words_sort_as_words(page):
    page.click("#run-table th:nth-child(2) button")
    models = column(page, "#run-table", 1)
    assert models == sorted(models)
    assert models[0] == "dit"


@pytest.mark.parametrize(
    "ordered",
    [
        ["lr 0.0005", "lr 1e-3", "lr 0.004", "lr 0.016, wd 0.2", "lr 0.016, wd 0.1e1", "lr 0.032"],
        ["data 100 k", "data 800 k", "data 1.2 M", "data 1,300,000", "data 2 G"],
        ["depth 2", "depth 10", "width 9", "width 9 b"],
        ["2×48", "2×112", "10×7"],
    ],
)
def test_numbers_within_words_sort_as_numbers(page, ordered):
    page.js(
        f"(() => {{ const values = {json.dumps(sorted(ordered, reverse=True))};"
        "const rows = [...document.querySelector('#run-table').tBodies[0].rows];"
        "rows.forEach((row, i) => { if (i >= values.length) row.remove();"
        "else row.cells[3].textContent = values[i]; }); })()"
    )
    page.click("#run-table th:nth-child(4) button")
    assert column(page, "#run-table", 3) == ordered
    page.click("#run-table th:nth-child(4) button")
    assert column(page, "#run-table", 3) == ordered[::-1]


def test_sizes_sort_by_size_and_not_by_how_they_are_written(page):
    page.js(f"document.querySelectorAll('{RUNS}').forEach(r => {{ r.cells[5].innerText = 'x'; }})")
    page.click("#run-table th:nth-child(6) button")
    sizes = [
        float(v)
        for v in page.js(f"[...document.querySelectorAll('{RUNS}')].map(r => r.cells[5].dataset.v)")
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 5


def test_every_data_table_sorts_by_its_first_column(page):
    count = page.js(
        "[...document.querySelectorAll('table.data')].filter(t => {"
        "if (t.tBodies[0].rows.length < 2) return false;"
        "const button = t.tHead.querySelector('th button'); button.click();"
        "return t.tHead.rows[0].cells[0].ariaSort === 'ascending'; }).length"
    )
    assert count >= 6


# --- filters ---------------------------------------------------------------------------------


def test_search_narrows_the_runs_and_says_how_far(page):
    page.js("document.querySelector('#run-search').focus()")
    page.write("ebt seed")
    assert shown(page) == 0
    page.js("document.querySelector('#run-search').value = ''")
    page.write("failed")
    assert shown(page) == 1
    said(page, "1 of 32 runs")
    assert page.js("document.querySelector('#run-count').textContent") == "1 of 32 runs"
    page.click("#run-reset")
    page.until(f"[...document.querySelectorAll('{RUNS}')].filter(r => !r.hidden).length === 32")


@pytest.mark.parametrize(
    ("field", "value", "left"),
    [
        ("suite", "untrained", 2),
        ("adapter", "ebt", 16),
        ("adapter", "dit", 1),
        ("state", "done", 27),
    ],
)
def test_a_choice_narrows_the_runs(page, field, value, left):
    choose = f"document.querySelector('#run-{field}')"
    page.js(f"{choose}.value = '{value}'; {choose}.dispatchEvent(new Event('change'))")
    said(page, f"{left} of 32 runs")
    assert shown(page) == left


def test_a_comma_in_a_models_label_divides_nothing(browser, odd):
    with browser.page(odd) as page:
        choices = page.js("[...document.querySelectorAll('#run-adapter option')].map(o => o.text)")
        assert choices == ["all", "left, right", "right"]
        for label in choices[1:]:
            choose = "document.querySelector('#run-adapter')"
            page.js(f"{choose}.value = '{label}'; {choose}.dispatchEvent(new Event('change'))")
            said(page, "2 of 4 runs")
            visible = f"[...document.querySelectorAll('{RUNS}')].filter(r => !r.hidden)"
            assert page.js(f"{visible}.map(r => r.cells[1].textContent)") == [label] * 2


def test_an_exhibit_leads_to_its_runs_and_back(page):
    page.click("#untrained--denoising a[data-exhibit]")
    said(page, "2 of 32 runs")
    assert shown(page) == 2
    page.click("#hostile--thinking a[data-exhibit]")
    said(page, "6 of 32 runs")
    page.js("document.querySelector('#run-table tr:not([hidden]) .toggle').click()")
    page.until("document.querySelector('tr.detail')")
    links = page.js(
        "[...document.querySelectorAll('tr.detail a')].map(a => a.getAttribute('href'))"
    )
    assert "#hostile--thinking" in links


def test_rows_of_a_long_table_are_filtered(page):
    table = "document.querySelector('#hostile--thinking table[data-filter]')"
    rows = page.js(f"{table}.tBodies[0].rows.length")
    assert rows > 15
    page.js(f"{table}.closest('.table-block').querySelector('input').focus()")
    page.write("dyck")
    left = page.js(f"[...{table}.tBodies[0].rows].filter(r => !r.hidden).length")
    assert 0 < left < rows
    said(page, f"{left} of {rows} rows")
    assert f"{left} of {rows} rows" in page.js(f"{table}.caption.textContent")


# --- runs ------------------------------------------------------------------------------------


def test_a_run_opens_and_shows_all_of_it(page):
    page.click("#run-table .toggle")
    text = page.until("document.querySelector('tr.detail')?.innerText")
    for words in ("adapter: transformer_pp_text", "seed: 0", "0123456789", "validation on builtin"):
        assert words in text
    assert page.js("document.querySelector('.toggle').ariaExpanded") == "true"
    curves = page.js(
        "[...document.querySelectorAll('tr.detail svg title')].map(t => t.textContent)"
    )
    assert [curve.split(" over")[0] for curve in curves] == ["loss", "gradient norm"]
    assert "59 of 200 logged lines" in curves[0] or "60 of 200 logged lines" in curves[0]
    assert (
        page.js("document.querySelector('tr.detail polyline').getBoundingClientRect().height") > 20
    )
    page.js("document.querySelector('tr.detail details').open = true")
    cells = page.until(
        "[...document.querySelectorAll('tr.detail table tbody tr')].map(r => r.cells[0].innerText)"
        ".join(' ')"
    )
    assert cells == "loss bits_per_byte loss bits_per_byte"
    page.click("#run-table .toggle")
    assert page.js("document.querySelector('tr.detail').hidden")


def test_words_are_shown_as_they_are_written_and_numbers_with_their_minus(page):
    """A name is found and copied; six digits do not pass for all of a number."""
    values = ["builtin/moving-digits", -1.5, 1e-7, 1234567.8, 61543, 0.123456789]
    page.js(
        "window.report.unpack('packed-runs').then(data => {"
        "const row = Object.values(data.runs)[0].evaluations[0].rows[0];"
        f"{json.dumps(values)}.forEach((value, i) => {{ row[i + 1] = value; }}); }})"
    )
    page.click("#run-table .toggle")
    page.until("document.querySelector('tr.detail')")
    page.js("document.querySelector('tr.detail details').open = true")
    page.until("document.querySelector('tr.detail td td')")
    shown = page.js("[...document.querySelectorAll('tr.detail td td')].map(e => e.textContent)")
    assert shown[:6] == [
        *("builtin/moving-digits", "−1.5", "1e-7", "1234567.8", "61543", "0.123457"),
    ]


def test_sorting_and_filters_keep_an_open_run_under_its_row(page):
    page.click("#run-table .toggle")
    page.until("document.querySelector('tr.detail')")
    page.click("#run-table th:nth-child(6) button")
    page.click("#run-table th:nth-child(6) button")
    follows = (
        "(d => d.previousElementSibling.id === d.dataset.of)(document.querySelector('.detail'))"
    )
    assert page.js(follows)
    page.js("document.querySelector('#run-search').focus()")
    page.write("no such run")
    assert page.js("document.querySelector('tr.detail').hidden")


def test_an_address_opens_its_run(browser, written):
    run = re.findall(r'<tr id="run-(ebt_text-\w+)">', written.read_text())[0]
    with browser.page(written, fragment=f"#run-{run}") as page:
        page.until(f"document.querySelector('tr.detail')?.dataset.of === 'run-{run}'")
        top = f"document.getElementById('run-{run}').getBoundingClientRect().top"
        page.until(f"-5 <= {top} && {top} <= 880")
        assert page.complaints() == []


def test_a_link_to_a_hidden_run_shows_it(page):
    run = page.js(f"document.querySelector('{RUNS}').id")
    page.js("document.querySelector('#run-search').focus()")
    page.write("failed")
    page.until(f"document.getElementById('{run}').hidden")
    page.js(f"location.hash = '#{run}'")
    page.until("document.querySelector('tr.detail')")
    assert not page.js(f"document.getElementById('{run}').hidden")
    assert page.js("document.querySelector('tr.detail').dataset.of") == run


def test_an_address_opens_what_is_folded(browser, written):
    folded = "document.querySelector('#disclosure-untrained')"
    with browser.page(written) as page:
        assert not page.js(f"{folded}.open")
    with browser.page(written, fragment="#disclosure-untrained") as page:
        page.until(f"{folded}.open")
        page.until(f"{folded}.getBoundingClientRect().top < window.innerHeight")


@pytest.mark.parametrize(
    ("given", "name", "column"),
    [
        ("figure button.csv", "figure-scaling-parameters", "part"),
        ("[id='table.hostile.scaling-parameters'] a.csv", "table-scaling-parameters", "model"),
    ],
)
def test_a_csv_is_written(page, tmp_path, given, name, column):
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click(f"#hostile--scaling-parameters {given}")
    path = tmp_path / f"{name}.csv"
    for _ in range(200):
        if path.exists():
            break
        page.js("new Promise(done => setTimeout(done, 20))")
    assert path.read_text().count("\n") > 5
    assert path.read_text().startswith(f"{column},")
