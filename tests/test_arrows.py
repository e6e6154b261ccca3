"""Who may import whom, as data; a walk over every import statement holds the code to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

#: Room -> the rooms it may import, besides itself and Python packages. The longest name counts.
ARROWS: dict[str, set[str]] = {
    "harness": set(),
    "harness.errors": set(),
    "harness.quantities": set(),
    "harness.ranks": set(),
    "harness.protocol": set(),
    "harness.capabilities": {"harness.protocol"},
    "harness.registry": {"harness.errors", "harness.protocol"},
    "harness.fields": {"harness.errors"},
    "harness.records": {"harness.errors", "harness.fields"},
    "harness.arrays": {"harness.errors", "harness.fields"},
    "harness.provenance": {
        "harness.data",
        "harness.errors",
        "harness.fields",
        "harness.protocol",
        "harness.records",
    },
    "harness.noise": {"harness.protocol"},
    "harness.cost": {"harness.protocol"},
    "harness.conformance": {
        "harness.capabilities",
        "harness.cost",
        "harness.data",
        "harness.errors",
        "harness.noise",
        "harness.protocol",
        "harness.registry",
    },
    "harness.data": {"harness.errors", "harness.protocol", "harness.records"},
    "harness.planning": {
        "harness.data",
        "harness.errors",
        "harness.protocol",
        "harness.registry",
    },
    "harness.training": {
        "harness.capabilities",
        "harness.cost",
        "harness.data",
        "harness.errors",
        "harness.noise",
        "harness.planning.spec",
        "harness.protocol",
        "harness.records",
    },
    "harness.evals": {
        "harness.capabilities",
        "harness.cost",
        "harness.data",
        "harness.errors",
        "harness.noise",
        "harness.planning.eval_spec",
        "harness.planning.shapes",
        "harness.planning.spec",
        "harness.protocol",
        "harness.ranks",
        "harness.provenance",
        "harness.records",
    },
    "harness.launch": {
        "harness.errors",
        "harness.planning",
        "harness.protocol",
        "harness.provenance",
        "harness.quantities",
        "harness.records",
        "harness.registry",
    },
    "harness.launch.evaluating": {
        "harness.cost",
        "harness.data",
        "harness.errors",
        "harness.evals",
        "harness.launch.stop",
        "harness.launch.trained",
        "harness.planning.eval_spec",
        "harness.provenance",
        "harness.records",
    },
    "harness.launch.trained": {
        "harness.errors",
        "harness.evals.context",
        "harness.planning.shapes",
        "harness.planning.spec",
        "harness.records",
        "harness.registry",
        "harness.training.checkpoint",
    },
    "harness.launch.preconditions": {
        "harness.data",
        "harness.errors",
        "harness.planning.spec",
        "harness.records",
    },
    "harness.launch.downstream": {
        "harness.errors",
        "harness.evals.context",
        "harness.launch",
        "harness.planning.eval_spec",
        "harness.provenance",
        "harness.records",
        "harness.registry",
        "harness.training.parallel",
    },
    "harness.launch.lm_eval_plugin": {
        "harness.errors",
        "harness.evals.language_model",
        "harness.launch.trained",
        "harness.planning",
        "harness.protocol",
        "harness.records",
        "harness.training.parallel",
    },
    "harness.launch.claims": {"harness.errors", "harness.records"},
    "harness.launch.slurm": {
        "harness.errors",
        "harness.launch",
        "harness.planning",
        "harness.protocol",
        "harness.provenance",
        "harness.records",
    },
    "harness.launch.slurm.task": {
        "harness.errors",
        "harness.launch",
        "harness.records",
        "harness.training.parallel",
    },
    "harness.launch.torchrun": {
        "harness.errors",
        "harness.launch",
        "harness.planning",
        "harness.provenance",
        "harness.records",
        "harness.training.parallel",
    },
    "harness.launch.worker": {
        "harness.capabilities",
        "harness.launch.claims",
        "harness.launch.evaluating",
        "harness.launch.preconditions",
        "harness.cost",
        "harness.data",
        "harness.errors",
        "harness.evals",
        "harness.launch.job",
        "harness.launch.stop",
        "harness.launch.trained",
        "harness.planning.shapes",
        "harness.planning.spec",
        "harness.protocol",
        "harness.provenance",
        "harness.records",
        "harness.registry",
        "harness.training",
    },
    "harness.publishing": {
        "harness.arrays",
        "harness.data.names",
        "harness.errors",
        "harness.fields",
        "harness.planning",
        "harness.provenance",
        "harness.records",
    },
    "harness.publishing.checksums": {"harness.errors", "harness.fields"},
    "harness.publishing.layout": {"harness.errors", "harness.records"},
    "harness.analysis": {
        "harness.arrays",
        "harness.data.names",
        "harness.errors",
        "harness.fields",
        "harness.planning",
        "harness.protocol",
        "harness.provenance",
        "harness.publishing.checksums",
        "harness.publishing.layout",
        "harness.quantities",
        "harness.ranks",
        "harness.records",
    },
    "harness.analysis.report": {
        "harness.analysis",
        "harness.data",
        "harness.errors",
        "harness.fields",
        "harness.planning",
        "harness.provenance",
        "harness.publishing.layout",
        "harness.quantities",
        "harness.records",
    },
    "harness.export": {
        "harness.data.tokenizer",
        "harness.errors",
        "harness.planning.spec",
        "harness.provenance",
        "harness.records",
    },
    "harness.export.files": {
        "harness.capabilities",
        "harness.data.tokenizer",
        "harness.errors",
        "harness.evals.context",
        "harness.export",
        "harness.launch.trained",
        "harness.planning.spec",
        "harness.provenance",
        "harness.records",
        "harness.training.checkpoint",
    },
    "harness.show": {
        "harness.analysis",
        "harness.conformance",
        "harness.data",
        "harness.errors",
        "harness.export",
        "harness.launch",
        "harness.planning",
        "harness.protocol",
        "harness.provenance",
        "harness.publishing",
        "harness.quantities",
        "harness.records",
        "harness.registry",
    },
    "harness.options": {"harness.errors", "harness.planning"},
    "harness.exhibit_verbs": {"harness.options", "harness.planning", "harness.show"},
    "harness.cli": {
        "harness.exhibit_verbs",
        "harness.errors",
        "harness.launch",
        "harness.planning",
        "harness.show",
        "harness.options",
    },
    "baselines": {"harness.protocol"},
}
#: Whose doors open to few: the worker runs in processes of its own, which these are.
CLOSED = {
    "harness.launch.worker": {
        "harness.launch.worker",
        "harness.launch.slurm.task",
        "harness.launch.torchrun",
    }
}
#: What may load torch when it is imported; all else answers without it.
WITH_TORCH = (
    "harness.conformance",
    "harness.cost",
    "harness.data.pixels.latents",
    "harness.data.tensors",
    "harness.evals",
    "harness.export.files",
    "harness.launch.evaluating",
    "harness.launch.lm_eval_plugin",
    "harness.launch.torchrun",
    "harness.launch.trained",
    "harness.launch.worker",
    "harness.noise",
    "harness.training",
    "baselines.adapters",
    "baselines.blocks",
    "baselines.bodies",
    "baselines.compiling",
    "baselines.descent",
    "baselines.dit",
    "baselines.ebt",
    "baselines.ebt_image",
    "baselines.ebt_video",
    "baselines.energy_slope",
    "baselines.image_descent",
    "baselines.image_layers",
    "baselines.key_values",
    "baselines.known_gradients",
    "baselines.modes",
    "baselines.observed_stream",
    "baselines.packing",
    "baselines.replay",
    "baselines.rotary",
    "baselines.samplers",
    "baselines.spot_attention",
    "baselines.stream_attention",
    "baselines.stream_layers",
    "baselines.text_descent",
    "baselines.text_schedule",
    "baselines.training_descent",
    "baselines.transformer",
    "baselines.transformer_video",
    "baselines.video_descent",
    "baselines.vocabulary",
)
#: Packages that take seconds to import, and who may load them at once besides the worker's side.
DRAWING = ("harness.analysis.figures",)
HEAVY = ("diffusers", "lm_eval", "seaborn", "sklearn", "torchmetrics")
TORCH = ("torch", "safetensors.torch")


class Import(NamedTuple):
    """One import: `top` where it runs as soon as its module is imported."""

    module: str
    target: str
    place: str
    top: bool


def _modules() -> dict[str, Path]:
    found = {}
    for package in ("harness", "baselines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports() -> Iterator[Import]:
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = set(map(id, _at_import(tree)))
        for node in ast.walk(tree):
            for target in _targets(node):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                yield Import(module, target, place, id(node) in top)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Statements that run at import: not in functions, not for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import, line {node.lineno}"
        return [
            full if (full := f"{node.module}.{alias.name}") in MODULES else str(node.module)
            for alias in node.names
        ]
    return []


IMPORTS = list(_imports())


def _within(name: str, rooms: set[str] | tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def _room(module: str) -> str:
    return max((room for room in ARROWS if _within(module, (room,))), key=len)


def _shown(found: list[Import]) -> str:
    return "\n" + "\n".join(f"{i.place}: {i.module} imports {i.target}" for i in found)


def test_the_walk_finds_imports() -> None:
    arrows = {(i.module, i.target) for i in IMPORTS}
    assert ("harness.options", "harness.planning.suite") in arrows, "inside a function"
    assert ("harness.launch.trained", "harness.training.checkpoint") in arrows, "by `from`"
    assert ("baselines.sizes", "harness.protocol") in arrows


@pytest.mark.parametrize("room", ARROWS)
def test_arrows(room: str) -> None:
    own = [
        i
        for i in IMPORTS
        if _room(i.module) == room and _within(i.target, ("harness", "baselines"))
    ]
    wrong = [i for i in own if not _within(i.target, ARROWS[room] | {room})]
    assert not wrong, _shown(wrong)


@pytest.mark.parametrize("room", CLOSED)
def test_closed_rooms(room: str) -> None:
    wrong = [
        i for i in IMPORTS if _within(i.target, (room,)) and not _within(i.module, CLOSED[room])
    ]
    assert not wrong, _shown(wrong)


def test_torch_loads_on_the_workers_side_only() -> None:
    wrong = [
        i
        for i in IMPORTS
        if i.top
        and not _within(i.module, WITH_TORCH)
        and (_within(i.target, TORCH) or _within(i.target, WITH_TORCH))
    ]
    assert not wrong, _shown(wrong)


def test_every_module_that_may_load_torch_exists() -> None:
    assert {name for name in WITH_TORCH if name not in MODULES} == set()


def test_slow_packages_load_where_they_are_used() -> None:
    wrong = [
        i
        for i in IMPORTS
        if i.top and _within(i.target, HEAVY) and not _within(i.module, (*WITH_TORCH, *DRAWING))
    ]
    assert not wrong, _shown(wrong)
