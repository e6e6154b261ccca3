"""The README, CONTRIBUTING and suite docs say only what is true: links, commands, suites, code."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from harness import registry
from harness.cli import app
from harness.launch.slurm.profile import Profile, load_profile
from harness.noise import NoiseSource
from harness.planning.suite import load_suite
from harness.protocol import Single, TextBatch, TextShape

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "examples/README.md",
    "suites/README.md",
    "slurm/README.md",
    "slurm/local/README.md",
]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_resolve(document):
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert ((ROOT / document).parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_exist_with_their_options(document):
    verbs = get_command(app).commands
    found = re.findall(r"harness (?!PATH)([a-z]+)((?: +--?[a-z-]+)*)", _code(document))
    for verb, options in found:
        assert verb in verbs, verb
        known = {option for parameter in verbs[verb].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known


def _code(document: str) -> str:
    """Indented and inline code."""
    text = (ROOT / document).read_text()
    indented = re.findall(r"^    (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return "\n".join(indented + re.findall(r"`(harness [^`]+)`", text))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", _code(document))) <= targets


def test_every_key_of_a_profile_is_explained():
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "slurm/README.md").read_text(), re.M)
    explained = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert sorted(explained) == sorted(Profile.model_fields)


@pytest.mark.parametrize("path", sorted((ROOT / "slurm/profiles").glob("*.yaml")), ids=str)
def test_every_profile_is_one(path):
    assert load_profile(path).time


@pytest.mark.parametrize("document", ["README.md", "suites/README.md"])
def test_whole_suites_in_the_docs_plan(document, tmp_path):
    suites = [block for block in blocks(document, "yaml") if block.startswith("suite:")]
    assert suites
    for text in suites:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        assert load_suite(path).runs


def test_the_readme_adapter_works_as_written(tmp_path, monkeypatch):
    """Its files, its entry point and its suite override, exactly as printed."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    for code in blocks("README.md", "python"):
        name = re.match(r"# my_package/(\w+\.py)", code)
        assert name is not None
        (package / name.group(1)).write_text(code)
    toml = tomllib.loads(blocks("README.md", "toml")[0])
    points = toml["project"]["entry-points"][registry.GROUP]
    known = registry._entry_points() | {
        name: EntryPoint(name, value, registry.GROUP) for name, value in points.items()
    }
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_entry_points", lambda: known)
    override = re.search(r"--set '(experiments\.[^']+)'", (ROOT / "README.md").read_text())
    assert override is not None
    path = tmp_path / "suite.yaml"
    path.write_text(next(b for b in blocks("README.md", "yaml") if b.startswith("suite:")))
    runs = load_suite(path, overrides=[override.group(1)]).of("text")
    mine = [run for run in runs if run.adapter_label == "mine"]
    assert len(mine) == 15
    _learns(mine[0])
    for name in [m for m in sys.modules if m.startswith("my_package")]:
        monkeypatch.delitem(sys.modules, name)


def _learns(run):
    shape = TextShape(vocab_size=11, context=6)
    torch.manual_seed(0)
    adapter = registry.load_factory(run.record)(run.config, shape)
    counted = sum(p.numel() for p in adapter.parameters())
    assert counted == run.record.parameters(run.config, shape).total
    tokens = torch.arange(7).repeat(2, 1)
    batch = TextBatch(tokens, torch.ones(2, 6, dtype=torch.bool), torch.arange(2))
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        output = adapter.training_loss(batch, NoiseSource(0))
        output.loss_sum.backward()
        optimizer.step()
        losses.append(float(output.loss_sum.detach()))
    assert losses[-1] < 0.2 * losses[0]
    assert adapter.predict(batch, Single(), NoiseSource(0)).value.shape == (2, 6, 11)
