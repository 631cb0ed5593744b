"""The journal: every decision and count is on disk before it takes effect. One JSON document a line, synced.

There is one writer. Opening the journal starts the next *epoch*, and a writer of an earlier epoch is refused. So an old
controller that still runs cannot write after its successor started. Opening also removes a line that a crash cut off:
nobody received an acknowledgement of it.

A *checkpoint* (`serve.control.checkpoint`) replaces the counts, so that the file does not grow with them. It is the
first line of the same file, and holds the state after the entry of its `seq`. Decisions up to that entry follow it, for
the record, then every later entry. A new file replaces the old one by one rename. So each moment, and each copy of this
one file, has everything once.
"""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from serve.errors import Conflict
from variants.disk import full_disk_told
from variants.errors import IntegrityError
from variants.files import fsync, locked, write_atomic

Entry = dict[str, Any]
BLOCK = 2**16
CHECKPOINT = "checkpoint"
DECISIONS = ("rollout", "traffic")
"""The kinds of entries that are kept for ever. A checkpoint replaces all others."""
HEAD = re.compile(rb'\{"seq":(\d{1,18}),"epoch":\d{1,18},"at":"[^"]{0,64}","kind":"([a-z]{1,32})"')


class Head(NamedTuple):
    """What a line's first bytes say, without parsing the rest."""

    seq: int
    kind: str


def head_of(line: bytes) -> Head | None:
    """None for a line that is no entry."""
    match = HEAD.match(line)
    return Head(int(match[1]), match[2].decode()) if match else None


def loose_bytes(line: bytes) -> int:
    """The bytes of a line that a checkpoint would replace: all of it, or none."""
    head = head_of(line)
    return 0 if head and head.kind in (CHECKPOINT, *DECISIONS) else len(line)


