"""`understudy apply`: proposes a stack to a server that is running, and follows the change until it has taken effect.

What is missing is built here first: a new build is staged, never live by itself. Plain standard-library HTTP, for a
handful of requests.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from serve.errors import Conflict, NotReady
from serve.making import build_stack
from serve.stack import Stack
from variants.errors import EngineError, InputError, IntegrityError, StackError, UnderstudyError, UnknownName
from variants.progress import Progress, for_stream

PATH = "/admin/v1/stack"
POLL_S = 0.2
ANSWER_LIMIT_S = 120.0
ERRORS: Mapping[str, type[UnderstudyError]] = {
    kind.code: kind for kind in (Conflict, NotReady, StackError, UnknownName, InputError, IntegrityError)
}


def apply_stack(stack: Stack, target: str, dry_run: bool, force: bool) -> dict[str, Any]:
    """Build, propose, and wait for the end. Gives what changed, the memory's arithmetic, and how long it took.

    Raises Conflict where what is live does not allow it, InputError and its kind for what is wrong, EngineError where
    the change failed; what was live is live then. Ctrl-C gives up a change that has not taken effect yet.
    """
    artifacts = build_stack(stack)
    proposal = {
        "stack": stack.model_dump(mode="json", by_alias=True, exclude_none=True),
        "artifacts": {f"{model}@{variant}": found.manifest.key for (model, variant), found in artifacts.items()},
        "dry_run": dry_run,
        "force": force,
    }
    answer = ask(target, "POST", proposal)
    if dry_run:
        return answer
    try:
        return answer | {"change": follow(target, answer["change"], for_stream())}
    except KeyboardInterrupt:
        ask(target, "DELETE")
        raise


def follow(target: str, number: int, progress: Progress) -> dict[str, Any]:
    """Wait until a change has ended. Raises EngineError where it failed, Conflict where somebody gave it up."""
    shown = ""
    with ExitStack() as steps:
        while True:
            change: dict[str, Any] = ask(target, "GET")["change"]
            if change["number"] != number or change["state"] == "cancelled":
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


def ask(target: str, method: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to the server's admin route. Raises the server's own error, EngineError where it does not answer."""
    if not target.startswith(("http://", "https://")):
        raise InputError(f"{target} is no http address", field="--target", mend="give one like http://127.0.0.1:8000")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310
        target.rstrip("/") + PATH, data=data, method=method, headers={"content-type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_LIMIT_S) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise error_of(error.code, error.read()) from None
    except (OSError, ValueError) as error:
        raise EngineError(f"{target}: {error}", mend="is the server up at that address?") from None


def error_of(status: int, body: bytes) -> UnderstudyError:
    try:
        found = json.loads(body)["error"]
        return ERRORS.get(found["code"], EngineError)(found["message"])
    except (ValueError, KeyError, TypeError):
        return EngineError(f"the server answered {status}: {body[:200].decode(errors='replace')}")


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
