"""Hashes, atomic writes, and locks between processes.

An atomic write goes to a temporary file beside the target, then fsync, then rename. Locks are `flock` on files that
are never deleted. Otherwise a process could lock a file that another process has just unlinked.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from variants.disk import full_disk_told
from variants.errors import SourceError


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(hashes: Mapping[str, str]) -> str:
    """One digest for several files: the sha256 of sorted lines "name sha256", each with a newline at its end."""
    lines = "".join(f"{name} {hashes[name]}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """The sha256 of every regular file below `folder`, by its posix name relative to `folder`. Files and folders whose
    names begin with a dot directly below `folder` are left out.

    Raises SourceError for a link to a folder: what lies there would be in no hash, and still be read."""
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_symlink() and path.is_dir() and not path.relative_to(folder).parts[0].startswith("."):
            raise SourceError(f"{path} is a link to a folder", mend="copy the folder there, or name it itself")
    names = [path.relative_to(folder) for path in paths if path.is_file()]
    return {name.as_posix(): sha256_of(folder / name) for name in names if not name.parts[0].startswith(".")}


def hash_of(path: Path) -> str:
    """The sha256 of a file, or `digest_of` the files of a folder."""
    return digest_of(hash_folder(path)) if path.is_dir() else sha256_of(path)


def fsync(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `path` so that readers, also after a crash, see either the old bytes or the new ones.

    StoreFull when the disk is full. The old bytes stay then."""
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
    """Hold an exclusive lock on the file `path`, which is made if absent and never removed. Waits for other holders."""
    with _lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Like `locked`, but yields False at once when another holder exists."""
    with _lock_file(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def shared(path: Path) -> Iterator[int | None]:
    """Hold a shared lock on the file `path`. Waits for an exclusive holder.

    Gives the file descriptor. The lock lasts as long as any copy of it is open, so a child process that inherits it
    keeps the lock. Where the lock file may not be written it gives None and takes no lock: nobody can remove anything
    from a read-only folder either.
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
    """An empty folder below `root` for the only holder of `key`. It is removed at the end.

    Waits for another holder of the same key. Check afterwards whether that holder has done the work already. Also
    removes the folders of holders of other keys that have ended.
    """
    with locked(lock_of(root, key)):
        for left in dead(root, STAGING):
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


STAGING, UNFINISHED = ".staging", ".unfinished"
"""Folders below a root. The first has folders that end with their holders, the second what interrupted work left."""


def staged(root: Path, key: str) -> Path:
    """The staging folder of `key`."""
    return root / STAGING / key


def scratch(root: Path, key: str) -> Path:
    """The folder of what is finished of interrupted work on `key`."""
    return root / UNFINISHED / key


def lock_of(root: Path, key: str) -> Path:
    """The lock file for work on `key`."""
    return root / ".locks" / f"{key}.lock"


def dead(root: Path, *kinds: str) -> Iterator[Path]:
    """The folders of these kinds (STAGING, UNFINISHED) whose holders have ended. Each lock is held while its folder is
    given.

    A free lock shows that its holder has ended. A process id would not: another process may have the same one now."""
    for left in [folder for kind in kinds for folder in (root / kind).glob("*")]:
        with locked_if_free(lock_of(root, left.name)) as free:
            if free and left.exists():  # its holder may have finished after the listing
                yield left
