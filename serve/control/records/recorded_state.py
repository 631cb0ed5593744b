"""The controller's state and the journal that it is a fold of. Whatever changes the state goes through here."""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serve.control.checkpoint import compact, is_due, restored
from serve.control.journal import Entry, Journal
from serve.control.records.history import figures_of
from serve.errors import Conflict
from variants.errors import StoreFull

log = logging.getLogger("understudy.traffic")


class RecordedState:
    """`folder` holds the journal. `unwritten` has the entries that are in effect but not on disk yet."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)
        self.state = restored(self.journal)
        self.unwritten: list[tuple[str, Entry]] = []
        if is_due(self.journal, at_start=True):
            compact(self.journal, self.state)

    def write(self, *entries: tuple[str, Entry]) -> None:
        """Write all entries to disk, or none, then apply them. Raises Conflict, StoreFull; then nothing has changed.

        Entries that are in effect but not on disk yet are written before them. An entry that cannot be applied is
        removed again and its error raised: no later controller could start.
        """
        written = self.journal.append(*self.unwritten, *entries)
        try:
            for entry in written[len(self.unwritten) :]:
                self.state.apply(entry)
        except Exception:
            self.journal.take_back(len(written))
            self.state = restored(self.journal)
            for entry in self.journal.numbered(*self.unwritten):
                self.state.apply(entry)
            raise
        self.unwritten = []

    def write_when_possible(self, *entries: tuple[str, Entry]) -> None:
        """Put entries into effect even on a full disk. Then they are written as soon as there is room.

        Raises Conflict if another controller has taken over."""
        try:
            self.write(*entries)
        except StoreFull as error:
            log.error("in effect, but not on disk: %s", error)
            pending = self.journal.numbered(*self.unwritten, *entries)[len(self.unwritten) :]
            for entry, (kind, what) in zip(pending, entries, strict=True):
                self.state.apply(entry)
                self.unwritten.append((kind, {"at": entry["at"], **what}))

    def write_pending(self) -> None:
        """Write what is in effect but not on disk yet, if there is room now."""
        if self.unwritten:
            with suppress(StoreFull, Conflict):
                self.write()
                log.warning("what is in effect is on disk again")

    def note_progress(self, model: str, verdict: dict[str, Any]) -> None:
        """Write how the evidence stands if that is due. Where it cannot be written, the next verdict is tried."""
        record, now = self.state.history.latest(model), datetime.now(UTC)
        if record is not None and record.is_due(verdict["decision"], now):
            with suppress(StoreFull):
                self.write(("progress", {"model": model, "rollout": record.id, "point": figures_of(verdict)}))

    def is_on_disk(self, model: str) -> bool:
        """Whether every decision about a model is on disk."""
        return not any(entry.get("model") == model for _, entry in self.unwritten)
