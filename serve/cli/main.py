"""The command line, `understudy`. Each command imports what it needs when it runs, so that `understudy --help` is fast.
Entry points add the commands of other packages, such as `load`.

Exit codes:

    0    the command succeeded
    1    a defect of this program
    2    the input is wrong
    3    an artifact's bytes do not match their hash
    4    a program or package is not installed
    5    an engine or the server failed
    6    the disk is full
    7    the current state of the server does not allow the change
    8    a study is incomplete: a variant failed, or the time budget was used up
    9    a rollout was rolled back
    10   a rollout ended without a verdict
    11   a rollout was aborted
    12   a rollout had not ended when the time was up
    130  interrupted

With `--json`, a command prints one JSON document on standard output. Messages for people go to standard error.
"""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from serve.cli.fleet import status, top
from serve.cli.log_lines import logs
from serve.cli.options import DEMO_STACK, HERE, AsJson, InsecureOpen, StackFile, Target, emit
from serve.cli.recommendation.command import recommend
from serve.cli.rollout import rollouts, traffic
from variants.errors import InputError, IntegrityError, UnderstudyError

app = typer.Typer(
    help="Serve a model and its compressed variants side by side, and measure each on real requests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (status, top, logs, traffic, recommend):
    app.command()(command)
app.add_typer(rollouts, name="rollout")
STUDY_STACK = DEMO_STACK.with_name("study.yaml")
INTERRUPTED = 130
Goal = Literal["speed", "memory", "quality"]
NOT_WHOLE = 8


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this machine, and print for everything that is missing the command that installs it."""
    from serve.cli.doctor import examine

    findings = examine()
    lines = [f"{'ok     ' if finding.ok else 'missing'} {finding.what}: {finding.detail}" for finding in findings]
    lines += [f"        mend: {finding.mend}" for finding in findings if not finding.ok]
    emit([finding._asdict() for finding in findings], "\n".join(lines), as_json)
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(4)


@app.command()
def init(
    source: Annotated[str, typer.Argument(help="A folder, a .gguf, .onnx or .pth file, or a hub id.")],
    data: Annotated[str | None, typer.Option(help="A file of labelled rows, or a folder of images or boxes.")] = None,
    goal: Annotated[Goal, typer.Option(help="What the variants should gain.")] = "speed",
    out: Annotated[Path | None, typer.Option(help="The stack file to write. Default: NAME.yaml.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name. Default: that of its files.")] = None,
    family: Annotated[str | None, typer.Option(help="text-classification, to train a head on an encoder.")] = None,
    data_format: Annotated[
        str | None, typer.Option("--format", help="csv ... images, coco, yolo. Default: by the ending.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="The columns A,B,C of a file without a header.")] = None,
    labels: Annotated[str | None, typer.Option(help="A second file with the label of each row.")] = None,
    images: Annotated[str | None, typer.Option(help="The folder of the images that the data name.")] = None,
    classes: Annotated[str | None, typer.Option("--names", help="A file with YOLO's classes, one a line.")] = None,
    file_names: Annotated[str | None, typer.Option(help="A pattern of images' names: (?P<label>...)_.*")] = None,
    text: Annotated[str | None, typer.Option(help="The column, or columns A,B, of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label or score.")] = None,
    choices: Annotated[str | None, typer.Option(help="Columns A,B of endings to choose from.")] = None,
    pair: Annotated[str | None, typer.Option(help="Columns A,B of two texts, for an embedder.")] = None,
    template: Annotated[str | None, typer.Option("--input", help="A Jinja template over the columns.")] = None,
    scorer: Annotated[str | None, typer.Option(help="How answers are scored. Default: by the labels.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the model. Default: what its files say.")] = None,
    sha256: Annotated[str | None, typer.Option(help="The hash that the model must have.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a stack file for a model: a baseline and the variants that make sense here, with a task from your data.

    On a terminal it asks for what the data does not say; elsewhere it names the option to give."""
    from serve.cli.init import describe, names, pair_of, path_of, plan_with_questions, write_files
    from serve.init.request import Request
    from serve.init.task import Columns

    chosen = Columns(
        text=names(text) if text else None,
        label=label,
        choices=names(choices) if choices else None,
        pair=pair_of(pair) if pair else None,
        scorer=scorer,
        input=template,
    )
    beside = {
        "format": data_format, "columns": list(names(columns)) if columns else None, "labels": path_of(labels),
        "images": path_of(images), "classes": path_of(classes), "name_pattern": file_names,
    }  # fmt: skip
    plan = plan_with_questions(Request(source, data, goal, family, name, licence, sha256, beside, chosen))
    done = write_files(plan, out or Path(f"{plan.name}.yaml"), force)
    emit(done, describe(done, plan), as_json)


@app.command()
def build(stack: StackFile = DEMO_STACK, as_json: AsJson = False) -> None:
    """Build every variant of a stack that is not built yet."""
    from serve.config.artifacts import build_stack
    from serve.config.loader import load

    artifacts = build_stack(load(stack))
    rows: list[dict[str, Any]] = [
        {
            "model": model,
            "variant": variant,
            "method": artifact.manifest.method,
            "precision": artifact.manifest.precision,
            "artifact_sha256": artifact.manifest.digest,
            "artifact_bytes": artifact.manifest.bytes,
            "path": str(artifact.path),
            "loss": loss.model_dump(mode="json") if (loss := artifact.manifest.loss) else None,
        }
        for (model, variant), artifact in artifacts.items()
    ]
    text = "\n".join(
        f"{row['model']}@{row['variant']}  {row['precision']}  {row['artifact_bytes'] / 1e6:.1f} MB  "
        f"{row['artifact_sha256'][:8]}  {row['method']}"
        for row in rows
    )
    emit(rows, text, as_json)


@app.command()
def evaluate(
    names: Annotated[list[str] | None, typer.Argument(help="model or model@variant. Default: all.")] = None,
    stack: Annotated[Path, typer.Option(help="The stack file.")] = DEMO_STACK,
    examples: Annotated[int | None, typer.Option(min=1, help="Examples per task. Default: all held-out ones.")] = None,
    again: Annotated[bool, typer.Option(help="Evaluate again where a valid card exists.")] = False,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="Log the cards to MLflow at this address.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a stack's variants and write their cards. Each variant runs in the engine that will serve it."""
    from serve.cli.mlflow_runs import MlflowRuns
    from serve.config.lineage import select_variants
    from serve.config.loader import load
    from serve.evaluation.evaluate import describe_card, evaluate_stack

    runs = MlflowRuns(mlflow) if mlflow else None
    loaded = load(stack)
    cards = evaluate_stack(loaded, names or [], examples, again)
    for ref, card in zip(select_variants(loaded, names or []), cards, strict=True):
        if runs is not None:
            runs.log(ref, card)
    rows = [json.loads(card.model_dump_json()) for card in cards]
    emit(rows, "\n".join(describe_card(row) for row in rows), as_json)


@app.command()
def study(
    stack: StackFile = STUDY_STACK,
    only: Annotated[str | None, typer.Option(help="One family, e.g. text-generation. Default: all.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="No card is begun after this many minutes.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="The most examples per task.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page, its figures and the model cards.")] = Path(
        "out/study"
    ),
    as_json: AsJson = False,
) -> None:
    """Build and evaluate every variant of a stack, and write one page about them.

    Continues an earlier run that stopped. Exit code 8: a variant failed, or the budget was used up.
    """
    from serve.config.loader import load
    from serve.study.runner import Runner, StudyPlan, describe_study, interrupt_on_signals

    runner = Runner(StudyPlan(load(stack), only, None if budget is None else 60 * budget, examples), out)
    interrupt_on_signals()
    done = runner.run()
    emit(done.model_dump(mode="json", by_alias=True), describe_study(done, out), as_json)
    if not done.whole:
        raise typer.Exit(NOT_WHOLE)


@app.command()
def label(
    model: Annotated[str, typer.Argument(help="The model.")],
    variant: Annotated[str, typer.Argument(help="The variant that is compared with its parent.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The largest number of pairs to show.")] = 100,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Say which of two differing answers is better, without their names: left, right, tie, skip or quit.

    Needs `keep_answers` in the stack file. Not on a terminal, it reads one choice a line."""
    from serve.cli.label import label_pairs
    from serve.client.client import Client

    done = label_pairs(Client(target), model, variant, limit)
    lost = "".join(f"; not counted: {times}, {why}" for why, times in done.uncounted.items())
    emit(vars(done), f"{done.counted} opinions counted, {done.skipped} pairs skipped{lost}", as_json)


@app.command()
def catalog(
    name: Annotated[str | None, typer.Argument(help="model or model@variant. Default: all.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file to detect damage.")] = False,
    cards: Annotated[Path | None, typer.Option(help="Folder to write model cards of the measured variants.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every variant's history, licences and size on disk, and damaged artifacts."""
    from rich.console import Console

    from serve.cli.catalog import list_catalog, write_cards
    from serve.cli.catalog_table import render

    document = list_catalog(name, verify)
    if cards:
        for path in write_cards(document["variants"], cards):
            print(f"model card: {path}", file=sys.stderr)
    if as_json:
        emit(document, "", as_json)
    else:
        render(document, Console(width=None if sys.stdout.isatty() else 120))


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="model@variant")],
    build: Annotated[str | None, typer.Argument(help="First characters of a build. Default: the previous one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bind a variant's name to an earlier build. A server uses it after a restart, or after `understudy apply`.

    Exit codes: 2 an unknown name or build, or no earlier build; 3 that build is damaged or missing.
    """
    from serve.cli.catalog import roll_back

    done = roll_back(name, build)
    before, now = done.before.digest, done.now.digest
    text = f"{name} is now build {now[:8]}; to undo this: understudy rollback {name} {before[:8]}"
    row = {"model": done.model, "variant": done.variant, "artifact_sha256": now, "before_sha256": before}
    emit({**row, "bound": done.now.bound.isoformat(timespec="seconds")}, text, as_json)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    keep: Annotated[int | None, typer.Option(min=0, help="First cut histories to this many earlier builds.")] = None,
    stack: Annotated[
        list[Path] | None, typer.Option(help="A stack file whose artifacts are kept; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove the artifacts that no history, no given stack and no running process uses.

    Exit codes: 2 a wrong stack file, then nothing is removed; 6 too little space to write a shorter history.
    """
    from serve.cli.catalog import collect, describe_collected
    from serve.config.loader import load

    done = collect([load(path) for path in stack or []], keep, dry_run)
    emit(done.model_dump(mode="json"), describe_collected(done), as_json)


@app.command()
def serve(
    stack: StackFile = DEMO_STACK,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Use this port, not the stack's.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder for traffic and its journal. Default: one per address.")
    ] = None,
    insecure_open: InsecureOpen = False,
    as_json: AsJson = False,
) -> None:
    """Build missing variants and serve the stack on its address (loopback by default) until Ctrl-C."""
    from serve.cli.serve import serve_until_stopped
    from serve.config.artifacts import build_stack
    from serve.config.loader import load, with_port
    from serve.config.server.exposure import check_beyond_loopback
    from serve.config.server.webhook import check_webhook
    from serve.control.records.declared import check_declared

    loaded = with_port(load(stack), port)
    check_beyond_loopback(loaded.server.host, loaded.server.keys or {}, insecure_open)
    check_webhook(loaded.server.webhook)
    check_declared(loaded)
    damaged: dict[tuple[str, str], IntegrityError] = {}
    artifacts = build_stack(loaded, damaged=damaged)
    serve_until_stopped(loaded, artifacts, as_json, state, damaged)


@app.command()
def apply(
    stack: StackFile,
    target: Target = HERE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build missing variants and print the differences; change nothing else.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove variants that clients named lately.")] = False,
    insecure_open: InsecureOpen = False,
    as_json: AsJson = False,
) -> None:
    """Change the stack of a running server without a failed request. Builds missing variants first.

    Of `server:`, only `memory_mib`, `hosts`, `cors`, `webhook` and `keys` take effect; host and port stay. Without
    `keys`, those of the server stay."""
    from serve.cli.apply import apply_stack, describe
    from serve.config.loader import load

    answer = apply_stack(load(stack), target, dry_run, force, insecure_open)
    emit(answer, describe(answer), as_json)


for entry in entry_points(group="understudy.commands"):
    app.command(entry.name)(entry.load())


def main() -> None:
    """Run the command line. An UnderstudyError is printed as one line and sets the exit code."""
    try:
        app()
    except UnderstudyError as error:
        print(f"understudy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except PermissionError as error:
        mend = "choose a folder of your own with UNDERSTUDY_HOME"
        print(f"understudy: no permission to read or write {error.filename} ({mend})", file=sys.stderr)
        sys.exit(InputError.exit_code)
    except SystemExit as leaving:
        # typer turns a KeyboardInterrupt into its own Exit and prints nothing; a command that caught it has said so
        if leaving.code == INTERRUPTED and isinstance(leaving.__context__, typer.Exit):
            print("understudy: interrupted", file=sys.stderr)
        raise
