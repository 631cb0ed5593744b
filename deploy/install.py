"""Makes the project's environment: `python3 deploy/install.py [--extra cpu|gpu]`. Uses only the standard library.

uv installs the locked versions in seconds, but it does not read pip's configuration. So this program gives the user's
settings for pip to uv: indexes, mirrors, find-links, certificates. PyTorch's CPU build is first looked for there, and
in PyTorch's own CPU index only if no index of the user has it.

It also compiles all bytecode, because engines import twice as fast with it. Compiling takes most of the time if the
packages are in uv's cache. If UNDERSTUDY_CACHE names a folder, the bytecode is kept there for the next install.

A stamp with the digest of all inputs makes a second call return at once.
"""

import argparse
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "deploy" / "locks"
UV = "uv>=0.9,<1"


def pip_settings(python: Path) -> dict[str, str]:
    """The user's settings for pip, by name, from files and from the environment, which has precedence."""
    lines = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    settings: dict[str, str] = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip().strip("'\"").replace("\\n", " ")
    return settings


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment with pip's settings as uv's variables. Variables that the user has set stay."""
    split = {name: " ".join(value.split()) for name, value in settings.items()}
    wanted = {
        "UV_DEFAULT_INDEX": split.get("index-url"),
        "UV_INDEX": split.get("extra-index-url"),
        "UV_FIND_LINKS": ",".join(split["find-links"].split()) if "find-links" in split else None,
        "UV_INSECURE_HOST": split.get("trusted-host"),
        "SSL_CERT_FILE": split.get("cert"),
        "SSL_CLIENT_CERT": split.get("client-cert"),
        "ALL_PROXY": split.get("proxy"),
        "UV_HTTP_TIMEOUT": split.get("default-timeout") or split.get("timeout"),
        # pip takes the best version of all indexes; uv by default only asks the first index that knows the name.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    given = {name: value for name, value in wanted.items() if value}
    return given | dict(os.environ)


def uv_options(settings: dict[str, str]) -> list[str]:
    """The options for those settings of pip that uv has no variables for."""
    return ["--no-index"] if settings.get("no-index", "").lower() in ("1", "true", "t", "yes", "y", "on") else []


def run_aloud(command: list[str | Path], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command and show its standard error. Returns its exit code and that text."""
    lines = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            lines.append(line)
    return process.returncode, "".join(lines)


def lacks_torch(message: str) -> bool:
    """Whether uv's message says that no index has the locked torch."""
    return "No solution found" in message and re.search(r"\btorch(vision|audio)?\b", message) is not None


def install(python: Path, extra: str) -> None:
    """Install the project with its extra into the environment of `python`. Raises SystemExit if uv fails."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True)
    wanted: list[str | Path] = [
        "--editable", f"{ROOT}[{extra},dev]",
        "--constraint", LOCKS / f"{extra}.txt",
        "--override", LOCKS / f"overrides-{extra}.txt",
    ]  # fmt: skip
    install_packages(python, python, wanted, cpu_torch=extra == "cpu")


def install_packages(uv: Path, python: Path, wanted: Sequence[str | Path], *, cpu_torch: bool) -> None:
    """Install what `wanted` names in uv's words into the environment of `python`. `uv` is a Python that has uv, and
    `cpu_torch` says that torch may come from PyTorch's own CPU index. Raises SystemExit if uv fails."""
    settings = pip_settings(uv)
    environment, options = uv_environment(settings), uv_options(settings)
    command: list[str | Path] = [uv, "-m", "uv", "pip", "install", "--python", python, *wanted, *options]
    status, message = run_aloud(command, environment)
    if status and cpu_torch and not options and lacks_torch(message):
        print("torch's CPU build is not in your indexes: trying PyTorch's own CPU index", file=sys.stderr)
        status = subprocess.run([*command, "--torch-backend", "cpu"], env=environment).returncode
    if status:
        raise SystemExit("the environment could not be installed: see uv's message above")


def compile_bytecode(python: Path, kept: Path | None) -> None:
    """Compile all packages of the environment. `kept` is a tar file of bytecode: valid files in it are not compiled
    again, and new ones are added. It is no error if it cannot be read or written."""
    packages = next((python.parent.parent / "lib").glob("python*/site-packages"))
    began = time.time()
    if kept is not None:
        with contextlib.suppress(OSError, tarfile.TarError), tarfile.open(kept) as archive:
            archive.extractall(packages, filter="data")
    # It skips compiled files. Its exit code is ignored, since some packages have files for other versions of Python.
    subprocess.run([python, "-m", "compileall", "-qq", "-j", "0", packages], stdout=subprocess.DEVNULL)
    compiled = list(packages.rglob("__pycache__/*.pyc"))
    if kept is not None and any(path.stat().st_mtime > began for path in compiled):
        with contextlib.suppress(OSError):
            keep(compiled, packages, kept)


def keep(files: Sequence[Path], folder: Path, kept: Path) -> None:
    """Write `files`, which are below `folder`, to the tar file `kept`, and delete its predecessors. Raises OSError."""
    staged = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(staged, "w") as archive:
            for path in files:
                archive.add(path, path.relative_to(folder))
        for former in kept.parent.glob("bytecode-*.tar"):
            former.unlink()
        staged.rename(kept)
    finally:
        staged.unlink(missing_ok=True)


def kept_bytecode(wanted: str) -> Path | None:
    """The tar file for the bytecode of this environment. None if UNDERSTUDY_CACHE names no folder."""
    folder = os.environ.get("UNDERSTUDY_CACHE")
    return Path(folder) / f"bytecode-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.tar" if folder else None


def fingerprint(extra: str) -> str:
    """The digest of everything that decides what is installed: Python's version, pyproject.toml and the locks."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (ROOT / "pyproject.toml", LOCKS / f"{extra}.txt", LOCKS / f"overrides-{extra}.txt"):
        digest.update(path.read_bytes())
    return f"{extra} {digest.hexdigest()}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the project's environment in .venv.")
    parser.add_argument("--extra", choices=("cpu", "gpu"), default="cpu", help="the kind of machine")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv", help="the folder of the environment")
    given = parser.parse_args()
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        raise SystemExit(
            f"Python {sys.version.split()[0]} is not supported: run with Python 3.11 or 3.12 (make PYTHON=python3.11)"
        )
    stamp = given.folder / "understudy-stamp"
    wanted = fingerprint(given.extra)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    print(f"making the environment in {given.folder} (about 1 minute)", file=sys.stderr)
    python = given.folder / "bin" / "python"
    if not python.exists():
        venv.create(given.folder, with_pip=True)
    install(python, given.extra)
    compile_bytecode(python, kept_bytecode(wanted))
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
