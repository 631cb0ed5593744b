"""The command `understudy logs`: the log of an engine, or those of the ingress and the controller, on this machine."""

import os
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from serve.cli.options import HERE, Target

POLL_S = 0.5


def logs(
    name: Annotated[str | None, typer.Argument(help="model@variant. Default: the server's own logs.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines from the end of each file.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")] = False,
    state: Annotated[Path | None, typer.Option(help="The server's state folder. Default: that of its address.")] = None,
    target: Target = HERE,
) -> None:
    """Print the end of a log on this machine: of an engine, or of the ingress and the controller.

    Exit code 2: there is no such log."""
    tails = [Tail(file) for file in (engine_logs(name) if name else server_logs(state or state_of(target)))]
    for tail in tails:
        typer.echo(f"==> {tail.file}", err=True)
        for line in tail.last(lines):
            typer.echo(line)
    while follow:
        time.sleep(POLL_S)
        for tail in tails:
            for line in tail.new():
                typer.echo(line)


def engine_logs(name: str) -> list[Path]:
    """The newest log of a variant's engine. Raises InputError if it has none here."""
    from variants.errors import InputError
    from variants.home import home

    model, at, variant = name.partition("@")
    if not at or not model or not variant:
        raise InputError(
            f"{name!r} is no variant", field="name", mend="give MODEL@VARIANT, as `understudy status` shows"
        )
    folder = home() / "logs"
    logs = newest(folder, f"{model}.{variant}.*.log")
    if not logs:
        raise InputError(
            f"there is no engine log of {name} in {folder}",
            field="name",
            mend="an adapter's engine logs under its parent's name; understudy status lists the variants",
        )
    return logs[:1]


def state_of(target: str) -> Path:
    """The state folder of a server on this machine that was given none."""
    from variants.home import home

    address = urlsplit(target)
    return home() / "state" / f"{address.hostname}-{address.port}"


def server_logs(state: Path) -> list[Path]:
    """The newest logs of the controller and the ingress. Raises InputError if there are none."""
    from variants.errors import InputError

    both = [newest(state / "logs", pattern) for pattern in ("controller.jsonl", "ingress-*.jsonl")]
    chosen = [logs[0] for logs in both if logs]
    if not chosen:
        mend = "name the server's address with --target, or its folder with --state"
        raise InputError(f"there is no log of a server in {state / 'logs'}", field="--state", mend=mend)
    return chosen


def newest(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that match, the newest first."""
    return sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime, reverse=True)


class Tail:
    """A log file of bounded size, read from its end on. One that is replaced or cut is read from its beginning."""

    def __init__(self, file: Path) -> None:
        self.file, self.inode, self.place = file, 0, 0

    def last(self, count: int) -> list[str]:
        """The last whole lines so far."""
        lines = self.new()
        return lines[-count:] if count else []

    def new(self) -> list[str]:
        """The whole lines since the last call."""
        try:
            with self.file.open("rb") as opened:
                now = os.fstat(opened.fileno())
                if now.st_ino != self.inode or now.st_size < self.place:
                    self.inode, self.place = now.st_ino, 0
                opened.seek(self.place)
                whole = opened.read().rpartition(b"\n")[0]
        except FileNotFoundError:  # it is being replaced
            return []
        if not whole:
            return []
        self.place += len(whole) + 1
        return whole.decode(errors="replace").split("\n")
