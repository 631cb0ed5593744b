"""`make clients`: serves a stack, and runs clients of other makers against each variant of the tasks they speak.

Each client has an environment of its own, which `python -m deploy.client_environments` makes before. Nothing is fetched
while clients run. Writes `out/clients/clients.json` after each run of a client, and the table of docs/clients.md when
all clients have been run on the demo's stack. Fails if a client failed.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

import httpx

from loadtest.benchmarks.clients.client import Call, Client, Row, Served, ask
from loadtest.benchmarks.clients.guidellm import GUIDELLM
from loadtest.benchmarks.clients.lm_eval import LM_EVAL
from loadtest.benchmarks.clients.scripts import SCRIPTS
from loadtest.benchmarks.clients.served import variants_of, with_grpc, write_picture
from loadtest.benchmarks.figures import put_into
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words, run, start_server
from serve.client.admin import ask as ask_admin
from serve.ports import free_port
from variants.artifacts.store import Store
from variants.errors import MissingDependency
from variants.files import write_atomic
from variants.home import home
from variants.machine import describe

CLIENTS = (*SCRIPTS, *LM_EVAL, *GUIDELLM)
OUT = ROOT / "out" / "clients"
STACK = ROOT / "deploy" / "stacks" / "demo.yaml"
DOCUMENT = ROOT / "docs" / "clients.md"
ROWS = "clients.json"
READY_S = 300.0
VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


class Server(NamedTuple):
    """A running server: its URL, and host and port of its gRPC."""

    url: str
    grpc: str


def environment_of(package: str) -> Path:
    """The programs of a client's own environment. Raises MissingDependency."""
    programs = OUT / "envs" / package / "bin"
    if not (programs / "python").exists():
        raise MissingDependency(f"{package} has no environment", mend="make clients")
    return programs


def version_of(package: str, programs: Path) -> str:
    """The version that is installed there. Raises MissingDependency."""
    command = [str(programs / "python"), "-I", "-c", VERSION, package]
    asked = subprocess.run(command, capture_output=True, text=True)
    if asked.returncode:
        raise MissingDependency(f"{package} is not installed in {programs.parent}", mend="make clients")
    return asked.stdout.strip()


def ask_all(
    server: Server, served: Sequence[Served], clients: Iterable[Client], out: Path,
    programs_of: Callable[[str], Path] = environment_of, kept: Sequence[Row] = (),
) -> list[Row]:  # fmt: skip
    """Run each client against each variant of its tasks. Writes `clients.json` in `out` after each, with the rows
    `kept` of other clients before, and says on standard error how it went. Raises MissingDependency where a client
    has no environment."""
    rows: list[Row] = []
    picture = write_picture(out / "picture.png")
    for client in clients:
        programs = programs_of(client.package)
        version = version_of(client.package, programs)
        for variant in (each for each in served if each.task in client.tasks):
            began = time.monotonic()
            folder = out / "runs" / f"{client.name} {variant.name}".replace("/", "-").replace(" ", "-")
            call = Call(programs, server.url, server.grpc, variant, folder, picture)
            wait_until_ready(server.url, variant.name)
            row = ask(client, version, call)
            rows.append(row)
            write_rows(out / ROWS, [*kept, *rows])
            verdict = "passed" if row.passed else f"FAILED (see {folder})"
            print(
                f"{client.name} {version}, {variant.name}: {verdict}, {row.detail} ({time.monotonic() - began:.0f} s)",
                file=sys.stderr,
                flush=True,
            )
    return rows


def wait_until_ready(url: str, name: str) -> None:
    """Wait until the variant can answer, at most `READY_S`: an engine of a busy machine may just be starting again.
    What a client is then told is the client's row."""
    model, _, variant = name.partition("@")
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            # A variant that does not exist is 404, and its client says so.
            if httpx.get(f"{url}/v2/models/{model}/versions/{variant}/ready", timeout=30).status_code != 503:
                return
        time.sleep(1)


def read_rows(path: Path) -> list[Row]:
    """The rows of an earlier run; none where there was none."""
    return [Row.model_validate(each) for each in json.loads(path.read_bytes())] if path.is_file() else []


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a list of client, version, variant, passed and detail."""
    write_atomic(path, (json.dumps([row.model_dump(mode="json") for row in rows], indent=2) + "\n").encode())


def table(rows: Sequence[Row]) -> str:
    """A line a client in Markdown, then what failed, the machine and the day."""
    lines = ["| client | version | passed | variants | what came back, the first one |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row.client for row in rows):
        mine = [row for row in rows if row.client == name]
        passed = sum(row.passed for row in mine)
        variants = ", ".join(row.variant for row in mine)
        lines.append(f"| {name} | {mine[0].version} | {passed} of {len(mine)} | {variants} | {mine[0].detail} |")
    failed = [f"- {row.client}, {row.variant}: {row.detail}" for row in rows if not row.passed]
    machine = describe()
    measured = f"Last run on {machine.cpu}, {machine.cores} cores, Python {machine.python}, {date.today().isoformat()}."
    return "\n".join([*lines, "", *failed, *([""] if failed else []), measured])


def serve_and_ask(stack: Path, clients: Sequence[Client], out: Path, kept: Sequence[Row] = ()) -> list[Row]:
    """Build and serve the stack, and ask it by all clients. Ends the server. Returns the rows of these clients. Raises
    EngineError, StackError, MissingDependency."""
    port = free_port()
    path = with_grpc(stack, port, out / "stack.yaml")
    for client in clients:  # a missing one is told before the server's start
        version_of(client.package, environment_of(client.package))
    with ExitStack() as children:
        run(children, "build", str(path))
        url = start_server(children, path, free_port(), out / "state")
        served = variants_of(ask_admin(url, "GET", "/admin/v1/stack"), Store(home()))
        return ask_all(Server(url, f"127.0.0.1:{port}"), served, clients, out, kept=kept)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make clients", description="Run other makers' clients against the stack.")
    parser.add_argument("--only", choices=sorted({each.package for each in CLIENTS}), help="this package alone")
    parser.add_argument("--stack", type=Path, default=STACK, help="the stack file")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    given = parser.parse_args(arguments)
    clients = [each for each in CLIENTS if given.only in (None, each.package)]
    names = [client.name for client in CLIENTS]
    others = [each.name for each in CLIENTS if each not in clients]
    kept = [row for row in read_rows(OUT / ROWS) if row.client in others]
    rows = serve_and_ask(given.stack.resolve(), clients, OUT, kept)
    every = sorted([*kept, *rows], key=lambda row: names.index(row.client))
    if given.stack == STACK and {row.client for row in every} == set(names):
        put_into(DOCUMENT, "clients", table(every))
    print(json.dumps([row.model_dump(mode="json") for row in rows], indent=2) if given.json else table(rows))
    if failed := [f"{row.client} with {row.variant}" for row in rows if not row.passed]:
        raise LoadError(f"{len(failed)} of {len(rows)} failed: {', '.join(failed)}", mend=f"see {OUT / 'runs'}")


if __name__ == "__main__":
    with ends_in_words("clients"):
        main()
