"""`make lock`: resolves the pinned versions again, for Linux on x86-64 and Python 3.11.

The file that it writes has only packages and versions, no host and no path. Python 3.12 installs the same versions.
"""

import subprocess
import sys
from pathlib import Path

from deploy.install import LOCKS, ROOT, pip_settings, uv_environment

TORCH = {"cpu": "torch==2.13.0+cpu", "gpu": "torch==2.13.0"}


def lock(extra: str) -> None:
    command: list[str | Path] = [
        sys.executable, "-m", "uv", "pip", "compile", ROOT / "pyproject.toml", "--extra", extra, "--extra", "dev",
        "--override", LOCKS / f"overrides-{extra}.txt", "--constraint", "-",
        "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28",
        "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet", "--upgrade",
        "--output-file", LOCKS / f"{extra}.txt",
    ]  # fmt: skip
    environment = uv_environment(pip_settings(Path(sys.executable)))
    subprocess.run(command, input=TORCH[extra], text=True, env=environment, check=True)


if __name__ == "__main__":
    lock(sys.argv[1] if len(sys.argv) > 1 else "cpu")
