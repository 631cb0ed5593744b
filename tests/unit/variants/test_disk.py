import errno
import os
from pathlib import Path

import pytest

from variants.disk import disk_bytes, free_bytes, full_disk_seen, full_disk_told
from variants.errors import SourceError, StoreFull


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        SourceError("pip could not download x: [Errno 28] No space left on device"),
    ],
)
def test_a_full_disk_is_one_error_whoever_found_it(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(StoreFull, match="had no space left") as told, full_disk_told(tmp_path / "not" / "there"):
        raise error
    assert told.value.exit_code == 6
    assert "understudy gc" in str(told.value)


def test_a_librarys_own_error_made_from_it_counts_too(tmp_path: Path) -> None:
    def save() -> None:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise ValueError("could not write") from None

    with pytest.raises(StoreFull), full_disk_told(tmp_path):
        save()


def test_every_other_error_passes(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), full_disk_told(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_disk_with_room_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="iostream"), full_disk_told(tmp_path), full_disk_seen(tmp_path):
        raise RuntimeError("iostream error")


def test_bytes_are_counted_in_blocks_and_hard_links_once(tmp_path: Path) -> None:
    folder, other = tmp_path / "a", tmp_path / "b"
    for each in (folder, other):
        each.mkdir()
    empty = disk_bytes(folder, other)
    with (folder / "file").open("wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        os.fsync(file.fileno())  # some file systems count the blocks of a file only when they write it
    once = disk_bytes(folder, other)
    assert 100_000 <= once - empty < 300_000
    (other / "link").hardlink_to(folder / "file")
    assert disk_bytes(folder, other) == once
    assert disk_bytes(tmp_path / "gone") == 0
    assert free_bytes(tmp_path / "gone" / "too") == free_bytes(tmp_path)
