"""Logs of the server's own processes: JSON lines in `logs` of the state folder, which outlive the process.

A line has time, level, logger, event, request id, trace id, model, variant and key name, and fields that the caller
gives as `extra`. It never holds what a client sent, nor a key: of a message only its constant text and its numbers are
written, of an exception only its type and where it was raised.
"""

import json
import logging
import os
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

FILE_BYTES, OLDER_FILES = 16 * 2**20, 3
"""Size at which a file is rotated, and how many rotated files stay beside it."""
KEPT = 5
"""Processes of one kind whose files are kept."""
REQUEST = ("request_id", "trace_id", "model", "variant", "key")
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@dataclass
class Noted:
    """What the logs say of one request; filled while it is served. `status` is 0 before there is one."""

    request_id: str = ""
    trace_id: str = ""
    model: str = ""
    variant: str = ""
    key: str = ""
    reason: str = ""
    status: int = 0


current: ContextVar[Noted | None] = ContextVar("current", default=None)
"""The request that this task serves."""
name = ""
"""The file of this process, relative to the state folder; empty before `write_to`."""


def noted() -> Noted:
    """The current request's notes, or notes that nobody reads."""
    return current.get() or Noted()


def where() -> str:
    """Where an operator finds the log of this process."""
    return f"{name} in the server's state folder" if name else "the output of the server"


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        request = noted()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": str(record.msg),
            **{field: getattr(request, field) for field in REQUEST},
            **{field: value for field, value in vars(record).items() if field not in STANDARD},
        }
        values = record.args if isinstance(record.args, tuple) else ()
        if numbers := [value for value in values if isinstance(value, int | float)]:
            line["numbers"] = numbers
        if errors := [type(value).__name__ for value in values if isinstance(value, BaseException)]:
            line["errors"] = errors
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["raised_at"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line)


def write_to(state: Path, kind: str, single: bool = False) -> Path:
    """Write the logs of this process to `logs/KIND-TIME-PID.jsonl` in the state folder, or to `logs/KIND.jsonl` if a
    server has a single process of that kind. Removes the files of the oldest processes. Raises OSError."""
    global name
    folder = state / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{kind}.jsonl"
    if not single:
        file = folder / f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.jsonl"
        remove_oldest(folder, kind)
    handler = RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")
    handler.setFormatter(JsonLines())
    log = logging.getLogger("understudy")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    name = f"logs/{file.name}"
    return file


def remove_oldest(folder: Path, kind: str) -> None:
    """Leave the files of the newest `KEPT` - 1 processes of a kind."""
    files = sorted(folder.glob(f"{kind}-*.jsonl"))
    for old in files[: max(len(files) - KEPT + 1, 0)]:
        for each in folder.glob(f"{old.name}*"):
            each.unlink(missing_ok=True)
