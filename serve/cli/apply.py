"""`understudy apply`: proposes a stack to a server that is running, and follows the change until it has taken effect.

What is missing is built here first: a new build is staged, never live by itself.
"""

import sys
import time
from contextlib import ExitStack
from typing import Any

from serve.cli.admin_client import ask
from serve.config.artifacts import build_stack
from serve.config.stack import Stack
from serve.errors import Conflict
from variants.errors import EngineError
from variants.progress import Progress, for_stream

PATH = "/admin/v1/stack"
POLL_S = 0.2


def apply_stack(stack: Stack, target: str, dry_run: bool, force: bool) -> dict[str, Any]:
    """Build, propose, and wait for the end. Gives what changed, the memory's arithmetic, and how long it took.

    Raises Conflict where what is live does not allow it, InputError and its kind for what is wrong, EngineError where
    the change failed: what was live is live then, unless the error says otherwise. Ctrl-C gives up a change that has
    not taken effect yet.
    """
    artifacts = build_stack(stack)
    proposal = {
        "stack": stack.model_dump(mode="json", by_alias=True, exclude_none=True),
        "artifacts": {f"{model}@{variant}": found.manifest.key for (model, variant), found in artifacts.items()},
        "dry_run": dry_run,
        "force": force,
    }
    if dry_run:
        return ask(target, "POST", PATH, proposal)
    number = None
    try:
        answer = ask(target, "POST", PATH, proposal)
        number = answer["change"]
        return answer | {"change": follow(target, number, for_stream())}
    except KeyboardInterrupt:
        give_up(target, number)
        raise


def give_up(target: str, number: int | None) -> None:
    """Give up a change; where its number is not known yet, the one that is on its way. Says so where none is, for then
    it has taken effect, or was never begun."""
    try:
        ask(target, "DELETE", PATH, None if number is None else {"change": number})
    except Conflict as error:
        print(f"understudy: {error}", file=sys.stderr)


def follow(target: str, number: int, progress: Progress) -> dict[str, Any]:
    """Wait until a change has ended. Raises EngineError where it failed, Conflict where somebody gave it up."""
    shown = ""
    with ExitStack() as steps:
        while True:
            changes: list[dict[str, Any]] = ask(target, "GET", PATH)["changes"]
            change = next((each for each in changes if each["number"] == number), None)
            if change is None:
                raise EngineError(f"the controller was restarted during change {number}", mend=f"see GET {PATH}")
            if change["state"] == "cancelled":
                raise Conflict(f"change {number} was given up by somebody else")
            if change["state"] == "failed":
                raise EngineError(f"change {number} failed: {change['error']}")
            if change["state"] == "done":
                return change
            if change["doing"] != shown:
                steps.close()
                shown = change["doing"]
                steps.enter_context(progress.step(shown))
            time.sleep(POLL_S)


def describe(answer: dict[str, Any]) -> str:
    """What changed, and the arithmetic, for people."""
    lines = [
        f"{found['kind']:9}{found['name']:28}{builds(found):22}traffic {100 * found['share_before']:.0f} % -> "
        f"{100 * found['share_after']:.0f} %"
        for found in answer["differences"]
    ]
    lines.append(f"memory: {answer['memory']['says']}")
    if answer["change"]:
        lines.append(f"live after {answer['change']['seconds']['all']:.1f} s")
    return "\n".join(lines)


def builds(found: dict[str, Any]) -> str:
    return " -> ".join(dict.fromkeys(each for each in (found["build_before"], found["build_after"]) if each))
