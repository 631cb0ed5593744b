"""Disk space: turns every sign of a full disk into StoreFull, and counts the bytes that folders take.

Python raises OSError when the disk is full. Libraries raise errors of their own (safetensors) or print a line (pip).
Most of these contain the kernel's message, so `says_full` looks for it. A C++ stream gives no reason. When it fails
while the disk is full, `full_disk_seen` assumes that the full disk is the reason.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from variants.errors import StoreFull

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING = 1 << 16
"""Bytes. A disk with less free space than this counts as full."""
_MESSAGES = tuple(os.strerror(number) for number in _FULL)


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Inside, an error that reports a full disk becomes StoreFull. Every other error passes unchanged."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreFull) or not says_full(error):
            raise
        raise StoreFull(
            f"the disk that holds {folder} had no space left, and nothing half-written was kept; "
            f"{free_bytes(folder) / 1e6:.1f} MB are free now",
            mend="make room, for instance with understudy gc --keep 1, then run the same command again",
        ) from error


@contextmanager
def full_disk_seen(folder: Path) -> Iterator[None]:
    """Inside, any error becomes OSError(ENOSPC) if the disk of `folder` is full. The code inside must write only to
    `folder`."""
    try:
        yield
    except Exception as error:
        space = os.statvfs(folder)
        # f_bfree includes the blocks that only root may use: an unprivileged process sees a full disk before root does.
        if says_full(error) or space.f_bfree * space.f_frsize >= _NOTHING:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def says_full(error: BaseException | None) -> bool:
    """Whether the error, or one of its causes, reports a full disk or an exhausted quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(message in str(error) for message in _MESSAGES):
            return True
        error = error.__cause__ or error.__context__
    return False


def free_bytes(folder: Path) -> int:
    """The free bytes on the disk of `folder`, or of its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def disk_bytes(*folders: Path) -> int:
    """The bytes that the folders together take on disk, counted as `du` does: whole blocks, each hard link once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            try:
                status = path.lstat()
            except FileNotFoundError:  # removed while this function counts
                continue
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
