"""Disk space: a full disk is one clear error, and how many bytes a folder takes.

A full disk shows up as OSError where Python writes, and as whatever a library makes of it elsewhere (safetensors: an
error of its own; pip: a line of text). Most carry the kernel's words, so those are looked for too. A stream of C++
says that it failed and not why, so what fails while it writes is put down to the disk where the disk is full.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from variants.errors import StoreFull

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING = 1 << 16  # bytes: less is left where a write has just failed
_WORDS = tuple(os.strerror(number) for number in _FULL)


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Inside, an error that says that there is no space left becomes StoreFull; every other passes as it is."""
    try:
        yield
    except StoreFull:
        raise
    except Exception as error:
        if not says_full(error):
            raise
        raise StoreFull(
            f"the disk that holds {folder} had no space left, and nothing half-written was kept; "
            f"{free_bytes(folder) / 1e6:.1f} MB are free now",
            mend="make room, for instance with understudy gc --keep 1, then run the same command again",
        ) from error


@contextmanager
def full_disk_seen(folder: Path) -> Iterator[None]:
    """Inside, where only `folder` is written to, an error that does not say why becomes one that does, if the disk is
    full."""
    try:
        yield
    except Exception as error:
        if says_full(error) or not is_full(folder):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def says_full(error: BaseException | None) -> bool:
    """Whether the error, or one that it was made from, comes of a full disk or a used-up quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(words in str(error) for words in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_full(folder: Path) -> bool:
    """Whether not even root could write a file worth having on the disk of `folder`."""
    space = os.statvfs(folder)
    return space.f_bfree * space.f_frsize < _NOTHING


def free_bytes(folder: Path) -> int:
    """What may still be written on the disk of `folder`, or of the nearest folder above it that exists."""
    while not folder.exists():
        folder = folder.parent
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def disk_bytes(*folders: Path) -> int:
    """The bytes that folders take on their disk together, as du counts: whole blocks, hard links once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            try:
                status = path.lstat()
            except FileNotFoundError:  # it went away while this was counting
                continue
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
