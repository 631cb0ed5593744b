"""Makes the environments of `make clients`: `python -m deploy.client_environments [--only NAME]`.

Each client of another maker gets an environment of its own below out/clients/envs, with the versions of its lock in
deploy/locks/clients. What is there and has these versions stays.
"""

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.install import LOCKS, ROOT, install_packages

REQUIREMENTS = {
    "openai": ("openai",),
    "tritonclient": ("tritonclient[http,grpc]",),
    "langchain-openai": ("langchain-openai",),
    "litellm": ("litellm",),
    "lm-eval": ("lm-eval[api]", "transformers"),  # the harness reads a local tokenizer with transformers
    "guidellm": ("guidellm", "torch==2.13.0+cpu"),  # it computes nothing, so no CUDA build
}
CLIENTS = LOCKS / "clients"
ENVIRONMENTS = ROOT / "out" / "clients" / "envs"
STAMP = "understudy-stamp"


def fingerprint(lock: Path) -> str:
    """The digest of what decides what is installed: Python's version and the lock."""
    return hashlib.sha256(sys.version.encode() + lock.read_bytes()).hexdigest()


def make(name: str, folder: Path, locks: Path = CLIENTS) -> bool:
    """Make the environment of a client in `folder`. Returns False where it was there already. Raises SystemExit if uv
    fails."""
    lock = locks / f"{name}.txt"
    stamp, wanted = folder / STAMP, fingerprint(lock)
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    print(f"making the environment of {name} in {folder}", file=sys.stderr, flush=True)
    uv = Path(sys.executable)
    subprocess.run([uv, "-m", "uv", "venv", "--quiet", "--clear", "--python", uv, folder], check=True)
    install_packages(uv, folder / "bin" / "python", ["--quiet", "--no-deps", "--requirements", lock], cpu_torch=True)
    stamp.write_text(wanted)
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the environments of the clients that `make clients` runs.")
    parser.add_argument("--only", choices=sorted(REQUIREMENTS), help="this client alone")
    given = parser.parse_args(arguments)
    for name in REQUIREMENTS:
        if given.only in (None, name):
            make(name, ENVIRONMENTS / name)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
