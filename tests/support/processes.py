"""Servers that tests start: each a child in a session of its own, ended by pid."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serve.ports import free_port
from variants.home import home, sources_of

ROOT = Path(__file__).resolve().parents[2]


def borrow_home(folder: Path) -> Path:
    """A home in `folder` with the sources and artifacts of the user's own, and a copy of its catalog: what a test
    measures beside other tests is no card of the user's."""
    mine = home()
    folder.mkdir(parents=True)
    for place in (sources_of(mine), mine / "artifacts", mine / "judges"):
        place.mkdir(parents=True, exist_ok=True)
        (folder / place.name).symlink_to(place.resolve())
    for name in ("catalog", "outcomes"):
        if (mine / name).is_dir():
            shutil.copytree(mine / name, folder / name)
    return folder


def words_of(process: psutil.Process) -> list[str]:
    """The command line of a process; nothing for one that has ended, a zombie too."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def server(folder: Path, *command: str) -> Iterator[tuple[str, int]]:
    """Start `python -m COMMAND` with `{port}` filled in and its home in `folder`, and wait for its line of JSON. Gives
    its URL and its pid."""
    port = str(free_port())
    arguments = [part.replace("{port}", port) for part in command]
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "server.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT, env=os.environ | {"UNDERSTUDY_HOME": str(folder)}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=log, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests themselves may run under nohup
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log_path.read_text()[-3000:]
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
        assert process.returncode == 0, log_path.read_text()[-3000:]
