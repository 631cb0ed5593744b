"""Answers that differ on disk: who may read them, for how long they stay, and how many."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from serve.config.keep_answers import KeepAnswers
from serve.shadow.opinions.answer_store import DAY_S, TABLE, AnswerStore, row_of
from serve.shadow.opinions.difference import Difference

NOW = 1_800_000_000.0
KEEP = {"m": KeepAnswers()}


def difference(name: str, at: float = NOW, model: str = "m", variant: str = "int8") -> Difference:
    pair = {"id": name, "request": name, "client": None, "trusted": False, "segments": {"length": "1"}}
    return Difference(model, variant, "baseline", "a:b:c", pair, "user: hello", ("one", "two"), None, at)


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(tmp_path / "answers" / "here.sqlite")


def ids(store: AnswerStore, model: str = "m", variant: str | None = None, limit: int = 100) -> list[str]:
    return [kept.difference.id for kept in store.read(model, variant, limit)]


def test_what_is_kept_is_read_as_it_was(store: AnswerStore) -> None:
    assert ids(store) == []
    store.update([difference("a")], KEEP, NOW)
    (kept,) = store.read("m", None, 10)
    assert (kept.difference, kept.outcome, kept.by) == (difference("a"), None, None)
    assert store.of_request("a") == [kept]
    assert store.of_request("b") == []


def test_pairs_of_a_request_are_found_by_an_index_also_in_an_older_file(store: AnswerStore) -> None:
    store.path.parent.mkdir()
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute(TABLE)
        row = (*row_of(difference("old")), None, None)
        db.execute("insert into pairs values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    assert [kept.difference.id for kept in store.of_request("old")] == ["old"]
    with closing(sqlite3.connect(store.path)) as db:
        (plan,) = db.execute("explain query plan select * from pairs where id = ?", ("old",)).fetchall()
    assert "using index pairs_by_request" in plan[3].lower()


def test_only_the_owner_may_read_it(store: AnswerStore) -> None:
    store.update([difference("a")], KEEP, NOW)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_old_ones_and_those_above_the_number_are_removed(store: AnswerStore) -> None:
    keep = {"m": KeepAnswers(days=1.0, most=2)}
    store.update([difference(f"r{day}", NOW - day * DAY_S) for day in (0, 0.5, 0.9, 1.1)], keep, NOW)
    assert ids(store) == ["r0", "r0.5"]
    store.update([], keep, NOW + 0.6 * DAY_S)
    assert ids(store) == ["r0"]


def test_what_the_stack_does_not_keep_is_removed_and_its_bytes_overwritten(store: AnswerStore) -> None:
    secret = replace(difference("b", model="n"), prompt="a very secret prompt")
    store.update([difference("a"), secret], KEEP | {"n": KeepAnswers()}, NOW)
    assert b"a very secret prompt" in store.path.read_bytes()
    store.update([], KEEP, NOW)
    assert (ids(store), ids(store, "n")) == (["a"], [])
    assert b"a very secret prompt" not in store.path.read_bytes()
    store.update([difference("c")], {}, NOW)
    assert not store.path.exists()
    assert ids(store) == []


def test_the_first_opinion_is_noted_and_such_pairs_come_last(store: AnswerStore) -> None:
    store.update([difference("a", NOW - 1), difference("b")], KEEP, NOW)
    assert store.note(difference("b"), -1, "person")
    assert not store.note(difference("b"), 1, "label")
    assert not store.note(difference("unknown"), 1, "label")
    assert [(kept.difference.id, kept.outcome, kept.by) for kept in store.read("m", None, 10)] == [
        ("a", None, None), ("b", -1, "person")
    ]  # fmt: skip
    assert ids(store, limit=1) == ["a"]


def test_a_variant_is_read_alone(store: AnswerStore) -> None:
    other = replace(difference("a", variant="int4"), key="a:d:c")
    store.update([difference("a"), other], KEEP, NOW)
    assert [kept.difference.variant for kept in store.read("m", "int4", 10)] == ["int4"]
    assert len(store.of_request("a")) == 2
