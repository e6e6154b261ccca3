"""The command line answers at once, says what is wrong, and prints JSON where asked."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.planning.suite import load_suite
from harness.records import RunFolder, write_json
from harness.show import doctor, listing

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "suites" / "quickstart.yaml")
PROFILE = str(ROOT / "slurm" / "profiles" / "gpu.yaml")

#: Runs the command line and, after its output, names what was imported of the packages given last.
PROBE = """
import sys
from harness import cli
*sys.argv[1:], heavy = sys.argv[1:]
try:
    cli.main()
finally:
    loaded = [name for name in heavy.split(",") if name in sys.modules]
    print("loaded: " + ",".join(loaded), file=sys.stderr)
"""
MODELS = "torch,diffusers,lm_eval,torchmetrics,transformers,datasets"
ANALYSIS = "pandas,seaborn,matplotlib,scipy,sklearn"


def _named(value: list[str] | str) -> str:
    if isinstance(value, str):
        return ""
    return " ".join(value).replace(QUICKSTART, "SUITE").replace(PROFILE, "PROFILE")


def _probe(folder: Path, *arguments: str, heavy: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments, heavy],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], f"{MODELS},{ANALYSIS},pydantic,numpy"),
        (["run", "--help"], f"{MODELS},{ANALYSIS},numpy"),
        (["export", "--help"], f"{MODELS},{ANALYSIS},numpy"),
        (["ls", "adapters"], f"{MODELS},{ANALYSIS}"),
        (["ls", "ebt_text"], f"{MODELS},{ANALYSIS}"),
        (["ls", "data"], f"{MODELS},{ANALYSIS}"),
        (["ls", "suites"], f"{MODELS},{ANALYSIS}"),
        (["ls", "runs"], f"{MODELS},{ANALYSIS}"),
        (["ls", "schema"], f"{MODELS},{ANALYSIS}"),
        (["plan", QUICKSTART], f"{MODELS},pandas,seaborn,matplotlib,sklearn"),
        (["plan", QUICKSTART, "--no-simulate"], f"{MODELS},{ANALYSIS}"),
        (["plan", QUICKSTART, "--no-simulate", "--profile", PROFILE], f"{MODELS},{ANALYSIS}"),
        (["table", QUICKSTART], f"{MODELS},seaborn,matplotlib,sklearn"),
        (["report", QUICKSTART, "--help"], f"{MODELS},{ANALYSIS},numpy"),
        (["report", QUICKSTART], f"{MODELS},sklearn"),
    ],
    ids=_named,
)
def test_answers_without_slow_imports(tmp_path: Path, arguments: list[str], heavy: str) -> None:
    code, out, err = _probe(tmp_path, *arguments, heavy=heavy)
    assert code == 0, err
    assert out
    assert err.splitlines()[-1] == "loaded: "


def test_a_thousand_runs_are_planned_in_seconds(tmp_path: Path) -> None:
    """User time, generously: 3 s on two busy cores, where a quadratic slip took minutes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    code, out, _ = _probe(
        tmp_path,
        "plan",
        QUICKSTART,
        "--json",
        "--no-simulate",
        "--set",
        f"experiments.text.seeds={list(range(100))}",
        "--set",
        f"experiments.image.seeds={list(range(200))}",
        heavy=MODELS,
    )
    assert code == 0
    assert len(json.loads(out)["runs"]) >= 1000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20


# --- wrong input -----------------------------------------------------------------------------


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plann"], "plan"),
        (["plan"], "Missing argument"),
        (["plan", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["plan", "a.yaml"], "a.yaml: cannot read the file: No such file"),
        (["plan", "."], "cannot read the file: Is a directory"),
        (["plan", QUICKSTART, "--bad"], "No such option"),
        (["plan", QUICKSTART, "--set"], "requires an argument"),
        (["plan", QUICKSTART, "--set", "nonsense"], "path=value"),
        (["plan", QUICKSTART, "--profile", "absent.yaml"], "there is no such profile"),
        (["run", QUICKSTART, "--device", "gpu"], "allowed: auto, cpu, cuda"),
        (["run", QUICKSTART, "--workers", "0"], "--workers"),
        (["ls", "adaptrs"], "did you mean 'adapters'?"),
        (["ls", "runs", "--results", QUICKSTART], "cannot read the results: Not a directory"),
    ],
)
def test_wrong_input_is_a_message_and_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _main(monkeypatch, *arguments) == 2
    written = capsys.readouterr()
    assert message in written.err
    assert "Traceback" not in written.err
    assert written.out == ""
    assert list(tmp_path.iterdir()) == []


def test_without_a_verb_the_help_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _main(monkeypatch)
    assert "Usage:" in capsys.readouterr().out


# --- what ls and plan say --------------------------------------------------------------------


