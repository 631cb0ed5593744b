"""Records survive a crash: each line is on disk at once, and only a cut last line is forgiven."""

from pathlib import Path

import pytest

from loadtest.results.records import LineWriter, Record, read_lines
from tests.unit.loadtest.results.made import TEXT, record
from variants.errors import IntegrityError


def test_a_record_is_on_disk_before_the_writer_closes(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with LineWriter[Record](path) as writer:
        writer.write(record("smollm2", TEXT[0], example="one"))
        assert [each.example for each in read_lines(path, Record)] == ["one"]


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    written = [
        record("smollm2", TEXT[0], answer=" pos\nitive é", error=None, correct=True),
        record("smollm2", TEXT[1], status=503, error='HTTP 503: {"error": "busy"}', variant=None),
    ]
    with LineWriter[Record](path) as writer:
        for each in written:
            writer.write(each)
    lines = read_lines(path, Record)
    assert list(lines) == written
    assert lines.cut_bytes == 0
    assert [each.failed for each in lines] == [False, True]


def test_a_cut_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with LineWriter[Record](path) as writer:
        for number in range(3):
            writer.write(record("smollm2", TEXT[0], example=str(number)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    lines = read_lines(path, Record)
    assert [each.example for each in lines] == ["0", "1"]
    assert lines.cut_bytes == len(whole) // 3 - 10


def test_damage_anywhere_else_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with LineWriter[Record](path) as writer:
        for _ in range(3):
            writer.write(record("smollm2", TEXT[0]))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:40] + b"\n" + lines[2])
    with pytest.raises(IntegrityError, match=r"line 2 of records\.jsonl is not a valid Record"):
        read_lines(path, Record)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    line = record("smollm2", TEXT[0]).model_dump_json(exclude_none=True)
    path.write_text(line.replace('"status"', '"surprise":1,"status"') + "\n")
    with pytest.raises(IntegrityError) as caught:
        read_lines(path, Record)
    assert caught.value.field == "surprise"
