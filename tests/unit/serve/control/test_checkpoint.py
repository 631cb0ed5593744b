"""Checkpoints replace counts, keep decisions, and lose or repeat nothing at any moment."""

import errno
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.benchmarks.journal_growth import PAIR, batch, begin, grow
from serve.control import checkpoint, seen_set
from serve.control.checkpoint import Compaction, compact, compact_beside, is_due, restored
from serve.control.journal import Journal
from serve.control.seen_set import Copied, SeenSet, pack, unpack
from serve.control.state import ControlState
from serve.errors import Conflict
from variants.errors import IntegrityError
from variants.evidence.betting import Tally


class Written:
    """A journal in `folder`, and the state that was applied beside it."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.state, self.dice, self.batches = Journal(folder), ControlState(), random.Random(1), 0
        self.add(begin())

    def add(self, *entries: tuple[str, dict[str, object]]) -> None:
        for entry in self.journal.append(*entries):
            self.state.apply(entry)

    def add_batches(self, count: int) -> None:
        for _ in range(count):
            self.batches += 1
            self.add(batch(self.batches, 3, self.dice))


@pytest.fixture
def written(tmp_path: Path) -> Written:
    written = Written(tmp_path / "state")
    written.add_batches(5)
    written.add(("feedback", {"id": "f", "artifact": "b" * 64, "score": 1.0}))
    return written


def kinds(journal: Journal) -> list[str]:
    return [entry["kind"] for entry in journal.entries()]


def test_a_checkpoint_gives_the_same_state_and_keeps_the_decisions(written: Written) -> None:
    compact(written.journal, written.state)
    assert kinds(written.journal) == ["rollout"]
    assert written.journal.loose_bytes == 0
    again = Journal(written.journal.file.parent)
    assert restored(again) == written.state
    assert again.seq == written.journal.seq == 7
    assert again.last(5) == list(again.entries())


def test_entries_after_a_checkpoint_go_on_and_are_folded_by_the_next(written: Written) -> None:
    for _ in range(3):
        compact(written.journal, written.state)
        written.add_batches(2)
        written.add(begin())
        assert restored(Journal(written.journal.file.parent)) == written.state
        written.journal = Journal(written.journal.file.parent)
    assert kinds(written.journal) == ["rollout"] * 3 + ["outcomes"] * 2 + ["rollout"]
    assert [entry["seq"] for entry in written.journal.entries()] == [1, 10, 13, 14, 15, 16]


def test_a_batch_in_a_checkpoint_is_not_counted_again(written: Written) -> None:
    compact(written.journal, written.state)
    before = written.state.pairs[PAIR].compared
    written.add(batch(5, 3, random.Random(2)))
    assert restored(Journal(written.journal.file.parent)).pairs[PAIR].compared == before


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_crash_at_any_step_loses_and_repeats_nothing(written: Written, steps: int) -> None:
    compaction = Compaction(written.journal, written.state)
    doings: list[Callable[[], None]] = [lambda: written.add_batches(1), compaction.write, compaction.finish]
    for do in doings[:steps]:
        do()
    written.add_batches(1)
    assert restored(Journal(written.journal.file.parent)) == written.state
    assert not written.journal.next.exists()


def test_a_draft_that_was_cut_off_is_removed(written: Written) -> None:
    Compaction(written.journal, written.state).write()
    whole = written.journal.next.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        written.journal.next.write_bytes(whole[:cut])
        assert restored(Journal(written.journal.file.parent)) == written.state


def test_a_controller_that_was_replaced_makes_no_checkpoint(written: Written) -> None:
    compaction = Compaction(written.journal, written.state)
    compaction.write()
    Journal(written.journal.file.parent)
    with pytest.raises(Conflict, match="another controller has taken over"):
        compaction.finish()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_takes_no_file_leaves_the_journal(
    written: Written, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint, "AGAIN_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        compact(written.journal, written.state)
        await compact_beside(written.journal, written.state)
    assert caplog.text.count("the journal grows on") == 2
    assert restored(Journal(written.journal.file.parent)) == written.state


def test_the_state_is_copied_before_later_counts(written: Written) -> None:
    before = written.state.pairs[PAIR].compared
    compaction = Compaction(written.journal, written.state)
    for number in range(6, 9):
        written.state.apply({"kind": "outcomes", **batch(number, 3, written.dice)[1]})
    compaction.write()
    compaction.finish()
    assert restored(Journal(written.journal.file.parent)).pairs[PAIR].compared == before


def test_a_copy_that_is_taken_while_writing_is_the_state_of_one_moment(written: Written, tmp_path: Path) -> None:
    """In whatever order the files are copied: each copy has as many pairs as it has batches."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            written.add_batches(3)
            compact(written.journal, written.state)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(40):
            copy = tmp_path / f"copy-{number}"
            copy.mkdir()
            names = ["journal.jsonl", "epoch", "lock"]
            random.Random(number).shuffle(names)
            for name in names:
                shutil.copy(written.journal.file.parent / name, copy / name)
            state = restored(Journal(copy))
            assert state.pairs[PAIR].compared == 3 * state.batches["i"] >= 15
    finally:
        stop.set()
        thread.join()


