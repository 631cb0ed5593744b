"""A file of kept requests holds no more rows and no older ones than it may, whoever writes to it."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serve.api.operation.kept_file import KeptFile
from serve.config.keep_requests import KeepRequests


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def rows(*given: object) -> list[dict[str, str]]:
    return [{"text": str(text)} for text in given]


def old(days: float, text: str) -> str:
    return json.dumps({"time": (datetime.now(UTC) - timedelta(days=days)).isoformat(), "text": text}) + "\n"


def test_rows_are_appended_with_their_time_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "requests" / "m" / "labelled.jsonl"
    file, began = KeptFile(path), datetime.now(UTC).replace(microsecond=0)
    file.add(rows("a"), KeepRequests())
    file.add(rows("b", "c\n\u2028"), KeepRequests())
    assert texts(path) == ["a", "b", "c\n\u2028"]
    assert datetime.fromisoformat(json.loads(path.read_text().splitlines()[0])["time"]) >= began
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_oldest_rows_go_before_there_are_more_than_most(tmp_path: Path) -> None:
    file, limits = KeptFile(tmp_path / "a.jsonl"), KeepRequests(most=10)
    for number in range(35):
        file.add(rows(number), limits)
        kept = texts(file.path)
        assert len(kept) <= 10
        assert kept == [str(each) for each in range(number - len(kept) + 1, number + 1)]
    file.add(rows(*range(100)), limits)
    assert texts(file.path) == [str(each) for each in range(91, 100)]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    one = KeptFile(tmp_path / "b.jsonl")
    one.add(rows("a", "b"), KeepRequests(most=1))
    assert texts(one.path) == ["b"]


def test_rows_that_are_too_old_go_without_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(old(3, "a") + old(1.9, "b") + old(0, "c"))
    file = KeptFile(path)
    file.add([], KeepRequests(days=3000))
    assert texts(path) == ["a", "b", "c"]
    file.add([], KeepRequests(days=2))
    assert texts(path) == ["b", "c"]
    file.add([], KeepRequests(days=1))
    assert texts(path) == ["c"]


def test_two_processes_share_a_file_and_one_may_remove_it(tmp_path: Path) -> None:
    one, other, limits = KeptFile(tmp_path / "a.jsonl"), KeptFile(tmp_path / "a.jsonl"), KeepRequests(most=4)
    for number in range(10):
        (one, other)[number % 2].add(rows(number), limits)
        assert len(texts(one.path)) <= 4
    one.path.unlink()
    one.add(rows("new"), limits)
    assert texts(one.path) == ["new"]


def test_a_line_that_a_crash_cut_off_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(old(0, "a") + old(0, "b")[:20])
    KeptFile(path).add(rows("c"), KeepRequests())
    assert texts(path) == ["a", "c"]
