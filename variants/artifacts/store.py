"""The artifact store: `artifacts/<key[:2]>/<key>/`, whole and verified, or not there.

An artifact is staged on the same file system under a lock for its key, its files reach the disk, the manifest is
written last, and one rename makes it visible. Two builders of one key wait for each other, and the second finds the
first one's work. Opening an artifact hashes every file of it.

Whoever reads, builds from or serves an artifact holds it: a shared lock on a file beside the artifacts, never inside
one. Removing takes that lock alone or leaves the artifact where it is, and moves it out by one rename before a byte
goes: a reader sees all of it or none.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from variants.artifacts.manifest import MANIFEST, FileEntry, Manifest
from variants.errors import InputError, IntegrityError, UnknownName
from variants.files import fsync, hash_folder, lock_of, locked_if_free, sha256_of, shared, staged, staging

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
        return (self.path(key) / MANIFEST).is_file()

    def stored(self) -> list[str]:
        """The keys of all artifacts, sorted; of folders that stand in an artifact's place without being one, too."""
        folders = [path for path in self.root.glob("[0-9a-f][0-9a-f]/*") if path.is_dir()]
        return sorted(path.name for path in folders if _KEY.fullmatch(path.name) and self.path(path.name) == path)

    def open(self, key: str) -> Artifact:
        """The artifact of that key, every file hashed. UnknownName when it was never built, IntegrityError when a
        file is missing, changed, or should not be there."""
        if self.has(key):
            with self.hold(key):
                if self.has(key):  # it may have been removed while this waited
                    return self._verified(key)
        raise UnknownName(f"there is no artifact {key}", field="artifact", mend="build it first: understudy build")

    def _verified(self, key: str) -> Artifact:
        artifact = open_artifact(self.path(key))
        if artifact.manifest.key != key:
            reason = f"it is the artifact of key {artifact.manifest.key}"
            raise IntegrityError(f"{artifact.path}: {reason}", mend=_again(artifact.path))
        return artifact

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Inside, nobody removes the artifact of `key`, whether it is there already or still to be built."""
        with shared(use_lock(self.path(key))):
            yield

    @contextmanager
    def unused(self, key: str) -> Iterator[bool]:
        """True when nobody holds or builds the artifact of `key`; then nobody can inside. Waits for nobody."""
        with locked_if_free(use_lock(self.path(key))) as free, locked_if_free(lock_of(self.root, key)) as idle:
            yield free and idle

    def discard(self, key: str) -> None:
        """Remove the artifact of `key`, inside `unused`. What a crash leaves of it lies in staging, where the next
        builder, or the next collection, removes it."""
        grave = staged(self.root, key)
        if grave.exists():
            shutil.rmtree(grave)
        grave.parent.mkdir(parents=True, exist_ok=True)
        self.path(key).rename(grave)
        fsync(self.path(key).parent)
        shutil.rmtree(grave)

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A folder to build the artifact of `key` in; `keep` makes it an artifact, otherwise it goes away."""
        with staging(self.root, key) as folder:
            yield folder

    def keep(self, folder: Path, manifest: Manifest) -> Artifact:
        """Make a staged folder the artifact of `manifest.key`: files to disk, manifest last, one rename."""
        for name in manifest.files:
            (folder / name).chmod(0o644)
            fsync(folder / name)
        (folder / MANIFEST).write_bytes(manifest.to_json())
        for path in [folder / MANIFEST, *(path for path in folder.rglob("*") if path.is_dir()), folder]:
            fsync(path)
        target = self.path(manifest.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not self.has(manifest.key):  # its manifest was taken away: it is no artifact
            shutil.rmtree(target)
        folder.rename(target)
        fsync(target.parent)
        fsync(self.root)
        return Artifact(target, manifest)


def use_lock(folder: Path) -> Path:
    """The lock file of those who use the artifact in `folder`."""
    return folder.parent.parent / ".locks" / f"{folder.name}.use"


@contextmanager
def hold(folder: Path) -> Iterator[int | None]:
    """Inside, nobody removes the artifact in `folder`, a store's. Gives the lock's descriptor, which is not inherited
    unless asked for: a child that gets it (`pass_fds`) holds the artifact as long as it lives. None where the store
    is read-only. IntegrityError when there is no artifact in `folder` any more."""
    _check_is_artifact(folder)  # no lock file is left where there is no store
    with shared(use_lock(folder)) as descriptor:
        _check_is_artifact(folder)  # it may have been removed while this waited
        yield descriptor


def _check_is_artifact(folder: Path) -> None:
    if not (folder / MANIFEST).is_file():
        raise IntegrityError(f"{folder} has no {MANIFEST}: it is not an artifact", mend="build it again")


def entries(folder: Path) -> dict[str, FileEntry]:
    """The manifest's `files`: every file of a staged artifact by its name relative to the folder."""
    return {
        name: FileEntry(sha256=sha256, bytes=(folder / name).stat().st_size)
        for name, sha256 in hash_folder(folder).items()
        if name != MANIFEST
    }


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact's folder, its files not looked at. IntegrityError when it is missing or not
    valid."""
    path = folder / MANIFEST
    try:
        return Manifest.from_json(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise IntegrityError(f"{folder} has no {MANIFEST}: it is not an artifact", mend="build it again") from error
    except InputError as error:
        raise IntegrityError(str(error), mend=_again(folder)) from error


def open_artifact(folder: Path) -> Artifact:
    """The artifact in a folder, every file hashed against the manifest. IntegrityError as for `Store.open`."""
    manifest = read_manifest(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(present ^ set(manifest.files)):
        what = "is missing" if name in manifest.files else "is not in the manifest"
        raise IntegrityError(f"{folder / name} {what}", mend=_again(folder))
    for name, entry in manifest.files.items():
        actual = sha256_of(folder / name)
        if actual != entry.sha256:
            raise IntegrityError(
                f"{folder / name}: expected sha256 {entry.sha256}, found {actual}", mend=_again(folder)
            )
    return Artifact(folder, manifest)


def _again(folder: Path) -> str:
    return f"delete {folder} and build it again"