@pytest.fixture
def listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run `harness ls` in an empty folder; returns its JSON."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Any:
        assert _main(monkeypatch, "ls", *arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    return call


def test_ls_adapters_tells_every_setting(listed: Any) -> None:
    rows = {row["name"]: row for row in listed("adapters")}
    assert rows["ebt_text"]["thinking"] == ["descent"]
    settings = {s["name"]: s for s in rows["ebt_text"]["config"]}
    assert settings["step_size"]["default"] == 500.0
    assert settings["step_conditioning"]["type"] == "none | time_embed | adaln | adaln_zero"
    assert all(s["description"] for row in rows.values() for s in row["config"])
    assert listed("ebt_text") == rows["ebt_text"]


def test_ls_data_tells_splits(listed: Any) -> None:
    rows = {row["name"]: row for row in listed("data")}
    assert rows["builtin/docs"]["splits"] == ["train", "validation"]
    assert rows["builtin/digits"]["image_shape"] == [1, 8, 8]


def test_ls_suites_lists_broken_ones_with_their_error(listed: Any) -> None:
    assert listed("suites") == []
    folder = Path("suites/cpu")
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("suit: x\n")
    Path("suites/good.yaml").write_text(Path(QUICKSTART).read_text())
    broken, good = listed("suites")
    assert broken["path"] == "suites/cpu/broken.yaml"
    assert "suites/cpu/broken.yaml:1 suit: unknown key" in broken["error"]
    assert (good["suite"], good["runs"]) == ("quickstart", len(load_suite(Path(QUICKSTART)).runs))


def test_ls_runs_lists_states_and_damage(listed: Any) -> None:
    assert listed("runs") == []
    results = Path("results")
    good, bad = RunFolder(results, "a-1"), RunFolder(results, "b-2")
    write_json(good.spec, {"adapter": "ebt_text"})
    good.set_status("failed", "loss is not finite", step=3, total_steps=9)
    bad.path.mkdir(parents=True)
    bad.status_path.write_text("{")
    first, second = listed("runs")
    assert first == {
        "run": "a-1",
        "adapter": "ebt_text",
        "state": "failed",
        "step": 3,
        "total_steps": 9,
        "reason": "loss is not finite",
    }
    assert "not valid JSON" in second["error"]


@pytest.mark.parametrize("what", ["adapters", "ebt_text", "data", "suites", "runs"])
def test_ls_prints_tables(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert _main(monkeypatch, "ls", what) == 0
    expected = {
        "adapters": "dit_image",
        "ebt_text": "step_conditioning",
        "data": "builtin/dyck",
        "suites": "suites/quickstart.yaml",
        "runs": "run",
    }
    assert expected[what] in capsys.readouterr().out.lower()


def test_plan_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _main(monkeypatch, "plan", QUICKSTART, "--json", "--no-simulate") == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["runs"]) == len(load_suite(Path(QUICKSTART)).runs)
    assert {row["state"] for row in document["runs"]} == {"new"}
    assert document["total_flops"] == pytest.approx(sum(row["flops"] for row in document["runs"]))
    assert list(tmp_path.iterdir()) == [], "a plan writes nothing"


def test_ls_data_says_how_ones_own_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    listing.print_listing("data", Path("results"), as_json=False)
    said = capsys.readouterr().out
    for form in ("file:PATH.txt", "file:FOLDER?size=32", "idx3", "&frames=16", "hub:OWNER/NAME"):
        assert form in said


# --- doctor ----------------------------------------------------------------------------------


def _doctor(capsys: pytest.CaptureFixture[str], results: Path) -> tuple[int, dict[str, Any]]:
    code = doctor.examine(as_json=True, results=results)
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] == (code == 0)
    return code, {check["name"]: check for check in document["checks"]}


def test_doctor_finds_this_installation_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, checks = _doctor(capsys, tmp_path / "new" / "results")
    assert code == 0
    assert "torch" in checks["dependencies"]["found"]
    assert checks["data docs.jsonl.gz"]["verdict"] == "ok"
    assert not (tmp_path / "new").exists(), "an examination leaves nothing behind"


@pytest.mark.parametrize("installed", [True, False])
def test_doctor_says_whether_videos_can_be_read(
    installed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = doctor.version

    def version(name: str) -> str:
        if name != "av":
            return known(name)
        if not installed:
            raise PackageNotFoundError
        return "99.1"

    monkeypatch.setattr(doctor, "version", version)
    code, checks = _doctor(capsys, tmp_path)
    assert (code, checks["videos"]["verdict"]) == (0, "ok"), "it is optional"
    said = "PyAV 99.1" if installed else "pip install 'ebt-harness[video]'"
    assert said in checks["videos"]["found"]


def test_doctor_fails_where_records_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").write_text("a file")
    code, checks = _doctor(capsys, tmp_path / "results")
    assert code == 1
    assert checks["results"]["verdict"] == "FAIL"
    assert "HARNESS_RESULTS" in checks["results"]["advice"]


def test_doctor_fails_on_damaged_data_and_old_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "DOCS_SHA256", "0" * 64)
    monkeypatch.setattr(doctor, "requires", lambda _: ["numpy>=99", "no-such-package>=1", "pyyaml"])
    code, checks = _doctor(capsys, tmp_path)
    assert code == 1
    assert checks["data docs.jsonl.gz"]["verdict"] == "FAIL"
    assert checks["numpy"]["advice"] == 'pip install "numpy>=99"'
    assert checks["no-such-package"]["found"] == "is not installed"
