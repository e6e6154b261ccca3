"""`harness check` as typed: what it prints, its exit codes, and wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from harness import cli, registry
from tests.conformance import broken, working

SIZE = ["--set", "depth=1", "--set", "width=16", "--set", "heads=2"]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A video adapter that works and three that do not, beside what is installed."""
    known = registry._entry_points() | {
        name: EntryPoint(name, f"{__name__}:{name.upper()}", registry.GROUP)
        for name in ("tidy", "leaky", "fussy", "unbuilt")
    }
    monkeypatch.setattr(registry, "_entry_points", lambda: known)
    registry.adapter.cache_clear()


def _record(name: str, model: type, **changes: Any) -> Any:
    return working.subject(working.DESCENDER, model, name=name, **changes).record


TIDY = working.subject(working.SLIDER, name="tidy").record
LEAKY = _record("leaky", broken.SeesLaterTokens, example={"width": 8})
FUSSY = _record("fussy", working.Descender, example={"wdth": 8})
UNBUILT = _record("unbuilt", broken.CannotBeBuilt)


def check(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["harness", "check", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.usefixtures("registered")
def test_a_table_of_what_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, "tidy", "--set", "width=16") == 0
    out = capsys.readouterr().out
    assert "parameters         passed" in out
    assert "descends           not offered" in out
    assert "compiled           skipped" in out
    assert "keeps the contract: " in out
    assert '"width": 16' in out


@pytest.mark.usefixtures("registered")
def test_a_failed_check_ends_in_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, "leaky") == 1
    out = capsys.readouterr().out
    assert "another token 1 changes predictions made before it was seen" in out
    assert "must hold: What comes later changes no earlier prediction" in out
    assert "does not keep the contract: " in out
    assert "1 failed" in out

    assert check(monkeypatch, "unbuilt") == 1
    assert "OSError: no such tokenizer file" in capsys.readouterr().out


@pytest.mark.usefixtures("registered")
def test_json_holds_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, "leaky", "--json", "--set", "width=6") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == {"width": 6}
    assert found["shape"] == {"vocab_size": 61, "context": 12}
    assert found["passed"] is False
    failed = [each for each in found["checks"] if each["verdict"] == "failed"]
    assert [each["check"] for each in failed] == ["leakage"]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["leeky"], ["unknown adapter", "did you mean 'leaky'?"]),
        (["leaky", "--set", "wdth=3"], ["--set wdth: unknown key", "did you mean 'width'?"]),
        (["leaky", "--set", "width"], ["written path=value", "given: 'width'"]),
        (["leaky", "--set", "width=0"], ["--set width: must be at least 1", "harness ls leaky"]),
        (["leaky", "--set", "width=[1"], ["--set", "YAML"]),
        (["fussy"], ["fussy's example wdth: unknown key", "did you mean 'width'?"]),
        (
            ["dit_image", *SIZE, "--set", "patch_size=5000"],
            ["--set patch_size: patch_size 5000 does not divide"],
        ),
        (["ebt_text", *SIZE, "--set", "heads=3"], ["--set width, --set heads: width / heads"]),
    ],
)
def test_wrong_input_ends_in_a_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    messages: list[str],
) -> None:
    assert check(monkeypatch, *arguments) == 2
    err = capsys.readouterr().err
    for message in messages:
        assert message in err, err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--help"], ["ebt_txt"], ["ebt_text", "--set", "wdth=1"]])
def test_torch_loads_only_when_something_is_checked(tmp_path: Path, arguments: list[str]) -> None:
    probe = (
        "import sys; from harness import cli\n"
        "try:\n    cli.main()\n"
        "finally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "check", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == (0 if arguments == ["--help"] else 2), done.stderr
    assert done.stderr.splitlines()[-1] == "False"
