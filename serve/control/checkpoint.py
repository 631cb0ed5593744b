"""Checkpoints of the controller's state, so that neither its start nor its disk grows with the number of outcomes.

A checkpoint is the fold of all entries up to one number. It replaces the counts among them in the journal; decisions
stay (`serve.control.journal`). Its document follows from the types of the state: a new field with a default needs no
change here. The steps of a `Compaction` let the controller go on while the new file is written:

    Compaction(...)   copies the state and remembers where the journal ends
    write()           writes the new file beside the old one; may run in a thread
    finish()          adds what was appended meanwhile, and replaces the journal by one rename

A crash before the rename leaves the old journal, a crash after it the new one. Each has every entry exactly once.
"""

import asyncio
import dataclasses
import json
import logging
from collections import deque
from typing import Any

from pydantic import TypeAdapter, ValidationError

from serve.control.contract import RULES
from serve.control.journal import CHECKPOINT, Entry, Journal
from serve.control.seen_set import Copied, pack
from serve.control.state import ControlState
from variants.errors import IntegrityError, StoreFull, UnderstudyError

log = logging.getLogger("understudy.checkpoint")
SCHEMA = 1
MOST_BYTES = 8 * 2**20
"""The controller folds when outcomes and feedback take more than this, ..."""
MOST_AT_START = 2**20
"""... and a start folds already above this."""
AGAIN_S = 60.0
"""The pause after a failure."""
COUNTED = ("pairs", "clients")
"""Fields of the state that are counted by `RULES`. Those of other rules do not count, as in the journal."""
STATE = TypeAdapter(ControlState)
PAIRS = "\x00pairs"
"""Marks a mapping whose keys are not text, which JSON cannot have: it is a list of pairs instead."""


def restored(journal: Journal) -> ControlState:
    """The state of all entries: the journal's checkpoint, if it has one, and every later entry.

    Raises IntegrityError for a journal that cannot be read."""
    checkpoint = journal.checkpoint()
    if checkpoint is None:
        return ControlState.read(journal.entries())
    try:
        state = load(checkpoint)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"the checkpoint in {journal.file} cannot be read by this version: {str(error)[:200]}",
            mend="start the version that wrote it, or move the folder away to start empty",
        ) from error
    for entry in journal.entries(after=checkpoint["seq"]):
        state.apply(entry)
    return state


def is_due(journal: Journal, at_start: bool = False) -> bool:
    """Whether enough counts have come since the last checkpoint."""
    return journal.loose_bytes > (MOST_AT_START if at_start else MOST_BYTES)


class Compaction:
    """Replaces the counts of a journal by a checkpoint of `state`, which is the fold of all its entries."""

    def __init__(self, journal: Journal, state: ControlState) -> None:
        self.journal, self.size = journal, journal.file.stat().st_size
        head = {"seq": journal.seq, "epoch": journal.epoch, "at": journal.numbered(("", {}))[0]["at"]}
        self.head: Entry = {**head, "kind": CHECKPOINT, "schema": SCHEMA, "rules": RULES}
        self.state = STATE.dump_python(state)

    def write(self) -> None:
        """Raises StoreFull; then nothing has changed."""
        checkpoint = self.head | {"state": plain(self.state)}
        self.journal.draft(json.dumps(checkpoint, separators=(",", ":")).encode(), self.size)

    def finish(self) -> None:
        """Raises Conflict if another controller has taken over, StoreFull; then nothing has changed."""
        self.journal.replace(self.size)


def compact(journal: Journal, state: ControlState) -> None:
    """All steps at once, for a start. A disk that takes no file is logged: the journal stays as it is."""
    try:
        compaction = Compaction(journal, state)
        compaction.write()
        compaction.finish()
    except (OSError, StoreFull) as error:
        log.warning("the journal grows on: %s", error)


async def compact_beside(journal: Journal, state: ControlState) -> None:
    """The same while the controller goes on: the new file is written in a thread."""
    try:
        compaction = Compaction(journal, state)
        await asyncio.to_thread(compaction.write)
        compaction.finish()
    except (OSError, UnderstudyError) as error:
        log.warning("the journal grows on: %s", error)
        await asyncio.sleep(AGAIN_S)


def load(document: Entry) -> ControlState:
    """The state of a checkpoint. Evidence that was counted by other rules is left out.

    Raises ValidationError, ValueError, KeyError, TypeError."""
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is {document['schema']!r:.20}, this version reads {SCHEMA}")
    fields = with_keys(document["state"])
    if document["rules"] != RULES:
        fields = {name: value for name, value in fields.items() if name not in COUNTED}
    state = STATE.validate_python(fields)
    fill(state)
    return state


def plain(value: Any) -> Any:
    """A value of mappings, sequences and sets as JSON can hold it."""
    if isinstance(value, Copied):
        return pack(value)
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: plain(each) for key, each in value.items()}
        return {PAIRS: [[plain(key), plain(each)] for key, each in value.items()]}
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [plain(each) for each in value]
    return value


def with_keys(value: Any) -> Any:
    """The reverse of `plain`, but for sequences, which `STATE` reads as what its fields say."""
    if isinstance(value, list):
        return [with_keys(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {PAIRS}:
        return {hashable(key): with_keys(each) for key, each in value[PAIRS]}
    return {key: with_keys(each) for key, each in value.items()}


def hashable(key: Any) -> Any:
    return tuple(hashable(each) for each in key) if isinstance(key, list) else key


def fill(value: Any) -> None:
    """Add to every mapping of a state the entries that its field has by default, such as the tally of a new metric."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            current = getattr(value, field.name)
            if isinstance(current, dict) and field.default_factory is not dataclasses.MISSING:
                for key, default in field.default_factory().items():
                    current.setdefault(key, default)
            fill(current)
    elif isinstance(value, dict):
        for each in value.values():
            fill(each)
