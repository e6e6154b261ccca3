"""`harness export`: a trained run as files that others load.

`hf` is what transformers, and with it lm-eval's `hf` model, reads: config, weights by its names,
tokenizer. `safetensors` is any adapter's weights with what it takes to build it again. Neither is
one of torch's own formats. Both come with a README that is a model card; the licence is left to the
user.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from harness.errors import HarnessError
from harness.export.folder import Format, check_free
from harness.quantities import si
from harness.records import find_run
from harness.show.console import terminal

if TYPE_CHECKING:
    from harness.export.files import Exported


def export_run(run: str, results: Path, out: Path, *, given: str | None, as_json: bool) -> None:
    """Write a finished run to `out` and say what is there. HarnessError for what cannot be."""
    if given is not None and given not in get_args(Format):
        raise HarnessError(
            "unknown format", where="--format", given=given, allowed=get_args(Format)
        )
    folder = find_run(results, run)
    check_free(out)

    from harness.export.files import export

    with terminal(stderr=True).status(f"exporting {folder.run_id}"):
        exported = export(folder, results, out, cast("Format | None", given))
    if as_json:
        print(json.dumps(asdict(exported), indent=1))
    else:
        _print(exported)


def _print(exported: Exported) -> None:
    console = terminal()
    parameters = f"{si(exported.parameters).rstrip()} parameters"
    lines = [f"{exported.run} is in {exported.out}: {parameters}, {', '.join(exported.files)}."]
    if exported.format == "hf":
        arguments = f"--model_args pretrained={exported.out},dtype=float32"
        lines.append(f"With lm-eval[hf] installed: lm_eval --model hf {arguments} --tasks NAME")
    lines.append("README.md says how to load it. It names no licence: add yours.")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
