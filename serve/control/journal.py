"""The journal: every decision and count is on disk before it takes effect. One JSON document a line, synced.

There is one writer. Opening the journal starts the next *epoch*, and a writer of an earlier epoch is refused. So an old
controller that still runs cannot write after its successor started. Opening also removes a line that a crash cut off:
nobody received an acknowledgement of it.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from serve.errors import Conflict
from variants.disk import full_disk_told
from variants.errors import IntegrityError
from variants.files import fsync, locked, write_atomic

Entry = dict[str, Any]
BLOCK = 2**16


class Journal:
    """`folder` holds `journal.jsonl` and `epoch`."""

    def __init__(self, folder: Path) -> None:
        self.file, self.fence, self.lock = folder / "journal.jsonl", folder / "epoch", folder / "lock"
        folder.mkdir(parents=True, exist_ok=True)
        with locked(self.lock):
            self.epoch = self.standing_epoch() + 1
            write_atomic(self.fence, str(self.epoch).encode())
            self.seq = self.mend()

    def standing_epoch(self) -> int:
        return int(self.fence.read_text()) if self.fence.is_file() else 0

    def mend(self) -> int:
        """Remove a line that was cut off. Gives the number of entries."""
        self.file.touch()
        data = self.file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.file.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())
        fsync(self.file.parent)
        return data.count(b"\n")

    def append(self, *entries: tuple[str, Entry]) -> list[Entry]:
        """Write and sync (kind, entry) pairs. Gives the entries with number, epoch, time and kind.

        Raises Conflict if another controller has taken over, StoreFull if the disk is full. Then no entry is written.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        written = [
            {"seq": self.seq + number, "epoch": self.epoch, "at": at, "kind": kind, **what}
            for number, (kind, what) in enumerate(entries, 1)
        ]
        lines = [json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in written]
        with locked(self.lock), full_disk_told(self.file.parent):
            self.check_epoch()
            with self.file.open("ab") as file:
                self.before = size = file.tell()
                try:
                    file.write(b"".join(lines))
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    file.truncate(size)
                    raise
        self.seq += len(written)
        return written

    def take_back(self, count: int = 1) -> None:
        """Remove all `count` entries of the last `append`. Raises Conflict if another controller has taken over."""
        with locked(self.lock):
            self.check_epoch()
            with self.file.open("r+b") as file:
                file.truncate(self.before)
                os.fsync(file.fileno())
        self.seq -= count

    def check_epoch(self) -> None:
        if self.standing_epoch() != self.epoch:
            raise Conflict("another controller has taken over", mend="send the request again")

    def entries(self) -> Iterator[Entry]:
        """Every entry, oldest first. Raises IntegrityError for an entry that is not JSON or out of order."""
        with self.file.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield self.read(line, number)

    def last(self, count: int) -> list[Entry]:
        """The latest `count` entries, oldest first. Reads from the end, because the file only grows.

        Raises IntegrityError for an entry that is not JSON."""
        with self.file.open("rb") as file:
            lines = tail(file, count)
        return [self.read(line) for line in lines]

    def read(self, line: bytes, number: int | None = None) -> Entry:
        try:
            entry = json.loads(line)
            whole = isinstance(entry, dict) and entry["seq"] == (number or entry["seq"])
        except (ValueError, KeyError):
            whole = False
        if not whole:
            where = f"line {number}" if number else "a line near the end"
            raise IntegrityError(
                f"{where} of {self.file} is damaged", mend="repair it, or move the folder away to start empty"
            )
        return dict(entry)


def tail(file: BinaryIO, count: int) -> list[bytes]:
    """The last `count` whole lines of a file."""
    start, data = file.seek(0, os.SEEK_END), b""
    while start and data.count(b"\n") <= count:
        size = min(start, max(BLOCK, len(data)))
        start -= size
        file.seek(start)
        data = file.read(size) + data
    return data.split(b"\n")[:-1][-count:]
