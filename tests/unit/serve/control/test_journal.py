import errno
import json
import os
from pathlib import Path

import pytest

from serve.control.journal import Journal
from serve.errors import Conflict
from variants.errors import IntegrityError


def test_appended_entries_are_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first, second = journal.append(("traffic", {"model": "a"}), ("rollout", {"model": "b"}))
    assert [(entry["seq"], entry["kind"]) for entry in journal.entries()] == [(1, "traffic"), (2, "rollout")]
    assert list(Journal(tmp_path).entries()) == [first, second]
    assert Journal(tmp_path).append(("traffic", {}))[0]["seq"] == 3


def test_several_entries_are_numbered_and_taken_back_together(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(("traffic", {"model": "a"}))
    journal.append(("traffic", {"model": "b"}), ("rollout", {"model": "b"}))
    journal.take_back(2)
    assert [entry["seq"] for entry in journal.entries()] == [1]
    journal.append(("traffic", {"model": "c"}), ("rollout", {"model": "c"}))
    journal.append(("traffic", {"model": "d"}))
    assert [(entry["seq"], entry["model"]) for entry in journal.entries()] == [(1, "a"), (2, "c"), (3, "c"), (4, "d")]


def test_entries_that_could_not_be_synced_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.append(("traffic", {"model": "a"}))
    whole = journal.file.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="the disk does not answer"):
            journal.append(("traffic", {"model": "b"}))
    assert journal.file.read_bytes() == whole
    assert journal.append(("traffic", {"model": "c"}))[0]["seq"] == 2


def test_a_line_that_a_crash_cut_off_is_removed(tmp_path: Path) -> None:
    Journal(tmp_path).append(("traffic", {"model": "a"}))
    file = tmp_path / "journal.jsonl"
    whole = file.read_bytes()
    for cut in range(1, len(whole)):
        file.write_bytes(whole + whole[:cut])
        journal = Journal(tmp_path)
        assert file.read_bytes() == whole
        assert journal.seq == 1


def test_a_controller_that_was_replaced_cannot_write(tmp_path: Path) -> None:
    dead, living = Journal(tmp_path), Journal(tmp_path)
    living.append(("traffic", {}))
    with pytest.raises(Conflict, match="another controller has taken over"):
        dead.append(("traffic", {}))
    assert [entry["epoch"] for entry in living.entries()] == [2]


@pytest.mark.parametrize("damage", [b"{}\n", b"no json\n", json.dumps({"seq": 7}).encode() + b"\n"])
def test_damage_in_the_middle_is_an_error(tmp_path: Path, damage: bytes) -> None:
    Journal(tmp_path).append(("traffic", {}))
    file = tmp_path / "journal.jsonl"
    file.write_bytes(damage + file.read_bytes())
    with pytest.raises(IntegrityError, match="line 1 of"):
        list(Journal(tmp_path).entries())


@pytest.mark.parametrize("length", [1, 2**15, 2**16, 2**17])
def test_the_last_entries_are_read_from_the_end(tmp_path: Path, length: int) -> None:
    journal = Journal(tmp_path)
    for number in range(5):
        journal.append(("traffic", {"text": f"{number}" * length}))
    every = list(journal.entries())
    for count in range(1, 8):
        assert journal.last(count) == every[-count:]


def test_the_last_entries_of_none_and_of_damaged_ones(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.last(3) == []
    journal.append(("traffic", {}))
    journal.file.write_bytes(b"{}\n")
    with pytest.raises(IntegrityError, match="a line near the end of"):
        journal.last(1)
