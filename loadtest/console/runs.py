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
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from loadtest.console.files import NAME, CampaignFile
from variants.errors import InputError, UnknownName

RUN = re.compile(rf"\d{{8}}T\d{{6}}Z-{NAME.pattern}")
RUNNING, STARTED, PROGRESS, LOG, SUMMARY = "running", "started.json", "progress.json", "load.log", "summary.json"
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
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CampaignRuns("another campaign runs", mend="wait for its end, or stop it") from None
            began = datetime.now(UTC)
            run = f"{began:%Y%m%dT%H%M%SZ}-{file.name}"
            lock.truncate(0)
            lock.write(run)
            lock.flush()
            out = self.folder / run
            out.mkdir(exist_ok=True)
            self.child = self.started(file, target, out, key, lock)
        about = {"campaign": file.name, "by": by, "pid": self.child.pid, "began": began.isoformat(timespec="seconds")}
        (out / STARTED).write_text(json.dumps(about), encoding="utf-8")
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
        names = sorted((path.name for path in self.folder.iterdir() if RUN.fullmatch(path.name)), reverse=True)
        return [self.run(name, name == running) for name in names[:SHOWN]]

    def run(self, name: str, is_running: bool) -> Run:
        about = self.document(name, STARTED) or {}
        stamp = name.partition("-")[0]
        began = f"{datetime.strptime(stamp, '%Y%m%dT%H%M%SZ'):%Y-%m-%d %H:%M:%S}"
        told = Run(name, name.partition("-")[2], about.get("by", ""), began, "running")
        if is_running:
            return told._replace(step=self.document(name, PROGRESS))
        if (self.folder / name / SUMMARY).is_file():
            return told._replace(state="complete")
        return told._replace(state="failed", why=self.last_words(name))

    def last_words(self, name: str) -> str:
        """Why a run failed, as its process said it last."""
        path = self.folder / name / LOG
        lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
        return lines[-1].removeprefix("load: ") if lines else "it ended without a word"

    def path(self, name: str) -> Path:
        """The folder of a run. Raises UnknownName."""
        path = self.folder / name
        if not RUN.fullmatch(name) or not path.is_dir():
            raise UnknownName(f"there is no run {name!r:.80}")
        return path

    def document(self, name: str, file: str) -> dict[str, Any] | None:
        """A JSON document in a run's folder; None where it is not there yet."""
        try:
            return dict(json.loads((self.folder / name / file).read_bytes()))
        except (FileNotFoundError, ValueError):
            return None
