"""`understudy init`: decides, asks where it may, and writes the files."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
import yaml

from serve.config.loader import Loader, parse
from serve.init.plan import StackPlan
from serve.init.request import Request, plan_for
from variants.errors import InputError
from variants.files import write_atomic
from variants.progress import for_stream

MOST_LOSS = 0.05


def plan_with_questions(request: Request) -> StackPlan:
    """The plan. On a terminal, a flag that is missing is asked for, once each."""
    asked: set[str] = set()
    while True:
        try:
            return plan_for(request, for_stream())
        except InputError as error:
            set_flag = ANSWERS.get(error.field or "")
            if set_flag is None or error.field in asked or not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise
            asked.add(str(error.field))
            print(error, file=sys.stderr)
            request = set_flag(request, typer.prompt(str(error.field), err=True))


def names(text: str) -> tuple[str, ...]:
    """`a,b` as names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def path_of(text: str | None) -> str | None:
    """A path that holds from any folder."""
    return str(Path(text).expanduser().resolve()) if text else None


def pair_of(text: str) -> tuple[str, str]:
    """`a,b` as two names. Raises InputError for another number of them."""
    given = names(text)
    if len(given) != 2:
        raise InputError(f"{len(given)} names, not two", field="--pair", mend="--pair A,B")
    return given[0], given[1]


ANSWERS: dict[str, Callable[[Request, str], Request]] = {
    "--family": lambda request, text: replace(request, family=text),
    "--data": lambda request, text: replace(request, data=text),
    "--columns": lambda request, text: replace(request, beside={**request.beside, "columns": list(names(text))}),
    "--label": lambda request, text: replace(request, columns=replace(request.columns, label=text)),
    "--text": lambda request, text: replace(request, columns=replace(request.columns, text=names(text))),
    "--pair": lambda request, text: replace(request, columns=replace(request.columns, pair=pair_of(text))),
}


def write_files(plan: StackPlan, out: Path, force: bool) -> dict[str, Any]:
    """Write the stack and the campaign beside it, and return what a `--json` user gets. InputError for files that are
    there already."""
    campaign = out.with_name(f"{out.stem}-campaign{out.suffix or '.yaml'}")
    load_text = plan.campaign(out.name)
    stack_text = plan.stack()
    parse(yaml.load(stack_text, Loader))  # noqa: S506  # a SafeLoader; before anything is written
    files = {out: stack_text} | ({campaign: load_text} if load_text else {})
    if there := [str(path) for path in files if path.exists() and not force]:
        raise InputError(f"{', '.join(there)}: already there", field="--out", mend="another name, or --force")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
    return {
        "stack": str(out),
        "campaign": str(campaign) if load_text else None,
        "model": plan.name,
        "task": plan.model.task,
        "variants": [each.name for each in plan.variants],
        "left_out": dict(plan.left_out),
        "warnings": list(plan.task.doubts) if plan.task else [],
        "commands": commands(plan, out, campaign if load_text else None),
    }


def commands(plan: StackPlan, out: Path, campaign: Path | None) -> list[str]:
    """What to run next, in this order."""
    lines = [["evaluate", "--stack", str(out)] if plan.evaluated else ["build", str(out)], ["serve", str(out)]]
    if campaign:
        lines.append(["load", "--campaign", str(campaign)])
        if len(plan.variants) > 1:
            limit = "quality" if plan.task and plan.task.sends_labels else "agreement"
            bounds = [f"--{limit}", str(MOST_LOSS), "--shadow", "1"]
            lines += [["rollout", "start", plan.name, plan.variants[1].name, *bounds], lines[-1]]
    return [shlex.join(["understudy", *line]) for line in lines]


NOTES = {
    "evaluate": "builds what is missing and measures each variant",
    "build": "builds what is missing",
    "serve": "in another terminal; stays until Ctrl-C",
    "load": "a load of labelled requests, and a report",
    "rollout": "compares on live requests; the load gives them:",
}


def describe(done: dict[str, Any], plan: StackPlan) -> str:
    """What was written, why, and the next commands."""
    lines = [f"{done['stack']}: {plan.name}, {plan.model.task}", *(f"  {reason}" for reason in plan.reasons)]
    lines += [f"  {each.name}: {each.why}" for each in plan.variants]
    lines += [f"  without {method}: {why}" for method, why in plan.left_out.items()]
    if plan.task:
        counts = ", ".join(f"{count:,} {split}" for split, count in plan.task.counts.items() if count)
        lines.append(f"  task {plan.task.name}: scorer {plan.task.scorer}; {counts}")
        lines += [f"    {key}: {why}" for key, why in plan.task.reasons.items()]
        lines += [f"    warning: {doubt}" for doubt in plan.task.doubts]
    lines.append("next:")
    width = max(map(len, done["commands"]))
    lines += [f"  {command:<{width}}  # {NOTES[command.split()[1]]}" for command in done["commands"]]
    return "\n".join(lines)
