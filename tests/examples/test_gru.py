"""The example package, laid out as pip would: it passes, it plans, and the guide quotes it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.conformance.examine import CHECKS

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
GUIDE = (EXAMPLES / "README.md").read_text()
HARNESS = Path(sys.executable).with_name("harness")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the example alone."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLES / "gru" / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLES / "gru" / "src" / "gru_text", site / "gru_text")
    info = site / f"gru_text-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [
        line
        for group, names in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    return site


def harness(site: Path, *arguments: str) -> tuple[int, str]:
    """Exit code, and everything printed."""
    done = subprocess.run(
        [HARNESS, *arguments],
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_it_keeps_the_contract_and_generates(site: Path) -> None:
    code, out = harness(site, "check", "gru_text")
    assert code == 0, out
    assert re.search(r"^decoder +passed", out, re.M)
    assert "keeps the contract" in out


def test_what_the_guide_says_of_a_failure(site: Path, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    record = tmp_path / "gru_text" / "record.py"
    code = record.read_text()
    assert "2 * (3 * d * d + 3 * d)" in code
    record.write_text(code.replace("2 * (3 * d * d + 3 * d)", "2 * (3 * d * d)"))
    ended, out = harness(tmp_path, "check", "gru_text")
    assert ended == 1
    (quoted,) = re.findall(r"```text\n(.*?)```", GUIDE, re.S)
    for line in quoted.splitlines():
        assert line.split() in [printed.split() for printed in out.splitlines()], line


def test_its_suite_plans_without_importing_the_model(site: Path, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    (tmp_path / "gru_text" / "model.py").write_text("raise RuntimeError('imported')")
    code, out = harness(tmp_path, "plan", "examples/gru/suite.yaml", "--no-simulate")
    assert code == 0, out
    assert len(re.findall(r"^gru_text-", out, re.M)) == 6
    assert "12 runs" in out


def test_the_guide_quotes_the_files() -> None:
    for language, suffix in (("python", ".py"), ("toml", ".toml"), ("yaml", ".yaml")):
        files = [path.read_text() for path in sorted(EXAMPLES.rglob(f"*{suffix}"))]
        quoted = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S)
        assert quoted
        for block in quoted:
            assert any(block in text for text in files), block


def test_the_guide_names_every_check() -> None:
    listed = " ".join(re.findall(r"^\| ([a-z0-9, ]+) \|", GUIDE, re.M))
    for check in CHECKS:
        assert check.__name__.replace("_", " ") in listed
