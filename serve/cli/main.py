"""The one command, `understudy`. Each command imports what it needs when it runs, so that `understudy --help` answers
at once. Commands of other packages, such as `load`, are added by entry points.

Exit codes: 0 done; 1 a defect of ours; 2 what was given is wrong; 3 bytes are not what their hash says; 4 something is
not installed; 5 an engine or the server failed; 6 the disk is full; 7 what is live does not allow it; 8 a study is not
whole: a variant failed, or its time was over; 130 interrupted.
Every command has `--json`: one document on standard output, everything meant for people on standard error.
"""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from serve.cli.options import HERE, AsJson, StackFile, Target, emit
from serve.cli.rollout import rollouts, traffic
from variants.errors import InputError, UnderstudyError

app = typer.Typer(
    help="Serve a model and its compressed variants side by side, and measure each on real requests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(traffic)
app.add_typer(rollouts, name="rollout")
DEMO_STACK = Path(__file__).parents[2] / "deploy" / "stacks" / "demo.yaml"
STUDY_STACK = DEMO_STACK.with_name("study.yaml")
INTERRUPTED = 130
NOT_WHOLE = 8


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing on this machine, and the one command that mends each."""
    from serve.cli.doctor import examine

    findings = examine()
    lines = [f"{'ok     ' if found.ok else 'missing'} {found.what}: {found.detail}" for found in findings]
    lines += [f"        mend: {found.mend}" for found in findings if not found.ok]
    emit([found._asdict() for found in findings], "\n".join(lines), as_json)
    if any(found.needed and not found.ok for found in findings):
        raise typer.Exit(4)


@app.command()
def build(stack: StackFile = DEMO_STACK, as_json: AsJson = False) -> None:
    """Make every variant of a stack that is not made yet."""
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
    names: Annotated[list[str] | None, typer.Argument(help="model or model@variant; all if left out")] = None,
    stack: Annotated[Path, typer.Option(help="The stack file.")] = DEMO_STACK,
    examples: Annotated[int | None, typer.Option(min=1, help="Examples a task; all held-out ones if left out.")] = None,
    again: Annotated[bool, typer.Option(help="Also where a card of this machine and these versions exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fill the cards of a stack's variants, each through the engine that will serve it."""
    from serve.config.loader import load
    from serve.evaluation.evaluate import describe_card, evaluate_stack

    cards = evaluate_stack(load(stack), names or [], examples, again)
    rows = [json.loads(card.model_dump_json()) for card in cards]
    emit(rows, "\n".join(describe_card(row) for row in rows), as_json)


@app.command()
def study(
    stack: StackFile = STUDY_STACK,
    only: Annotated[str | None, typer.Option(help="One family, e.g. text-generation; all if left out.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Minutes after which no other card is begun.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="At most that many examples a task.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page, its figures and the model cards.")] = Path(
        "out/study"
    ),
    as_json: AsJson = False,
) -> None:
    """Build and evaluate every variant of a stack, a card at a time, and write one page of them.

    Goes on where an earlier run stopped. Exit code 8 where a variant failed or the time was over; the page says which.
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
def catalog(
    name: Annotated[str | None, typer.Argument(help="model or model@variant; all if left out")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file, to find damaged ones.")] = False,
    cards: Annotated[Path | None, typer.Option(help="Write a model card of each measured variant there.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every variant's history, licences and space on disk, and what is damaged."""
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
    build: Annotated[str | None, typer.Argument(help="The beginning of a build; the one before if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a variant's name stand for an earlier build again; a server has it once it is started again.

    Exit codes: 2 an unknown name or build, or nothing to go back to; 3 that build is damaged or gone.
    """
    from serve.cli.catalog import roll_back

    done = roll_back(name, build)
    before, now = done.before.digest, done.now.digest
    text = f"{name} stands for {now[:8]}; back with: understudy rollback {name} {before[:8]}"
    row = {"model": done.model, "variant": done.variant, "artifact_sha256": now, "before_sha256": before}
    emit({**row, "bound": done.now.bound.isoformat(timespec="seconds")}, text, as_json)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep: Annotated[int | None, typer.Option(min=0, help="First cut histories to that many earlier builds.")] = None,
    stack: Annotated[
        list[Path] | None, typer.Option(help="A stack file whose artifacts stay; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove the artifacts that no history, no given stack and nothing that runs refers to.

    Exit codes: 2 a stack that is wrong: then nothing is removed; 6 no room even for a shorter history.
    """
    from serve.cli.catalog import collect, describe_collected
    from serve.config.loader import load

    done = collect([load(path) for path in stack or []], keep, dry_run)
    emit(done.model_dump(mode="json"), describe_collected(done), as_json)


@app.command()
def serve(
    stack: StackFile = DEMO_STACK,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Instead of the stack's.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Where traffic and its journal are kept; else one folder an address.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build what is missing, serve it on loopback, and stay until Ctrl-C."""
    from serve.cli.serve import serve_until_stopped
    from serve.config.artifacts import build_stack
    from serve.config.loader import load, with_port

    loaded = with_port(load(stack), port)
    serve_until_stopped(loaded, build_stack(loaded), as_json, state)


@app.command()
def apply(
    stack: StackFile,
    target: Target = HERE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build what is missing and say what would change; what is live stays.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also take away what clients have named lately.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a running server serve another stack, without a failed request. Builds what is missing first.

    Of `server:` only `memory_mib` and `keys` are followed; where it listens stays as it was started."""
    from serve.cli.apply import apply_stack, describe
    from serve.config.loader import load

    answer = apply_stack(load(stack), target, dry_run, force)
    emit(answer, describe(answer), as_json)


for entry in entry_points(group="understudy.commands"):  # those of `loadtest`, and of whoever adds some
    app.command(entry.name)(entry.load())


def main() -> None:
    """Run the command line; every error of ours is one line and its own exit code."""
    try:
        app()
    except UnderstudyError as error:
        print(f"understudy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except PermissionError as error:
        mend = "choose a folder of your own with UNDERSTUDY_HOME"
        print(f"understudy: {error.filename} may not be written or read ({mend})", file=sys.stderr)
        sys.exit(InputError.exit_code)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:  # typer has caught the KeyboardInterrupt and says nothing of it
            print("understudy: interrupted", file=sys.stderr)
        raise
