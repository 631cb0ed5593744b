"""Files that are whole or not there: hashes, atomic writes, locks between processes.

A temporary name beside the target, fsync, rename; `flock` on a file that is never deleted,
so that a lock cannot be taken on a name that somebody else has just unlinked.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from variants.disk import full_disk_told

CHUNK = 1 << 20


def sha256_of(path: Path, seen: Callable[[int], None] | None = None) -> str:
    """Hex digest of a file's bytes. `seen` is told the bytes read so far after every MiB."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if seen:
                seen(done)
    return digest.hexdigest()


def digest_of(hashes: Mapping[str, str]) -> str:
    """One digest for named files: sha256 over the sorted "name sha256" lines, each ended by a newline."""
    lines = "".join(f"{name} {hashes[name]}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """sha256 by posix name relative to `folder`, of every regular file below it; hidden folders are left out."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    relative = [path.relative_to(folder) for path in names]
    return {name.as_posix(): sha256_of(folder / name) for name in relative if not name.parts[0].startswith(".")}


def hash_of(path: Path) -> str:
    """sha256 of a file, or the digest over the files of a folder."""
    return digest_of(hash_folder(path)) if path.is_dir() else sha256_of(path)


def fsync(path: Path) -> None:
    """Ask the disk to keep a file's bytes or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `path` so that a reader sees the old bytes or the new ones, and a crash leaves nothing in between.
    StoreFull, and the old bytes, when the disk is full."""
    with full_disk_told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(data)
            fsync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` (made if absent, never removed); waits for whoever has it."""
    with _lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Like `locked`, but yields False at once when somebody else holds it."""
    with _lock_file(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def shared(path: Path) -> Iterator[int | None]:
    """Hold the lock file `path` together with others who share it; waits for whoever has it alone.

    Gives the descriptor: the lock lasts as long as any copy of it is open, so a child that inherits it keeps the lock.
    None, and no lock, where a file may not be made: what cannot be written cannot be taken away from there either.
    """
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(_lock_file(path))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            yield None
            return
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def staging(root: Path, key: str) -> Iterator[Path]:
    """An empty folder below `root`, on its file system, that only the holder of `key` has; removed at the end.

    Waits for another holder of the same key: look again whether the work is already done. What dead holders of other
    keys have left is removed.
    """
    with locked(lock_of(root, key)):
        for left in dead(root):
            shutil.rmtree(left)
        folder = staged(root, key)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            if folder.exists():
                shutil.rmtree(folder)


def staged(root: Path, key: str) -> Path:
    """Where the holder of `key` works, or a dead one has."""
    return root / ".staging" / key


def lock_of(root: Path, key: str) -> Path:
    """The lock file of whoever works on `key`."""
    return root / ".locks" / f"{key}.lock"


def dead(root: Path) -> Iterator[Path]:
    """What dead holders have left in staging, each given while its lock is held: that it is free shows that its
    holder is gone, whatever process id it had."""
    for left in (root / ".staging").glob("*"):
        with locked_if_free(lock_of(root, left.name)) as free:
            if free and left.exists():  # its holder may have finished since it was listed
                yield left
