"""The command line: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.exhibit_verbs import EXHIBIT_VERBS
from harness.options import (
    RESULTS,
    Json,
    Overrides,
    ProfilePath,
    RedoChanged,
    Results,
    SuitePath,
    check_device,
    check_results,
    load,
)

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compare Energy-Based Transformers, Transformer++ and DiT under declared suites.",
    epilog="Exit codes: 0 done, 1 a run or check failed, 2 wrong input, 130 interrupted.",
)


@app.command()
def plan(
    suite: SuitePath,
    overrides: Overrides = None,
    results: Results = RESULTS,
    simulate: Annotated[
        bool, typer.Option(help="Simulate the interval that each scaling section can reach.")
    ] = True,
    profile: Annotated[
        Path | None,
        typer.Option(help="A Slurm profile: adds hours, arrays, wall time and storage under it."),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Train a few steps of each size to measure its speed, on this machine; on a "
            "cluster, on a compute node: `srun … harness plan … --probe`.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show every run of a suite: size, cost, what is done, and what it can decide."""
    from harness.show import plan as show

    loaded = load(suite, overrides, results)
    code = show.print_plan(
        loaded, results, simulate=simulate, as_json=as_json, profile_path=profile, probe=probe
    )
    raise typer.Exit(code)


@app.command()
def run(
    suite: SuitePath,
    overrides: Overrides = None,
    results: Results = RESULTS,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; default: cores / threads per run.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    checkpoint_seconds: Annotated[
        float, typer.Option(min=1, help="Seconds between checkpoints.")
    ] = 60.0,
    checkpoint_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints, instead of seconds.")
    ] = None,
    redo_changed: RedoChanged = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate whatever of a suite is missing, on this machine."""
    from harness.launch.local import LocalOptions
    from harness.show import run as show

    loaded = load(suite, overrides, results)
    check_device(device)
    options = LocalOptions(workers, device, checkpoint_seconds, checkpoint_steps)
    raise typer.Exit(
        show.run_suite(loaded, results, options=options, redo_changed=redo_changed, as_json=as_json)
    )


@app.command()
def prepare(
    what: Annotated[
        str,
        typer.Argument(
            help="A suite file: all text, images and clips that it trains or is evaluated on. Or "
            "one data set, such as file:corpus/*.parquet#text, hub:OWNER/NAME@REVISION#text or "
            "file:coco/{split}2014?size=128."
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="Of one data set: train, validation or test.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(help="bytes, gpt-neox-20b, gpt2, or a tokenizer file or folder.")
    ] = "bytes",
    overrides: Overrides = None,
    results: Results = RESULTS,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes or threads; default: one a core.")
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(
            "--train-tokenizer",
            metavar="VOCAB_SIZE",
            help="Train a byte-level BPE of this size on the data set, instead, and write --out.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --train-tokenizer: the .json file to write.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tokenize text, decode images and clips ahead of runs; cut off, the same command goes on."""
    from harness.show import prepare as show

    show.check_options(what, (split, tokenizer), overrides, (vocab_size, out))
    if what.endswith(show.SUITES):
        loaded = load(Path(what), overrides, results)
        raise typer.Exit(show.prepare_suite(loaded, results, workers=workers, as_json=as_json))
    check_results(results)
    if vocab_size is not None and out is not None:
        show.make_tokenizer(what, split, vocab_size=vocab_size, out=out, as_json=as_json)
        return
    show.prepare_data((what, split, tokenizer), results, workers=workers, as_json=as_json)


@app.command()
def submit(
    suite: SuitePath,
    profile: ProfilePath,
    overrides: Overrides = None,
    results: Results = RESULTS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the sbatch scripts and submit nothing.")
    ] = False,
    redo_changed: RedoChanged = False,
    as_json: Json = False,
) -> None:
    """Hand whatever of a suite is missing or failed to Slurm as job arrays, and return."""
    from harness.launch.slurm.profile import load_profile
    from harness.show import submit as show

    loaded, chosen = load(suite, overrides, results), load_profile(profile)
    if dry_run:
        show.print_scripts(loaded, results, chosen, redo_changed=redo_changed, as_json=as_json)
    else:
        show.submit_suite(loaded, results, chosen, redo_changed=redo_changed, as_json=as_json)


