"""Answers that differ, on disk: one SQLite file in the home for each server's address, which only its owner may read.

Removed rows are overwritten. All ingresses of a server use the same file.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.config.keep_answers import KeepAnswers
from serve.shadow.opinions.difference import Difference

WAIT_S = 10.0
"""The longest wait for another process that writes."""
DAY_S = 86400.0
TABLE = """
create table if not exists pairs (
    key text, id text, model text, variant text, parent text, pair text, prompt text, of_variant text, of_parent text,
    known integer, at real, outcome integer, judged_by text, primary key (key, id)
)"""
BY_REQUEST = "create index if not exists pairs_by_request on pairs (id)"
"""Opinions ask by the request alone. Files of older servers get it when they are opened."""
FIELDS = "model, variant, parent, key, pair, prompt, of_variant, of_parent, known, at"


@dataclass(frozen=True)
class Kept:
    """A kept pair. `outcome` is what somebody said of it: -1, 0 or 1; None until then. `by` is who."""

    difference: Difference
    outcome: int | None
    by: str | None


class AnswerStore:
    """Every method reads or writes a file, so call it in a thread. Each raises OSError, sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def update(self, differences: Iterable[Difference], settings: Mapping[str, KeepAnswers], now: float) -> None:
        """Keep more pairs, and remove what `settings`, by model, do not keep at `now`, in seconds of the epoch."""
        if not settings:
            self.path.unlink(missing_ok=True)
            return
        rows = [row_of(each) for each in differences if each.model in settings]
        with self.opened() as db:
            db.executemany("insert or ignore into pairs values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null, null)", rows)
            for (model,) in db.execute("select distinct model from pairs").fetchall():
                keep = settings.get(model)
                most, since = (keep.most, now - keep.days * DAY_S) if keep else (0, now)
                db.execute("delete from pairs where model = ? and at < ?", (model, since))
                db.execute(
                    "delete from pairs where model = ? and rowid not in "
                    "(select rowid from pairs where model = ? order by at desc limit ?)",
                    (model, model, most),
                )

    def read(self, model: str, variant: str | None, limit: int) -> list[Kept]:
        """Pairs of a model, those without an opinion first, and of these the latest first."""
        chosen, of_variant = ("model = ? and variant = ?", [variant]) if variant else ("model = ?", [])
        return self.select(f"{chosen} order by outcome is not null, at desc limit ?", model, *of_variant, limit)

    def of_request(self, request: str) -> list[Kept]:
        """The pairs of one request, by the hash of its id: one for each variant that it was compared with."""
        return self.select("id = ?", request)

    def note(self, difference: Difference, outcome: int, by: str) -> bool:
        """Note an opinion on a pair. Gives whether it is the first."""
        with self.opened() as db:
            noted = db.execute(
                "update pairs set outcome = ?, judged_by = ? where key = ? and id = ? and outcome is null",
                (outcome, by, difference.key, difference.id),
            )
            return noted.rowcount > 0

    def withdraw(self, difference: Difference) -> None:
        """Forget the opinion on a pair, which could not be counted."""
        with self.opened() as db:
            db.execute(
                "update pairs set outcome = null, judged_by = null where key = ? and id = ?",
                (difference.key, difference.id),
            )

    def select(self, where: str, *values: Any) -> list[Kept]:
        if not self.path.exists():
            return []
        with self.opened() as db:
            rows = db.execute(f"select {FIELDS}, outcome, judged_by from pairs where {where}", values)  # noqa: S608
            return [kept_of(row) for row in rows.fetchall()]

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(self.path, timeout=WAIT_S)) as db, db:
            db.execute("pragma secure_delete = on")
            db.execute(TABLE)
            db.execute(BY_REQUEST)
            yield db


def row_of(each: Difference) -> tuple[Any, ...]:
    pair = json.dumps(dict(each.pair))
    return (
        each.key,
        each.id,
        each.model,
        each.variant,
        each.parent,
        pair,
        each.prompt,
        *each.answers,
        each.known,
        each.at,
    )


def kept_of(row: tuple[Any, ...]) -> Kept:
    model, variant, parent, key, pair, prompt, of_variant, of_parent, known, at, outcome, by = row
    difference = Difference(model, variant, parent, key, json.loads(pair), prompt, (of_variant, of_parent), known, at)
    return Kept(difference, outcome, by)