def change(file: Path, **fields: object) -> None:
    first, _, rest = file.read_bytes().partition(b"\n")
    file.write_bytes(json.dumps(json.loads(first) | fields, separators=(",", ":")).encode() + b"\n" + rest)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"schema": 99}, "its schema is 99"),
        ({"state": {"batches": {"i": "many"}}}, "batches"),
        ({"state": 1}, "ControlState"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_refused(written: Written, fields: dict[str, object], says: str) -> None:
    compact(written.journal, written.state)
    change(written.journal.file, **fields)
    with pytest.raises(IntegrityError, match=rf"cannot be read by this version: (?s:.)*{says}"):
        restored(Journal(written.journal.file.parent))


def test_evidence_by_other_rules_is_left_out_of_a_checkpoint_too(written: Written) -> None:
    compact(written.journal, written.state)
    change(written.journal.file, rules=1)
    state = restored(Journal(written.journal.file.parent))
    assert (state.pairs, state.clients) == ({}, {})
    assert state.batches == written.state.batches
    assert state.rollouts == written.state.rollouts


def test_a_field_that_an_older_checkpoint_lacks_has_its_default(written: Written) -> None:
    compact(written.journal, written.state)
    state = json.loads(written.journal.file.read_bytes().partition(b"\n")[0])["state"]
    del state["feedback"], state["pairs"][PAIR]["evidence"]["tallies"]["latency"], state["pairs"][PAIR]["divergence"]
    change(written.journal.file, state=state)
    again = restored(Journal(written.journal.file.parent))
    assert again.feedback == {}
    assert again.pairs[PAIR].divergence == 0.0
    assert again.pairs[PAIR].evidence.tallies["latency"] == Tally(0.0, 1.0)


def test_an_entry_out_of_order_behind_a_checkpoint_is_an_error(written: Written) -> None:
    compact(written.journal, written.state)
    written.add_batches(2)
    lines = written.journal.file.read_bytes().splitlines(keepends=True)
    written.journal.file.write_bytes(b"".join(lines[:-2] + lines[-1:]))
    with pytest.raises(IntegrityError, match="line 3 of"):
        restored(Journal(written.journal.file.parent))


def test_names_are_packed_and_unpacked() -> None:
    seen = SeenSet()
    for number in range(20_000):
        seen.add(str(number))
    assert unpack(pack(Copied(seen.young))) == seen.young
    assert len(pack(Copied(seen.young))) < 11 * len(seen.young)


def test_size_does_not_grow_with_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of `make bench-journal`: all entries would take 9 MB."""
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 2**18)
    monkeypatch.setattr(seen_set, "LEAST", 2_500)
    growth = grow(tmp_path, 50_000)
    assert growth.counted == 50_000
    assert growth.checkpoints > 20
    assert growth.most_bytes < 1.2e6
    assert not is_due(Journal(tmp_path))
