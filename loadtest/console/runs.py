"""The campaigns that the console has started: one folder each below `UNDERSTUDY_HOME/load`, and at most one that runs.

The file `running` names the one that runs. Its process holds a lock on that file until it ends, however it ends. So
every ingress of the machine knows it, also one that started later.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from loadtest.console.files import NAME, CampaignFile
from variants.errors import InputError, UnknownName

RUN = re.compile(rf"\d{{8}}T\d{{6}}Z-{NAME.pattern}")
RUNNING, STARTED, PROGRESS, LOG, REPORT = "running", "started.json", "progress.json", "load.log", "report.html"
STAMP = "%Y%m%dT%H%M%SZ"
TAIL = 4096
"""Bytes of a log's end that are read for its last line."""
TRIES, PAUSE_S = 5, 0.05
"""Attempts to take the lock: a page that looks whether a campaign runs holds it for a moment."""
SHOWN = 30
"""The latest runs that are listed."""
CHILD = (sys.executable, "-m", "loadtest.console.child")


class CampaignRuns(InputError):
    """A second campaign was started while one runs."""


class Run(NamedTuple):
    """`began` is a time of UTC as text. `step` is the last `loadtest.progress.Step`, as a document. `why` says why a
    run failed."""

    id: str
    campaign: str
    by: str
    began: str
    state: Literal["running", "complete", "failed"]
    step: dict[str, Any] | None = None
    why: str = ""


class Runs:
    """`folder` is made when the first campaign starts. `command` is that of `loadtest.console.child`."""

    def __init__(self, folder: Path, command: Sequence[str] = CHILD) -> None:
        self.folder, self.command = folder, command
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, file: CampaignFile, target: str, by: str, key: str | None = None) -> str:
        """Start a campaign in a child process, which ends with this one, and return the run's id. `key` is the API key
        for its requests. Raises CampaignRuns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / RUNNING).open("a+") as lock:
            if not is_locked(lock):
                raise CampaignRuns("another campaign runs", mend="wait for its end, or stop it")
            began = datetime.now(UTC)
            run = f"{began:{STAMP}}-{file.name}"
            lock.truncate(0)
            lock.write(run)
            lock.flush()
            out = self.folder / run
            out.mkdir(exist_ok=True)
            self.child = self.started(file, target, out, key, lock)
        about = {"campaign": file.name, "by": by, "pid": self.child.pid, "began": began.isoformat(timespec="seconds")}
        try:
            (out / STARTED).write_text(json.dumps(about), encoding="utf-8")
        except OSError:  # without it nobody could stop the campaign
            self.child.terminate()
            raise
        return run

    def started(
        self, file: CampaignFile, target: str, out: Path, key: str | None, lock: IO[str]
    ) -> subprocess.Popen[bytes]:
        """The child process. It inherits the lock, and ends when its standard input does."""
        from loadtest.worker.parent import environment  # here, because importing it takes time

        with (out / LOG).open("w") as log:
            return subprocess.Popen(
                [*self.command, target, str(file.path), str(out)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment() | ({"UNDERSTUDY_KEY": key} if key else {}),
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )

    def running(self) -> str | None:
        """The id of the run that goes on."""
        if self.child is not None:
            self.child.poll()  # or it stays in the process table
        try:
            lock = (self.folder / RUNNING).open()
        except FileNotFoundError:
            return None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read()
        return None

    def stop(self) -> None:
        """End the campaign that runs, if one does. What it recorded stays."""
        run = self.running()
        about = self.document(run, STARTED) if run else None
        if about:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(about["pid"], signal.SIGINT)

    def latest(self) -> list[Run]:
        """The latest runs, the last one first."""
        if not self.folder.is_dir():
            return []
        running = self.running()
        names = sorted((path.name for path in self.folder.iterdir() if is_run(path)), reverse=True)
        return [self.run(name, name == running) for name in names[:SHOWN]]

    def run(self, name: str, is_running: bool) -> Run:
        about = self.document(name, STARTED) or {}
        stamp = name.partition("-")[0]
        began = f"{datetime.strptime(stamp, STAMP):%Y-%m-%d %H:%M:%S}"
        told = Run(name, name.partition("-")[2], about.get("by", ""), began, "running")
        if is_running:
            return told._replace(step=self.document(name, PROGRESS))
        if (self.folder / name / REPORT).is_file():  # it is written last
            return told._replace(state="complete")
        return told._replace(state="failed", why=self.last_words(name))

    def last_words(self, name: str) -> str:
        """Why a run failed, as its process said it last."""
        try:
            with (self.folder / name / LOG).open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1].removeprefix("load: ") if lines else "it ended without a word"

    def path(self, name: str) -> Path:
        """The folder of a run. Raises UnknownName."""
        path = self.folder / name
        if not is_run(path):
            raise UnknownName(f"there is no run {name!r:.80}")
        return path

    def document(self, name: str, file: str) -> dict[str, Any] | None:
        """A JSON document in a run's folder; None where it is not there yet."""
        try:
            document = json.loads((self.folder / name / file).read_bytes())
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None


def is_locked(file: IO[str]) -> bool:
    """Whether this process could lock the file."""
    for attempt in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S if attempt < TRIES - 1 else 0)
        else:
            return True
    return False


def is_run(path: Path) -> bool:
    """Whether this is the folder of a run. People keep other things beside them."""
    try:
        datetime.strptime(path.name.partition("-")[0], STAMP)
    except ValueError:
        return False
    return RUN.fullmatch(path.name) is not None and path.is_dir()