@app.command()
def status(
    suite: SuitePath,
    overrides: Overrides = None,
    results: Results = RESULTS,
    states: Annotated[
        list[str] | None, typer.Option("--state", help="Only runs in this state; repeatable.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow until nothing is queued or running.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show where every run of a suite is: state, job, node, progress, time left, reason."""
    from harness.show import status as show

    loaded = load(suite, overrides, results)
    show.print_status(loaded, results, states=states or [], watch=watch, as_json=as_json)


@app.command()
def retry(
    suite: SuitePath,
    profile: Annotated[
        Path | None, typer.Option("--profile", help="Another profile than last time.")
    ] = None,
    overrides: Overrides = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Submit the failed runs of a suite again, and no others."""
    from harness.launch.slurm.profile import load_profile
    from harness.show import submit as show

    loaded = load(suite, overrides, results)
    chosen = None if profile is None else load_profile(profile)
    show.retry_suite(loaded, results, chosen, as_json=as_json)


@app.command()
def cancel(
    suite: SuitePath,
    overrides: Overrides = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Cancel a suite's jobs; running runs write a checkpoint and can be submitted again."""
    from harness.show import status as show

    show.cancel_suite(load(suite, overrides, results), results, as_json=as_json)


@app.command()
def logs(
    run: Annotated[str, typer.Argument(help="A run's id, how it begins, or its job.")],
    results: Results = RESULTS,
    lines: Annotated[int, typer.Option(min=1, help="Lines of each log, from its end.")] = 100,
) -> None:
    """Print what a run printed, wherever it ran."""
    from harness.show.logs import print_logs

    check_results(results)
    print_logs(run, results, lines=lines)


@app.command(name="eval")
def evaluate(
    run: Annotated[str, typer.Argument(help="A trained run's id, or how it begins.")],
    tasks: Annotated[
        str, typer.Option("--tasks", metavar="NAME,...", help="Tasks of lm-eval, yours or ours.")
    ],
    include: Annotated[
        str | None, typer.Option(metavar="DIR", help="A folder of your own task YAMLs.")
    ] = None,
    num_fewshot: Annotated[
        int | None, typer.Option(min=0, help="Examples before each question; default: the task's.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First documents of each task.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimization steps; default: as trained.")] = (
        None
    ),
    samples: Annotated[int | None, typer.Option(help="Independent starts; default: 1.")] = None,
    thinking: Annotated[
        str | None, typer.Option(help="A whole thinking, '{kind: descent, steps: 3, …}'.")
    ] = None,
    noise_seeds: Annotated[
        list[int] | None, typer.Option("--noise-seed", help="Repeatable; default: 0.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows predicted at once.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Evaluate a trained run on downstream tasks; what was answered before is not asked again."""
    from harness.show.evaluate import Asked, evaluate_run

    check_results(results)
    check_device(device)
    asked = Asked(
        tasks=tasks,
        include=include,
        num_fewshot=num_fewshot,
        limit=limit,
        batch_size=batch_size,
        noise_seeds=noise_seeds or [0],
        thinking=thinking,
        steps=steps,
        samples=samples,
    )
    raise typer.Exit(evaluate_run(run, asked, results, device=device, as_json=as_json))


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A trained run's id, or how it begins.")],
    out: Annotated[Path, typer.Option("--out", help="The new folder to write.")],
    results: Results = RESULTS,
    given: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="hf: Hugging Face config, weights and tokenizer, which transformers and lm-eval "
            "load; safetensors: any adapter's own weights, which the README says how to load. "
            "Default: hf where the adapter has that form (Transformer++ on text is a Llama).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a trained run as files that others load: weights, config, tokenizer, model card."""
    from harness.show.export import export_run

    check_results(results)
    export_run(run, results, out, given=given, as_json=as_json)


for _verb in EXHIBIT_VERBS:
    app.command()(_verb)


@app.command()
def check(
    adapter: Annotated[str, typer.Argument(help="An adapter's name: `harness ls adapters`.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of its config, e.g. depth=2."),
    ] = None,
    slow: Annotated[
        bool, typer.Option("--compile", help="Compile it too, which takes half a minute.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that an adapter keeps the contract: yours or ours, on made-up data."""
    from harness.show.check import check_adapter

    raise typer.Exit(check_adapter(adapter, overrides or [], slow=slow, as_json=as_json))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check that this installation can run: versions, device, data, disk."""
    from harness.show.doctor import examine

    raise typer.Exit(examine(as_json=as_json))


@app.command()
def ls(
    what: Annotated[
        str, typer.Argument(help="adapters, data, suites, runs or schema.")
    ] = "adapters",
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """List what exists: adapters, data, suites, runs; or print the suite files' JSON schema."""
    from harness.show.listing import print_listing

    print_listing(what, results, as_json=as_json)


def main() -> None:
    """Entry point: wrong input ends in a message and code 2."""
    from harness.errors import HarnessError

    try:
        app()
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
