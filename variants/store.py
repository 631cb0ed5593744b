"""The artifact store: `artifacts/<key[:2]>/<key>/`, whole and verified, or not there.

An artifact is staged on the same file system under a lock for its key, its files reach the disk, the manifest is
written last, and one rename makes it visible. Two builders of one key wait for each other, and the second finds the
first one's work. Opening an artifact hashes every file of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from variants.errors import InputError, IntegrityError, UnknownName
from variants.files import fsync, hash_folder, sha256_of, staging
from variants.manifest import MANIFEST, FileEntry, Manifest


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

    def open(self, key: str) -> Artifact:
        """The artifact of that key, every file hashed. UnknownName when it was never built, IntegrityError when a
        file is missing, changed, or should not be there."""
        if not self.has(key):
            raise UnknownName(f"there is no artifact {key}", field="artifact", mend="build it first: understudy build")
        return open_artifact(self.path(key))

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A folder to build the artifact of `key` in; `keep` makes it an artifact, otherwise it goes away."""
        with staging(self.root, key) as folder:
            yield folder

    def keep(self, staged: Path, manifest: Manifest) -> Artifact:
        """Make a staged folder the artifact of `manifest.key`: files to disk, manifest last, one rename."""
        for name in manifest.files:
            (staged / name).chmod(0o644)
            fsync(staged / name)
        (staged / MANIFEST).write_bytes(manifest.to_json())
        for path in [staged / MANIFEST, *(path for path in staged.rglob("*") if path.is_dir()), staged]:
            fsync(path)
        target = self.path(manifest.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)
        fsync(target.parent)
        return Artifact(target, manifest)


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
        found = sha256_of(folder / name)
        if found != entry.sha256:
            raise IntegrityError(f"{folder / name}: expected sha256 {entry.sha256}, found {found}", mend=_again(folder))
    return Artifact(folder, manifest)


def _again(folder: Path) -> str:
    return f"delete {folder} and build it again"
