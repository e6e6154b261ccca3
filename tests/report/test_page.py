"""The page as a file: whole, escaped, linked, small, and the same for the same records."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.analysis.claims.claim import STATUSES
from harness.analysis.report import render as rendering
from harness.analysis.report.assemble import Assembled, assemble
from harness.analysis.report.render import LIMIT, anchor, render
from harness.cli import main
from harness.errors import HarnessError
from harness.planning.suite import load_suite
from harness.records import RunFolder, read_json, read_jsonl
from harness.show.report import write_report
from tests.report.reading import Element, parsed, unpacked
from tests.report.written import (
    HOSTILE,
    LABEL,
    LOGGED,
    UNTRAINED,
    suite_of,
)


@pytest.fixture(scope="session")
def html(written: Path) -> str:
    return written.read_text()


@pytest.fixture(scope="session")
def page(html: str) -> Element:
    return parsed(html)


def test_it_asks_for_nothing_but_itself(html, page):
    assert [e.attributes["href"] for e in page.all("link")] == ["data:,"]
    for name in ("iframe", "object", "video", "form", "base"):
        assert not page.all(name)
    assert not [e for e in page.all("script") if "src" in e.attributes]
    assert all(e.attributes["src"].startswith("data:image/png;base64,") for e in page.all("img"))
    assert not re.search(r"url\(|@import", html)
    policy = page.all("meta")[1].attributes
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    targets = [e.attributes["href"] for e in page.all("a")]
    assert all(target.startswith(("#", "data:text/csv")) for target in targets)


def test_hostile_names_are_text(html, page):
    assert HOSTILE not in html
    assert LABEL not in html
    assert len(page.all("script")) == 4
    assert not [e for e in page.all("img") if e.attributes["src"] == "x"]
    titles = [e.text for e in page.all("h4")]
    assert any(HOSTILE in title for title in titles)
    assert any(LABEL in e.text for e in page.all("td"))


def test_ids_are_unique_and_links_lead_to_them(page):
    ids = [e.attributes["id"] for e in _everything(page) if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    links = {e.attributes["href"][1:] for e in page.all("a") if e.attributes["href"][0] == "#"}
    assert links <= set(ids)
    assert {"verdicts", "runs", "definitions", "disclosure", "suite-hostile"} <= links
    for labelled in _everything(page):
        if "aria-labelledby" in labelled.attributes:
            assert labelled.attributes["aria-labelledby"] in ids


def _everything(element: Element):
    for each in element.inside:
        yield each
        yield from _everything(each)


def test_headings_follow_each_other(page):
    levels = [int(e.name[1]) for e in _everything(page) if re.fullmatch(r"h[1-6]", e.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_pictures_say_what_is_seen(page):
    images = page.all("img")
    assert len(images) >= 3
    for image in images:
        assert len(image.attributes["alt"]) > 60
    parameters = next(i for i in images if "Parameters" in i.attributes["alt"])
    assert "undecided" in parameters.attributes["alt"]
    assert "3 training seeds" in parameters.attributes["alt"]


def test_tables_name_their_rows_and_columns(page):
    for table in page.all("table"):
        assert table.all("caption")[0].text.strip()
        heads = table.all("thead")[0].all("th")
        assert all(head.attributes["scope"] == "col" for head in heads)
        for row in table.all("tbody")[0].all("tr"):
            cells = [e for e in row.inside if e.name in ("td", "th")]
            assert len(cells) == len(heads)
            assert cells[0].attributes.get("scope") == "row"


def test_every_run_has_a_row_and_its_state(page, written):
    rows = page.all("table", id="run-table")[0].all("tbody")[0].all("tr")
    assert len(rows) == 30 + 2
    states = [row.all("td")[12].text.split()[0] for row in rows]
    assert states.count("done") == 27
    assert states.count("failed") == 1
    assert states.count("planned") == 4
    failed = rows[states.index("failed")]
    assert f"out of memory {HOSTILE}" in failed.text
    assert failed.all("td")[11].text == "", "no loss is made up"


def test_what_is_missing_is_said_with_its_command(page):
    section = page.all("section", id="untrained--denoising")[0]
    assert not section.all("img")
    assert not section.all("table")
    assert "2 of 2 evaluations are missing" in section.text
    assert "harness run" in section.text
    assert "untrained.yaml" in section.text


def test_details_hold_what_the_records_hold(html, written):
    data = unpacked(html, "packed-runs")
    assert len(data["runs"]) == 32
    done = {name: run for name, run in data["runs"].items() if run["training"]}
    assert len(done) == 27
    for name, run in done.items():
        folder = RunFolder(written.parent / "results", name)
        assert run["spec"] == read_json(folder.spec)
        assert run["training"] == read_json(folder.training)
        for evaluation in run["evaluations"]:
            kept = read_jsonl(folder.evaluation(evaluation["id"]).measurements)
            assert evaluation["of"] == len(evaluation["rows"]) == len(kept) > 0
            for row, line in zip(evaluation["rows"], kept, strict=True):
                assert (row[0], row[3]) == (line["name"], line["n"])
                assert row[1] == pytest.approx(line["value"], rel=1e-5)
        origin = data["origins"][run["origin"]]
        assert origin["git"]["commit"].startswith("0123456789")
        assert "hostile--scaling-parameters" in [data["exhibits"][i] for i in run["exhibits"]]


def test_curves_are_those_of_the_log(html, written):
    for name, run in unpacked(html, "packed-runs")["runs"].items():
        log = RunFolder(written.parent / "results", name).train_log
        if not log.exists():
            assert run["curve"] is None
            continue
        curve, lines = run["curve"], read_jsonl(log)
        assert curve["logged"] == len(lines) == LOGGED
        assert len(curve["steps"]) == 60
        assert (curve["steps"][0], curve["steps"][-1]) == (1, LOGGED)
        by_step = {line["step"]: line["loss"] for line in lines}
        for step, loss in zip(curve["steps"], curve["values"]["loss"], strict=True):
            wanted = by_step[step]
            assert loss == (None if wanted is None else pytest.approx(wanted, rel=1e-3))


def test_a_row_has_the_numbers_of_its_run(page, written):
    suite = load_suite(written.parent / "hostile.yaml")
    for run in suite.runs[:27]:
        row = page.all("tr", id=f"run-{run.run_id}")[0]
        cells = [cell.text for cell in row.all("td")]
        counted = run.record.parameters(run.config, run.shape)
        assert row.all("td")[4].attributes["data-v"] == f"{counted.non_embedding:.6g}"
        assert cells[0] == run.adapter_label
        assert cells[3] == str(run.spec.seed)
        assert row.all("td")[5].attributes["data-v"] == f"{counted.total:.6g}"
        assert cells[6:10] == ["1.28 k tokens", "5 G", "2 s", "1 MiB"]
        folder = RunFolder(written.parent / "results", run.run_id)
        lines = read_jsonl(folder.evaluation(run.evaluations[0].eval_id).measurements)
        losses = [line["value"] for line in lines if line["name"] == "loss"]
        assert cells[11] == f"{sum(losses) / 2:.4f}"
        assert cells[10] == f"{read_jsonl(folder.train_log)[-1]['loss']:.4g}"


def test_the_head_says_what_the_page_is_made_of(page, written):
    facts = {
        div.all("dt")[0].text: div.all("dd")[0].text
        for div in page.all("header")[0].all("div")
        if div.all("dt") and len(div.all("dt")) == 1
    }
    assert facts["suites"] == "hostile v1, untrained v1"
    assert facts["runs"] == "27 of 32 done"
    assert facts["evaluations"] == "39 of 44 done"
    assert facts["training"] == "135 GFLOPs, 54 s"  # 27 of 5e9 and 2 s
    assert facts["devices"] == "test device: 27 runs"
    assert facts["code"].startswith("ebt-harness ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", facts["newest record"])
    command = page.all("header")[0].all("pre")[0].text
    assert command.startswith("harness report ")
    assert command.endswith(f"--out {written}")


def test_runs_of_one_command_share_their_origin(html):
    data = unpacked(html, "packed-runs")
    assert len(data["origins"]) == 1
    origins = [run["origin"] for run in data["runs"].values()]
    assert (origins.count(0), origins.count(None)) == (27, 5)


def test_figures_and_tables_carry_their_numbers(html, page):
    large = unpacked(html, "packed-csv")
    small = [e.attributes for e in page.all("a") if "download" in e.attributes]
    keys = {e.attributes["data-csv"] for e in page.all("button") if "data-csv" in e.attributes}
    assert keys == set(large)
    assert len(keys) + len(small) >= 6
    points = large["figure/hostile/scaling-parameters"].splitlines()
    assert points[0].startswith("kind,") or "loss" in points[0]
    assert len(points) > 10


def test_each_csv_is_that_of_its_table_or_figure(html, page, again):
    large = unpacked(html, "packed-csv")

    def offered(element: Element) -> tuple[str, str]:
        """What its CSV control saves, and under which name."""
        for button in element.all("button"):
            if "data-csv" in button.attributes:
                return large[button.attributes["data-csv"]], button.attributes["data-name"]
        (link,) = (each for each in element.all("a") if "download" in each.attributes)
        text = base64.b64decode(link.attributes["href"].partition("base64,")[2]).decode()
        return text, link.attributes["download"].removesuffix(".csv")

    parts = [part for suite in again.page.suites for part in suite.exhibits]
    shown = [each for part in parts for each in part.tables if each.table.rows]
    shown += [claim.findings for claim in again.page.claims if claim.findings.table.rows]
    shown += again.page.overview
    for each in shown:
        block = page.all("div", id=anchor(each.anchor))[0]
        assert offered(block) == (each.table.csv(), f"table-{each.table.name}")
    for figure in again.page.figures:
        drawn = page.all("figure", id=f"figure-{figure.number}")[0]
        assert offered(drawn) == (figure.picture.csv, f"figure-{figure.picture.name}")
    tables, figures = (
        {each.table.name for each in shown},
        {f.picture.name for f in again.page.figures},
    )
    assert tables & figures, "names that are shared keep their own data"


def test_no_two_csv_files_share_a_key(again):
    suite = again.page.suites[0]
    part = next(part for part in suite.exhibits if part.figures and part.tables)
    figure = replace(part.figures[0], csv=part.tables[0].csv)
    clashing = replace(suite, exhibits=[replace(part, figures=[figure])])
    with pytest.raises(AssertionError, match="share a key"):
        render(replace(again, page=replace(again.page, suites=[clashing])))


def test_long_names_alone_may_break_where_they_are_read_apart(html, odd):
    assert "<wbr>" not in html
    cells = [e for e in parsed(odd.read_text()).all("th") if e.attributes.get("scope") == "row"]
    assert {e.text for e in cells if e.all("wbr")} == {"odd_names_of_all_kinds"}


def test_long_notes_are_folded_and_all_there(html, page, again):
    long = [shown for shown in again.page.overview if len(shown.table.notes) > 6]
    assert long
    for shown in long:
        block = page.all("div", id=anchor(shown.anchor))[0]
        assert [e.text for e in block.all("li")] == list(shown.table.notes)
        folded = [e.text for e in block.all("details")[-1].all("li")]
        assert folded == list(shown.table.notes)[4:]


@pytest.fixture(scope="session")
def again(written: Path) -> Assembled:
    """The same records, read and drawn once more."""
    folder = written.parent
    suites = [load_suite(folder / "hostile.yaml"), load_suite(folder / "untrained.yaml")]
    return assemble(suites, folder / "results", written)


def test_the_same_records_give_the_same_page(html, again):
    assert render(again).html == html


def test_what_could_turn_a_finding_is_not_said_to_help(again):
    claim = next(each for each in again.page.claims if each.verdict.findings)
    finding = replace(claim.verdict.findings[0], evidence="confirmatory", caveat="it may turn")
    verdict = replace(claim.verdict, findings=(finding,), deciding=(), status="undecided")
    shown = parsed(
        render(
            replace(again, page=replace(again.page, claims=[replace(claim, verdict=verdict)]))
        ).html
    )
    (article,) = shown.all("article", id=f"claim-{verdict.claim.name}")
    terms = [term.text for term in article.all("dt")]
    facts = dict(zip(terms, (fact.text for fact in article.all("dd")), strict=True))
    assert facts["what could turn it"].endswith("it may turn.")
    assert verdict.claim.suites in facts["what would help"]


def test_it_shrinks_to_the_limit_and_says_so(html, again, monkeypatch):
    whole = len(html.encode())
    assert whole < LIMIT
    assert not render(again).spared
    words = len(re.sub(r'base64,[^"]*|">[A-Za-z0-9+/=]{200,}<', "", html).encode())
    monkeypatch.setattr(rendering, "LIMIT", words + (whole - words) * 2 // 5)
    monkeypatch.setattr(rendering, "_FOR_RUNS", 0.02)
    monkeypatch.setattr(rendering, "_FOR_CSV", 0.05)
    shrunk = render(again)
    assert shrunk.bytes <= rendering.LIMIT
    assert len(shrunk.spared) == 3
    page = parsed(shrunk.html)
    for note in shrunk.spared:
        assert note in page.text
    assert len(page.all("img")) == len(parsed(html).all("img"))
    runs = unpacked(shrunk.html, "packed-runs")["runs"]
    assert {len(r["curve"]["steps"]) for r in runs.values() if r["curve"]} == {8}
    evaluation = next(r for r in runs.values() if r["curve"])["evaluations"][0]
    assert (len(evaluation["rows"]), evaluation["of"]) == (2, 4), "what is left out is counted"


# --- the verb --------------------------------------------------------------------------------


def test_the_verb_says_what_it_wrote(written, tmp_path, capsys, monkeypatch):
    folder = written.parent
    out = tmp_path / "deep" / "page.html"
    words = ["report", str(folder / "hostile.yaml"), "--results", str(folder / "results")]
    assert _harness(monkeypatch, *words, "--out", str(out), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["report"] == str(out)
    assert said["bytes"] == out.stat().st_size
    assert (said["runs"], said["runs_done"], said["suites"]) == (30, 27, ["hostile"])
    assert {claim["status"] for claim in said["claims"]} <= set(STATUSES)
    assert any("evaluations are missing" in note for note in said["notes"])


def test_a_folder_as_out_is_wrong_input(written, tmp_path, capsys, monkeypatch):
    suite = str(written.parent / "untrained.yaml")
    assert _harness(monkeypatch, "report", suite, "--out", str(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "this is a folder, not a file" in said
    assert "Traceback" not in said


def _harness(monkeypatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["harness", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


# --- where it cannot be written --------------------------------------------------------------


@pytest.fixture
def untrained(tmp_path):
    return suite_of(UNTRAINED, tmp_path, "untrained.yaml")


def test_a_folder_is_no_file(untrained, tmp_path):
    with pytest.raises(HarnessError, match="this is a folder"):
        write_report([untrained], tmp_path / "results", tmp_path, as_json=False)


def test_a_folder_that_is_a_file_is_one_error_at_once(untrained, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.show.report.assemble", None)
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "report.html"
    with pytest.raises(HarnessError, match="cannot write here"):
        write_report([untrained], tmp_path / "results", out, as_json=False)


def test_a_full_disk_is_one_error_and_keeps_the_old_page(untrained, tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    out.write_text("old")
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(HarnessError, match="No space left"):
        write_report([untrained], tmp_path / "results", out, as_json=False)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_brackets_of_a_path_are_no_markup(untrained, tmp_path, capsys):
    out = tmp_path / "m[" / "x]" / "report.html"
    write_report([untrained], tmp_path / "results", out, as_json=False)
    assert "m[/x]/report.html (" in "".join(capsys.readouterr().out.split("\n"))


def _full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")
