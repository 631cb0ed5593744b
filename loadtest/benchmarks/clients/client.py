"""What a client is here, and one of its runs: a program in an environment of its own asks one variant, and what came
back is checked."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from loadtest.harness import start
from variants.artifacts.manifest import TaskKind
from variants.document import Document

LIMIT_S = 600.0
"""The time that one client may take for one variant, a hang included."""
LONGEST = 300
"""Characters of a failure's words."""
LEFT_OUT = ("PYTHON", "OPENAI_", "LITELLM_", "LANGCHAIN_", "LANGSMITH_", "GUIDELLM_", "LMEVAL_", "HF_")
"""Beginnings of variables that would change what a client does."""
NOBODY = "http://127.0.0.1:9"
STDOUT, STDERR = "stdout.txt", "stderr.txt"


class WrongAnswer(Exception):
    """A client ended well, but what it wrote down is not what a server should have answered."""


class Served(NamedTuple):
    """A variant as clients name it, `model@variant`. `tokenizer` is a folder, for text models that have one."""

    name: str
    task: TaskKind
    tokenizer: Path | None = None


class Call(NamedTuple):
    """One run of a client. `programs` is the folder with its `python`, `folder` is for the files of this run, and
    `picture` is a PNG file. `url` and `grpc` (host and port) are the server's addresses."""

    programs: Path
    url: str
    grpc: str
    served: Served
    folder: Path
    picture: Path

    @property
    def output(self) -> str:
        """What the client wrote to its standard output."""
        return (self.folder / STDOUT).read_text(errors="replace")


class Client(NamedTuple):
    """A client and the tasks it speaks. `package` names its distribution and its environment. `command` gives the
    command line, `check` reads the answers afterwards, gives one line about them, and raises WrongAnswer."""

    name: str
    package: str
    tasks: frozenset[TaskKind]
    command: Callable[[Call], list[str]]
    check: Callable[[Call], str]


class Row(Document):
    """One line of `clients.json`."""

    client: str
    version: str
    variant: str
    passed: bool
    detail: str


def ask(client: Client, version: str, call: Call) -> Row:
    """Run a client once. A failure is in the row, nothing is raised for it. An interrupt ends the client."""
    failure, detail = _run(client, call), ""
    if failure is None:
        try:
            detail = client.check(call)
        except (WrongAnswer, OSError, ValueError, LookupError, TypeError) as error:  # the files are not what they were
            failure = f"{type(error).__name__}: {error}"
    row = {"client": client.name, "version": version, "variant": call.served.name}
    return Row(**row, passed=failure is None, detail=_line(failure or detail))


def _run(client: Client, call: Call) -> str | None:
    """Run the program. Returns why it failed, None where it did not."""
    shutil.rmtree(call.folder, ignore_errors=True)
    call.folder.mkdir(parents=True)
    files = call.folder / STDOUT, call.folder / STDERR
    with ExitStack() as children, files[0].open("w") as stdout, files[1].open("w") as stderr:
        command = client.command(call)
        process = start(children, command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment())
        try:
            code = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"it had not ended after {LIMIT_S:g} s"
    if code == 0:
        return None
    words = [line for line in files[1].read_text(errors="replace").splitlines() if line.strip()]
    return f"exit code {code}: {words[-1] if words else 'no words'}"


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a client: the user's, without what would change its answers, and with no way to other hosts:
    their proxy is a port where nobody listens."""
    kept = {name: value for name, value in given.items() if not name.startswith(LEFT_OUT)}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    proxies = {f"{scheme}_proxy": NOBODY for scheme in ("http", "https", "all")} | {"no_proxy": "127.0.0.1,localhost"}
    both = proxies | {name.upper(): value for name, value in proxies.items()}
    return kept | offline | both | {"NO_COLOR": "1"}


def _line(words: str) -> str:
    """Words in one line of `LONGEST` characters at most."""
    return " ".join(words.split())[:LONGEST]
