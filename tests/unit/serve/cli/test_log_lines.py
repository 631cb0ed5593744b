"""`understudy logs` finds the newest log and prints its end."""

import os
from pathlib import Path

import pytest

from serve.cli.log_lines import Tail, engine_logs, server_logs, state_of
from variants.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def write(file: Path, text: str, age_s: float = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (1e9 - age_s, 1e9 - age_s))
    return file


def test_an_engines_newest_log_is_chosen(folder: Path) -> None:
    write(folder / "echo.int8.aa.bb.log", "old", age_s=9)
    newest = write(folder / "echo.int8.cc.dd.log", "new")
    write(folder / "echo.int8.cc.dd.log.previous", "before")
    write(folder / "echo.int8-awq.cc.dd.log", "another variant")
    assert engine_logs("echo@int8") == [newest]


@pytest.mark.parametrize("name", ["echo", "echo@", "@int8", "echo@nf4", "../echo@int8"])
def test_what_has_no_log_is_refused(folder: Path, name: str) -> None:
    write(folder / "echo.int8.aa.bb.log", "")
    with pytest.raises(InputError):
        engine_logs(name)


def test_a_server_has_the_logs_of_its_address(folder: Path) -> None:
    state = state_of("http://127.0.0.1:8123")
    with pytest.raises(InputError, match="--target"):
        server_logs(state)
    write(state / "logs" / "ingress-20261130T100000-7.jsonl", "old", age_s=9)
    ingress = write(state / "logs" / "ingress-20261130T110000-8.jsonl", "new")
    controller = write(state / "logs" / "controller.jsonl", "")
    assert server_logs(state) == [controller, ingress]


def test_the_last_lines_and_then_each_new_one(folder: Path) -> None:
    tail = Tail(write(folder / "echo.int8.aa.bb.log", "a\nb\n\nc\nhalf"))
    assert tail.last(2) == ["", "c"]
    assert tail.new() == []
    with tail.file.open("a") as opened:
        opened.write(" a line\nd\n")
    assert tail.new() == ["half a line", "d"]


def test_a_log_that_begins_anew_is_read_from_its_beginning(folder: Path) -> None:
    tail = Tail(write(folder / "echo.int8.aa.bb.log", "a\nb\n"))
    assert tail.last(0) == []
    write(folder / "next", "c\nd\ne\n").replace(tail.file)
    assert tail.new() == ["c", "d", "e"]
    tail.file.write_text("f\n")
    assert tail.new() == ["f"]
    tail.file.unlink()
    assert tail.new() == []
