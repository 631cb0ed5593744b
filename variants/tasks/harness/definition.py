"""What lm-evaluation-harness says of one of its tasks: version, definition, metric, and the samples that it asks."""

import asyncio
import json
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from variants.document import Document, Sha256
from variants.errors import InputError, MissingDependency, UnderstudyError

PREFIX = "lm_eval:"
PROGRAM = (sys.executable, "-m", "variants.tasks.harness.program")
END = 400
"""Characters of the harness' log in an error."""


class Sample(Document):
    """One sample: the prompt of its first request, what the answer should be, and the hash of all of it."""

    id: str
    prompt: str
    target: str
    sha256: Sha256


class Definition(Document):
    """A task. `harness` is the version of lm_eval, `version` the task's own, `sha256` the hash of its definition.
    `metric` is the one that is taken, `filter` what answers pass first."""

    name: str
    harness: str
    version: str
    sha256: Sha256
    metric: str
    filter: str
    better: Literal["higher", "lower"]
    samples: Annotated[tuple[Sample, ...], Field(min_length=1)]


def check_installed() -> None:
    """Raises MissingDependency where lm_eval is not installed."""
    if find_spec("lm_eval") is None:
        raise MissingDependency("lm_eval is not installed", field="evaluate", mend="pip install 'lm_eval[api]>=0.4.13'")


@cache
def describe(spec: str) -> Definition:
    """The task `spec`, a name of the harness or a path. Raises InputError where it cannot be used, MissingDependency
    where lm_eval is not installed."""
    check_installed()
    with tempfile.TemporaryDirectory(prefix="understudy-harness-") as folder:
        out = Path(folder) / "answer.json"
        request = json.dumps({"task": spec, "out": str(out)})
        ended = subprocess.run(PROGRAM, input=request, capture_output=True, text=True, errors="replace")
        if ended.returncode:
            raise InputError(f"lm_eval cannot describe {spec}: {end_of(ended.stderr)}", field="evaluate")
        return Definition.model_validate(read(out))


async def run(request: dict[str, Any], log: Path, failure: type[UnderstudyError]) -> dict[str, Any]:
    """The program's answer to `request`. What the harness says goes to the file `log`. Raises `failure` where it
    fails; the program ends with this call, however that ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="understudy-harness-") as folder, log.open("wb") as file:
        out = Path(folder) / "answer.json"
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=file, stderr=file
        )
        try:
            await process.communicate(json.dumps(request | {"out": str(out)}).encode())
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            message = f"lm_eval failed on {request['task']}: {end_of(log.read_text(errors='replace'))}"
            raise failure(message, mend=f"see {log}")
        return read(out)


def read(out: Path) -> dict[str, Any]:
    """The program's answer. Raises InputError where it refuses the task."""
    answer: dict[str, Any] = json.loads(out.read_text())
    if refused := answer.get("refused"):
        raise InputError(refused["message"], field="evaluate", mend=refused["mend"])
    return answer


def end_of(log: str) -> str:
    """The end of a log on one line."""
    lines = log.strip().splitlines() or ["it wrote nothing"]
    return " ".join(lines[-1].split())[-END:]
