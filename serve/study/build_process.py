"""`python -m serve.study.build_process < JOB`: builds a variant and its parents in a separate process.

The memory that training and quantizing leave behind is freed with the process, before the measured engine starts. If
the kernel kills it for memory, the study continues with the next variant. However it ends, an artifact is in the store
whole or not at all (`variants.artifacts.store`).
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from serve.config.artifacts import build_stack
from serve.config.lineage import VariantRef
from serve.config.loader import parse
from serve.config.stack import Stack
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import build
from variants.errors import EngineError, UnderstudyError
from variants.home import home
from variants.methods.registry import BuildJob, Method, MethodResult, find
from variants.recipes.recipe import Recipe

STOP_LIMIT_S = 30.0


class NotMade(Exception):
    """An artifact is not in the store yet."""


@dataclass(frozen=True)
class Stored(Method):
    """A method that makes nothing. A build with it shows whether every artifact is stored."""

    def run(self, job: BuildJob) -> MethodResult:
        raise NotMade


def stored_only(task: str, recipe: Recipe, field: str) -> Method:
    method = find(task, recipe, field)
    return Stored(method.name, method.version, method.target, method.starts_from)


def make(stack: Stack, line: Sequence[VariantRef]) -> dict[VariantRef, Artifact]:
    """The artifacts of `line`, parents first, built in a child process if one is missing. Raises the errors of
    `variants.build.builder`, EngineError if the child is killed."""
    with suppress(NotMade):
        return stored(stack, line)
    make_in_child(stack, line)
    return stored(stack, line)


def stored(stack: Stack, line: Sequence[VariantRef]) -> dict[VariantRef, Artifact]:
    """The artifacts of `line` from the store. Raises NotMade if one is missing."""
    plans = [plan for plan in stack.plans() if plan.name in line]
    return build(plans, Store(home()), Catalog(home()), method_for=stored_only)


def make_in_child(stack: Stack, line: Sequence[VariantRef]) -> None:
    command = [sys.executable, "-m", "serve.engines.parent_watch", sys.executable, "-m", "serve.study.build_process"]
    document = {"stack": stack.as_document(), "line": line}
    # In a new session Ctrl-C reaches only the study, which then ends the child once.
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"UNDERSTUDY_PARENT": str(os.getpid())},
    )  # fmt: skip
    try:
        output, _ = child.communicate(json.dumps(document))
    except BaseException:
        child.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_LIMIT_S)
        child.kill()
        child.wait()
        raise
    if child.returncode:
        raise _fault(child.returncode, output)


def _fault(code: int, output: str) -> UnderstudyError:
    """The last line of the child's output, or how it ended."""
    lines = output.strip().splitlines()
    if lines:
        return UnderstudyError(lines[-1])
    if code == -signal.SIGKILL:
        return EngineError("the build was killed", mend="most likely for memory: see dmesg")
    return EngineError(f"the build ended with code {code}")


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
    try:
        document = json.load(sys.stdin)
        stack, line = parse(document["stack"]), [(model, variant) for model, variant in document["line"]]
        build_stack(stack, line)
    except UnderstudyError as error:
        print(_one_line(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        print(f"{type(error).__name__}: {_one_line(error)[:300]}")
        raise


def _one_line(error: Exception) -> str:
    """The whole message on one line, since `_fault` reads only the last one."""
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
