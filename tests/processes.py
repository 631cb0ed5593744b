"""Servers that tests start: each a child in a session of its own, ended by pid."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serve.ports import free_port

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def server(home: Path, *command: str) -> Iterator[tuple[str, int]]:
    """Start `python -m COMMAND` with `{port}` filled in, wait for its line of JSON; gives its URL and its pid."""
    port = str(free_port())
    arguments = [part.replace("{port}", port) for part in command]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT, env=os.environ | {"UNDERSTUDY_HOME": str(home)}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (home / "server.log").read_text()[-3000:]
            yield json.loads(line)["url"], process.pid
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            finally:
                _, alive = psutil.wait_procs(children, timeout=20)
                for child in alive:
                    child.kill()
            assert not alive, f"left running: {alive}"
        assert process.returncode == 0, (home / "server.log").read_text()[-3000:]
