"""`understudy apply`: proposes a stack to a running server and follows the change until it has taken effect.

Missing artifacts are built here first. A new build is not served until it is proposed.
"""

import sys
import time
from contextlib import ExitStack
from typing import Any

from serve.client.admin import ask
from serve.config.artifacts import build_stack
from serve.config.server.exposure import FLAG
from serve.config.stack import Stack
from serve.control.records.declared import check_declared
from serve.errors import Conflict
from variants.errors import EngineError
from variants.progress import Progress, for_stream

PATH = "/admin/v1/stack"
POLL_S = 0.2


def apply_stack(stack: Stack, target: str, dry_run: bool, force: bool, insecure_open: bool = False) -> dict[str, Any]:
    """Build, propose, and wait for the end. Returns the differences, the memory budget, and the duration.

    Raises Conflict if the served state does not allow the change, InputError and its subclasses for a wrong stack.
    Raises EngineError if the change failed: the server then serves the old stack, unless the error says otherwise.
    Ctrl-C cancels a change that has not taken effect yet.
    """
    check_declared(stack)
    artifacts = build_stack(stack)
    proposal = {
        "stack": stack.as_document(),
        "artifacts": {f"{model}@{variant}": artifact.manifest.key for (model, variant), artifact in artifacts.items()},
        "dry_run": dry_run,
        "force": force,
        "insecure_open": insecure_open,
    }
    if dry_run:
        return ask(target, "POST", PATH, proposal)
    number = None
    try:
        answer = ask(target, "POST", PATH, proposal)
        number = answer["change"]
        return answer | {"change": follow(target, number, for_stream())}
    except KeyboardInterrupt:
        cancel(target, number)
        raise


def cancel(target: str, number: int | None) -> None:
    """Cancel a change, or the open one if its number is not known yet. Prints a conflict, because then the change has
    taken effect or never began."""
    try:
        ask(target, "DELETE", PATH, None if number is None else {"change": number})
    except Conflict as error:
        print(f"understudy: {error}", file=sys.stderr)


def follow(target: str, number: int, progress: Progress) -> dict[str, Any]:
    """Wait until a change has ended. Raises EngineError if it failed, Conflict if somebody cancelled it."""
    shown = ""
    with ExitStack() as steps:
        while True:
            changes: list[dict[str, Any]] = ask(target, "GET", PATH)["changes"]
            change = next((each for each in changes if each["number"] == number), None)
            if change is None:
                raise EngineError(f"the controller was restarted during change {number}", mend=f"see GET {PATH}")
            if change["state"] == "cancelled":
                raise Conflict(f"change {number} was cancelled by somebody else")
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
    """The differences and the memory budget as text."""
    lines = [
        f"{each['kind']:9}{each['name']:28}{describe_builds(each):22}traffic {100 * each['share_before']:.0f} % -> "
        f"{100 * each['share_after']:.0f} %"
        for each in answer["differences"]
    ]
    lines += describe_keys(answer["server"])
    lines += [describe_rollout(each) for each in answer.get("rollouts", ())]
    lines.append(f"memory: {answer['memory']['says']}")
    if answer["change"]:
        lines.append(f"live after {answer['change']['seconds']['all']:.1f} s")
    return "\n".join(lines)


def describe_keys(server: dict[str, Any]) -> list[str]:
    """A line for each kind of change to the API keys, and one if the change removes the last of them."""
    lines = [
        f"keys {kind}: {', '.join(server[f'keys_{kind}'])}"
        for kind in ("added", "removed", "changed")
        if server[f"keys_{kind}"]
    ]
    if server["keys_removed"] and server["open"]:
        lines.append(f"no key remains: every client may change the server, so this needs {FLAG}")
    return lines


def describe_rollout(declared: dict[str, Any]) -> str:
    """Whether a declared rollout begins, in one line."""
    steps = ", ".join(step if isinstance(step, str) else f"{step:g} %" for step in declared["steps"])
    before = declared["before"]
    then = f"was run before: {before['id']}, {before['status']}" if before else "begins when both variants answer"
    return f"rollout  {declared['model']} to {declared['variant']} ({steps}) {then}"


def describe_builds(difference: dict[str, Any]) -> str:
    return " -> ".join(dict.fromkeys(each for each in (difference["build_before"], difference["build_after"]) if each))