class Journal:
    """`folder` holds `journal.jsonl` and `epoch`. `opened` is the number of the last entry when it was opened.
    `loose_bytes` is the size of all entries that a checkpoint would replace."""

    def __init__(self, folder: Path) -> None:
        self.file, self.fence, self.lock = folder / "journal.jsonl", folder / "epoch", folder / "lock"
        self.next = folder / "journal.next"
        folder.mkdir(parents=True, exist_ok=True)
        with locked(self.lock):
            self.epoch = self.standing_epoch() + 1
            write_atomic(self.fence, str(self.epoch).encode())
            self.next.unlink(missing_ok=True)
            self.seq = self.opened = self.mend()

    def standing_epoch(self) -> int:
        return int(self.fence.read_text()) if self.fence.is_file() else 0

    def mend(self) -> int:
        """Remove a line that was cut off. Gives the number of the last entry."""
        self.file.touch()
        self.loose_bytes, seq, whole = 0, 0, 0
        with self.file.open("r+b") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(whole)
                    os.fsync(file.fileno())
                    break
                whole += len(line)
                self.loose_bytes += loose_bytes(line)
                seq = max(seq, (head_of(line) or Head(seq + 1, "")).seq)
        fsync(self.file.parent)
        return seq

    def numbered(self, *entries: tuple[str, Entry]) -> list[Entry]:
        """(kind, entry) pairs with the number, epoch and time that `append` would give them now. An entry that has a
        time keeps it."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return [
            {"seq": self.seq + number, "epoch": self.epoch, "at": at, "kind": kind, **what}
            for number, (kind, what) in enumerate(entries, 1)
        ]

    def append(self, *entries: tuple[str, Entry]) -> list[Entry]:
        """Write and sync (kind, entry) pairs. Gives the entries with number, epoch, time and kind.

        Raises Conflict if another controller has taken over, StoreFull if the disk is full. Then no entry is written.
        """
        written = self.numbered(*entries)
        lines = [json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in written]
        with locked(self.lock), full_disk_told(self.file.parent):
            self.check_epoch()
            with self.file.open("ab") as file:
                size = file.tell()
                self.before = size, self.loose_bytes
                try:
                    file.write(b"".join(lines))
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    file.truncate(size)
                    raise
        self.seq += len(written)
        self.loose_bytes += sum(map(loose_bytes, lines))
        return written

    def take_back(self, count: int = 1) -> None:
        """Remove all `count` entries of the last `append`. Raises Conflict if another controller has taken over."""
        with locked(self.lock):
            self.check_epoch()
            size, self.loose_bytes = self.before
            with self.file.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())
        self.seq -= count

    def check_epoch(self) -> None:
        if self.standing_epoch() != self.epoch:
            raise Conflict("another controller has taken over", mend="send the request again")

    def draft(self, checkpoint: bytes, size: int) -> None:
        """Write the next file: a line with the checkpoint, and the decisions in the first `size` bytes of this file.

        May run beside `append`, in another thread. Nothing counts before `replace`. Raises StoreFull."""
        with full_disk_told(self.file.parent), self.file.open("rb") as old, self.next.open("wb") as new:
            new.write(checkpoint + b"\n")
            while old.tell() < size:
                line = old.readline()
                head = head_of(line)
                if head is None or head.kind in DECISIONS:
                    new.write(line)
            new.flush()
            os.fsync(new.fileno())

    def replace(self, size: int) -> None:
        """Put the drafted file into effect, with the entries beyond the first `size` bytes of this file.

        Raises Conflict if another controller has taken over, StoreFull. Then this file stays."""
        with locked(self.lock), full_disk_told(self.file.parent):
            self.check_epoch()
            with self.file.open("rb") as old, self.next.open("ab") as new:
                old.seek(size)
                later = old.read()
                new.write(later)
                new.flush()
                os.fsync(new.fileno())
            self.next.replace(self.file)
            fsync(self.file.parent)
        self.loose_bytes = sum(loose_bytes(line) for line in later.splitlines(keepends=True))

    def checkpoint(self) -> Entry | None:
        """The checkpoint that the file begins with. Raises IntegrityError if it is damaged."""
        with self.file.open("rb") as file:
            line = file.readline()
        head = head_of(line)
        return self.read(line, 1) if head and head.kind == CHECKPOINT else None

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Every entry that is kept, oldest first, but the checkpoint; only those with a number above `after`.

        Raises IntegrityError for an entry that is not JSON or out of order."""
        folded = last = 0
        with self.file.open("rb") as file:
            for number, line in enumerate(file, 1):
                head = head_of(line)
                if head and head.kind == CHECKPOINT and number == 1:
                    folded = head.seq
                    continue
                if head is None or not (last < head.seq <= folded or head.seq == max(last, folded) + 1):
                    raise self.damage(number)
                last = head.seq
                if head.seq > after:
                    yield self.read(line, number)

    def last(self, count: int) -> list[Entry]:
        """The latest `count` entries that are kept, oldest first. Reads from the end of the file.

        Raises IntegrityError for an entry that is not JSON."""
        with self.file.open("rb") as file:
            lines = tail(file, count)
        heads = [head_of(line) for line in lines]
        return [
            self.read(line) for head, line in zip(heads, lines, strict=True) if not (head and head.kind == CHECKPOINT)
        ]

    def read(self, line: bytes, number: int | None = None) -> Entry:
        try:
            entry = json.loads(line)
            whole = isinstance(entry, dict) and isinstance(entry["seq"], int)
        except (ValueError, KeyError):
            whole = False
        if not whole:
            raise self.damage(number)
        return dict(entry)

    def damage(self, number: int | None) -> IntegrityError:
        where = f"line {number}" if number else "a line near the end"
        return IntegrityError(
            f"{where} of {self.file} is damaged", mend="repair it, or move the folder away to start empty"
        )


def tail(file: BinaryIO, count: int) -> list[bytes]:
    """The last `count` whole lines of a file."""
    start, data = file.seek(0, os.SEEK_END), b""
    while start and data.count(b"\n") <= count:
        size = min(start, max(BLOCK, len(data)))
        start -= size
        file.seek(start)
        data = file.read(size) + data
    return data.split(b"\n")[:-1][-count:]
