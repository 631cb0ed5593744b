"""`understudy rollout report` and `wait`: a rollout as a document, and its verdict as an exit code."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from serve.cli.options import HERE, AsJson, Target, emit
from variants.errors import InputError

ROLLED_BACK, UNDECIDED, ABORTED, TIMED_OUT = 9, 10, 11, 12
CODES = {"promoted": 0, "rolled back": ROLLED_BACK, "aborted": ABORTED}
"""Exit codes by the status of a rollout that has ended. Any other status is an end without a verdict."""
Model = Annotated[str, typer.Argument(help="The model.")]


def report(
    model: Model,
    name: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Its id, such as r-17. Default: the latest.")
    ] = None,
    kind: Annotated[Literal["md", "html", "json"], typer.Option("--format", help="md, html or json.")] = "md",
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Write a rollout as a document: the plan, every decision, the evidence over time, and the verdict."""
    from serve.client.client import Client
    from variants.files import write_atomic

    client = Client(target)
    text = rendered(client.rollout_document(model, name or latest(client.rollouts(model))), "json" if as_json else kind)
    if out is None:
        sys.stdout.write(text)
        return
    write_atomic(out, text.encode())
    print(out, file=sys.stderr)


def latest(answer: dict[str, Any]) -> str:
    """The id of the latest rollout. Raises InputError where there is none."""
    if not answer["rollouts"]:
        raise InputError(f"there was no rollout of {answer['model']} yet", mend="begin one: understudy rollout start")
    return str(answer["rollouts"][0]["id"])


def rendered(document: dict[str, Any], kind: Literal["md", "html", "json"]) -> str:
    if kind == "json":
        return json.dumps(document, indent=2) + "\n"
    from variants.reports.rollout_report import as_html, as_markdown

    return as_markdown(document) if kind == "md" else as_html(document)


def wait(
    model: Model,
    timeout: Annotated[float | None, typer.Option(min=0, help="The longest wait in seconds. Default: none.")] = None,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Wait until the latest rollout has ended. Its verdict is the exit code.

    Exit codes: 0 promoted, 9 rolled back, 10 ended without a verdict, 11 aborted, 12 the time is up.
    """
    from serve.cli.rollout_text import describe_rollout
    from serve.client.client import Client, is_unfinished

    answer: dict[str, Any] = {}
    for answer in Client(target).watch_rollout(model, timeout):
        if answer["rollout"] is None:
            latest({"model": model, "rollouts": []})
    emit(answer, describe_rollout(answer), as_json)
    code = TIMED_OUT if is_unfinished(answer["rollout"]) else CODES.get(answer["rollout"]["status"], UNDECIDED)
    if code:
        raise typer.Exit(code)
