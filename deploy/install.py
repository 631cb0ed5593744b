"""Makes the project's environment: `python3 deploy/install.py [--extra cpu|gpu]`, standard library only.

uv installs the locked versions in seconds, but it does not read pip's configuration. What the user has set there
(indexes, mirrors, find-links, certificates) is handed to uv, so an environment that pip can fill uv can fill too.
PyTorch's CPU build is looked for in those places first; only where it resolves from none of them is PyTorch's own
CPU index asked. Bytecode is compiled at install: without it every engine process imports for twice as long. That is
most of an install whose packages are in uv's cache. Where UNDERSTUDY_CACHE names a folder, it is kept
there for the next one.

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
    """The user's pip configuration: files and environment together, by setting name, the strongest last."""
    lines = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    settings: dict[str, str] = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip().strip("'\"").replace("\\n", " ")
    return settings


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """pip's settings as uv's variables; what the user set for uv directly stays."""
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
        # As pip does: the best version from any of the user's indexes, not the first index that knows the name.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    given = {name: value for name, value in wanted.items() if value}
    return given | dict(os.environ)


def uv_options(settings: dict[str, str]) -> list[str]:
    """pip's settings that uv knows only as options."""
    return ["--no-index"] if settings.get("no-index", "").lower() in ("1", "true", "t", "yes", "y", "on") else []


def run_aloud(command: list[str | Path], environment: dict[str, str]) -> tuple[int, str]:
    """Run it, showing what it writes to standard error; gives its exit status and that text."""
    said = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            said.append(line)
    return process.returncode, "".join(said)


def lacks_torch(said: str) -> bool:
    """Whether uv failed because no index holds the torch that is locked, and for no other reason."""
    return "No solution found" in said and re.search(r"\btorch(vision|audio)?\b", said) is not None


def install(python: Path, extra: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True)
    settings = pip_settings(python)
    environment = uv_environment(settings)
    command: list[str | Path] = [
        python, "-m", "uv", "pip", "install", "--python", python,
        "--editable", f"{ROOT}[{extra},dev]",
        "--constraint", LOCKS / f"{extra}.txt",
        "--override", LOCKS / f"overrides-{extra}.txt",
        *uv_options(settings),
    ]  # fmt: skip
    status, said = run_aloud(command, environment)
    if status == 0:
        return
    if extra != "cpu" or uv_options(settings) or not lacks_torch(said):
        raise SystemExit("the environment could not be installed: see uv's message above")
    print("torch's CPU build did not resolve from your indexes: trying PyTorch's own CPU index", file=sys.stderr)
    if subprocess.run([*command, "--torch-backend", "cpu"], env=environment).returncode != 0:
        raise SystemExit("the environment could not be installed: see uv's message above")


def compile_bytecode(python: Path, kept: Path | None) -> None:
    """Compile all packages of the environment. With `kept`, a tar file, what is in there and still fits is not compiled
    again, and afterwards all of it is there. A file that cannot be read or written is no error."""
    packages = next((python.parent.parent / "lib").glob("python*/site-packages"))
    began = time.time()
    if kept is not None:
        with contextlib.suppress(OSError, tarfile.TarError), tarfile.open(kept) as archive:
            archive.extractall(packages, filter="data")
    # It skips what is compiled already. Its status is not looked at: some packages carry files for other Pythons.
    subprocess.run([python, "-m", "compileall", "-qq", "-j", "0", packages], stdout=subprocess.DEVNULL)
    compiled = list(packages.rglob("__pycache__/*.pyc"))
    if kept is not None and any(path.stat().st_mtime > began for path in compiled):
        with contextlib.suppress(OSError):
            keep(compiled, packages, kept)


def keep(files: Sequence[Path], folder: Path, kept: Path) -> None:
    """Write a tar file of what lies below `folder`, in place of every other one beside it. Raises OSError."""
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
    """Where the bytecode of this environment is kept; None where UNDERSTUDY_CACHE names no folder."""
    folder = os.environ.get("UNDERSTUDY_CACHE")
    return Path(folder) / f"bytecode-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.tar" if folder else None


def fingerprint(extra: str) -> str:
    """Digest of everything that decides what gets installed."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (ROOT / "pyproject.toml", LOCKS / f"{extra}.txt", LOCKS / f"overrides-{extra}.txt"):
        digest.update(path.read_bytes())
    return f"{extra} {digest.hexdigest()}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the project's environment in .venv.")
    parser.add_argument("--extra", choices=("cpu", "gpu"), default="cpu", help="which machine it is for")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv", help="where the environment goes")
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
