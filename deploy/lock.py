"""`make lock`: resolves the pinned versions again, for Linux on x86-64 and Python 3.11.

`cpu` and `gpu` are the project's own, `clients` those of `make clients`. The files that it writes have only packages
and versions, no host and no path. Python 3.12 installs the same versions.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.client_environments import CLIENTS, REQUIREMENTS
from deploy.install import LOCKS, ROOT, pip_settings, uv_environment

TORCH = {"cpu": "torch==2.13.0+cpu", "gpu": "torch==2.13.0"}


def lock(extra: str) -> None:
    wanted: list[str | Path] = [
        ROOT / "pyproject.toml", "--extra", extra, "--extra", "dev",
        "--override", LOCKS / f"overrides-{extra}.txt", "--constraint", "-",
    ]  # fmt: skip
    resolve(wanted, TORCH[extra], LOCKS / f"{extra}.txt")


def lock_clients() -> None:
    """The versions of each client of `make clients`."""
    for name, requirements in REQUIREMENTS.items():
        resolve(["-"], "\n".join(requirements), CLIENTS / f"{name}.txt")


def resolve(wanted: Sequence[str | Path], given: str, path: Path) -> None:
    """Resolve what `wanted` names in uv's words, with `given` on its standard input. Writes the versions to `path`."""
    command: list[str | Path] = [
        sys.executable, "-m", "uv", "pip", "compile", *wanted,
        "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28",
        "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet", "--upgrade",
        "--output-file", path,
    ]  # fmt: skip
    environment = uv_environment(pip_settings(Path(sys.executable)))
    subprocess.run(command, input=given, text=True, env=environment, check=True)


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    lock_clients() if name == "clients" else lock(name)
