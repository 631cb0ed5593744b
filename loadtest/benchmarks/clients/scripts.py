"""Clients that are packages: a script beside this file, `ask_PACKAGE.py`, asks one variant and prints one line.

The script runs in the client's own environment and imports the client, nothing of this project. It ends with an
exception where an answer is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

from loadtest.benchmarks.clients.client import Call, Client, WrongAnswer
from variants.artifacts.manifest import TaskKind

HERE = Path(__file__).parent
TEXTS: TaskKind = "text-generation"
VECTORS: TaskKind = "feature-extraction"
PICTURES: TaskKind = "image-generation"
TENSORS: frozenset[TaskKind] = frozenset(
    {"image-classification", "object-detection", "text-classification", "feature-extraction"}
)


def command(script: str, **more: str) -> Callable[[Call], list[str]]:
    """The command line of a script. `-I` keeps the project's folder and the user's packages from it."""

    def of(call: Call) -> list[str]:
        asked = {
            "url": call.url,
            "grpc": call.grpc,
            "name": call.served.name,
            "task": call.served.task,
            "picture": str(call.picture),
            **more,
        }
        return [str(call.programs / "python"), "-I", str(HERE / f"{script}.py"), json.dumps(asked)]

    return of


def last_line(call: Call) -> str:
    """What the script says of the answers. Raises WrongAnswer where it says nothing."""
    lines = [line for line in call.output.splitlines() if line.strip()]
    if not lines:
        raise WrongAnswer("the script said nothing")
    return lines[-1]


def _of_package(package: str, *tasks: TaskKind) -> Client:
    return Client(package, package, frozenset(tasks), command(f"ask_{package.replace('-', '_')}"), last_line)


def _of_triton(protocol: str) -> Client:
    return Client(
        f"tritonclient[{protocol}]", "tritonclient", TENSORS, command("ask_tritonclient", protocol=protocol), last_line
    )


SCRIPTS = (
    _of_package("openai", TEXTS, VECTORS, PICTURES),
    _of_triton("http"),
    _of_triton("grpc"),
    _of_package("langchain-openai", TEXTS, VECTORS),
    _of_package("litellm", TEXTS, VECTORS),
)
