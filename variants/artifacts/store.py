"""The artifact store: each artifact is in `artifacts/<key[:2]>/<key>/`, complete, or it does not exist.

An artifact is staged on the same file system, under a lock for its key. Its files are flushed to disk and the manifest
is written last. Then one rename makes the artifact visible. Of two builders of one key, the second waits and then finds
the artifact of the first. Opening an artifact hashes all of its files.

Readers, builders and engines hold an artifact by a shared lock on a file outside of it. Removal needs the exclusive
lock and is given up without it. It first moves the artifact away by one rename. So a reader sees the complete
artifact or none.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from variants.artifacts.manifest import MANIFEST, FileEntry, Manifest
from variants.errors import InputError, IntegrityError, StoreFull, UnknownName
from variants.files import fsync, hash_folder, lock_of, locked_if_free, scratch, sha256_of, shared, staged, staging

_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Artifact:
    """A verified artifact: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The folder that an engine loads from."""
        return self.path / "model"


class Store:
    """The artifacts below `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "artifacts"

    def path(self, key: str) -> Path:
        return self.root / key[:2] / key

    def has(self, key: str) -> bool:
        return _has_manifest(self.path(key))

    def occupied(self, key: str, without_manifest: bool) -> bool:
        """Whether there is an artifact of `key`, or a folder in its place that cannot be read. `without_manifest`: also
        a folder without one."""
        try:
            return self.has(key) or (without_manifest and self.path(key).exists())
        except IntegrityError:
            return True

    def stored(self) -> list[str]:
        """The keys of all artifacts, sorted. Folders in the place of an artifact without a manifest are included."""
        folders = [path for path in self.root.glob("[0-9a-f][0-9a-f]/*") if path.is_dir()]
        return sorted(path.name for path in folders if _KEY.fullmatch(path.name) and self.path(path.name) == path)

    def open(self, key: str) -> Artifact:
        """The artifact of `key`, with every file verified. UnknownName when there is none, IntegrityError when a file
        is missing, changed or unknown, or cannot be read."""
        if self.has(key):
            with self.hold(key):
                if self.has(key):  # it may have been removed before the lock was taken
                    artifact = open_artifact(self.path(key))
                    if artifact.manifest.key != key:
                        reason = f"it is the artifact of key {artifact.manifest.key}"
                        raise IntegrityError(f"{artifact.path}: {reason}", mend=_again(artifact.path))
                    return artifact
        raise UnknownName(f"there is no artifact {key}", field="artifact", mend="build it first: understudy build")

    def hold(self, key: str) -> AbstractContextManager[int | None]:
        """Inside, the artifact of `key` is not removed, whether it exists already or is built later."""
        return shared(use_lock(self.path(key)))

    @contextmanager
    def unused(self, key: str) -> Iterator[bool]:
        """True when no process holds or builds the artifact of `key`. Then none can, inside. Does not wait."""
        with locked_if_free(use_lock(self.path(key))) as free, locked_if_free(lock_of(self.root, key)) as idle:
            yield free and idle

    def discard(self, key: str) -> None:
        """Remove the artifact of `key`. Call it inside `unused`. After a crash, the rest of it is in staging, where the
        next builder or the next collection removes it."""
        folder = staged(self.root, key)
        _remove(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.path(key).rename(folder)
        fsync(self.path(key).parent)
        shutil.rmtree(folder)

    def staging(self, key: str) -> AbstractContextManager[Path]:
        """A folder to build the artifact of `key` in. `keep` makes it an artifact; otherwise it is removed."""
        return staging(self.root, key)

    @contextmanager
    def unfinished(self, key: str) -> Iterator[Path]:
        """The place of a folder for what is finished of the artifact of `key`, for the holder of its `staging`. The
        folder stays when the process is killed or interrupted, or lacks disk or memory. It is removed at any other
        end."""
        folder = scratch(self.root, key)
        try:
            yield folder
        except (OSError, MemoryError, StoreFull):
            raise
        except Exception:
            _remove(folder)
            raise
        _remove(folder)

    def unfinished_bytes(self, key: str) -> int:
        """Bytes on disk of what is finished of the artifact of `key`."""
        files = (path for path in scratch(self.root, key).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    def keep(self, folder: Path, manifest: Manifest) -> Artifact:
        """Make a staged folder the artifact of `manifest.key`: flush its files, write the manifest, rename it."""
        for name in manifest.files:
            (folder / name).chmod(0o644)
            fsync(folder / name)
        (folder / MANIFEST).write_bytes(manifest.to_json())
        for path in [folder / MANIFEST, *(path for path in folder.rglob("*") if path.is_dir()), folder]:
            fsync(path)
        target = self.path(manifest.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not self.has(manifest.key):  # without a manifest it is not an artifact
            shutil.rmtree(target)
        folder.rename(target)
        fsync(target.parent)
        fsync(self.root)
        return Artifact(target, manifest)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def use_lock(folder: Path) -> Path:
    """The lock file for use of the artifact in `folder`."""
    return folder.parent.parent / ".locks" / f"{folder.name}.use"


@contextmanager
def hold(folder: Path) -> Iterator[int | None]:
    """Inside, the artifact in `folder`, a folder of a store, is not removed.

    Gives the file descriptor of the lock; None where the store is read-only. A child process does not inherit it by
    default. With `pass_fds` it does, and holds the artifact as long as it runs. IntegrityError when there is no
    artifact in `folder`.
    """
    _check_is_artifact(folder)  # before the lock, which would make a file where there is no store
    with shared(use_lock(folder)) as descriptor:
        _check_is_artifact(folder)  # it may have been removed before the lock was taken
        yield descriptor


def _check_is_artifact(folder: Path) -> None:
    if not _has_manifest(folder):
        raise IntegrityError(f"{folder} has no {MANIFEST}: it is not an artifact", mend="build it again")


def _has_manifest(folder: Path) -> bool:
    """Raises IntegrityError when the folder cannot be searched."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> IntegrityError:
    return IntegrityError(f"{folder} cannot be read: {error.strerror}", mend="make it readable, or build it again")


def entries(folder: Path) -> dict[str, FileEntry]:
    """The `files` of a manifest: all files of a staged artifact, by their names relative to `folder`."""
    return {
        name: FileEntry(sha256=sha256, bytes=(folder / name).stat().st_size)
        for name, sha256 in hash_folder(folder).items()
        if name != MANIFEST
    }


def read_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`, without a check of the other files. IntegrityError when it is missing or invalid."""
    path = folder / MANIFEST
    try:
        return Manifest.from_json(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise IntegrityError(f"{folder} has no {MANIFEST}: it is not an artifact", mend="build it again") from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    except InputError as error:
        raise IntegrityError(str(error), mend=_again(folder)) from error


def open_artifact(folder: Path) -> Artifact:
    """The artifact in `folder`, with the hash of every file verified. IntegrityError as for `Store.open`."""
    manifest = read_manifest(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(present ^ set(manifest.files)):
        what = "is missing" if name in manifest.files else "is not in the manifest"
        raise IntegrityError(f"{folder / name} {what}", mend=_again(folder))
    for name, entry in manifest.files.items():
        try:
            actual = sha256_of(folder / name)
        except OSError as error:
            raise _unreadable(folder / name, error) from error
        if actual != entry.sha256:
            raise IntegrityError(
                f"{folder / name}: expected sha256 {entry.sha256}, found {actual}", mend=_again(folder)
            )
    return Artifact(folder, manifest)


def _again(folder: Path) -> str:
    return f"delete {folder} and build it again"
