"""A file of kept requests: JSON lines in the order in which they came, bounded in rows and days.

Rows are appended. When there are too many, the oldest go, and a tenth more than necessary, so that the file is not
written anew for each row.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serve.config.keep_requests import KeepRequests
from variants.files import locked, write_atomic

Row = dict[str, str]
_LEAVES = 0.9  # of `most`


class KeptFile:
    """One file. Its rows are counted once, and again where another process has changed it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows, self.bytes = 0, 0

    def add(self, rows: Sequence[Row], limits: KeepRequests) -> None:
        """Append rows, each with the present time, and remove what is over the limits. Raises OSError, StoreFull."""
        now = datetime.now(UTC)
        stamp = {"time": now.isoformat(timespec="seconds")}
        lines = b"".join(json.dumps(stamp | row).encode() + b"\n" for row in rows)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            self._look()
            if lines:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(lines)
                self.rows, self.bytes = self.rows + len(rows), self.bytes + len(lines)
            if self.rows:
                self._trim(limits, now)

    def _look(self) -> None:
        """Count the rows of a file that somebody else has written. A line that a crash has cut off is removed."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == self.bytes:
            return
        data = self.path.read_bytes() if size else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))
        self.rows, self.bytes = whole.count(b"\n"), len(whole)

    def _trim(self, limits: KeepRequests, now: datetime) -> None:
        oldest = now - timedelta(days=limits.days)
        with self.path.open("rb") as file:
            if self.rows <= limits.most and _time_of(file.readline()) >= oldest:
                return
        lines = [line for line in self.path.read_bytes().splitlines(keepends=True) if _time_of(line) >= oldest]
        if len(lines) > limits.most:
            lines = lines[-max(1, int(_LEAVES * limits.most)) :]
        data = b"".join(lines)
        write_atomic(self.path, data)
        self.path.chmod(0o600)
        self.rows, self.bytes = len(lines), len(data)


def _time_of(line: bytes) -> datetime:
    """When a row was kept. The beginning of time for a line that is none, so that it goes."""
    try:
        return datetime.fromisoformat(json.loads(line)["time"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError):
        return datetime.min.replace(tzinfo=UTC)
