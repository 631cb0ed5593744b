"""The entry of the images: makes an API key at the first start, then serves the stack file.

The key is for the admin. It is written to `admin.key` in the home folder, for its owner alone, and printed nowhere. A
stack file that has keys is served as it is. `UNDERSTUDY_TRACES` is the address of an OTLP receiver, if there is one.
"""

import hashlib
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import yaml

from serve.config.loader import load, parse
from variants.files import write_atomic
from variants.home import home

RIGHTS = ["infer", "label", "feedback", "admin"]


def main() -> None:
    (path,) = sys.argv[1:]
    stack = load(Path(path))
    document = stack.as_document()
    if not stack.server.keys:
        key = read_or_make(home() / "admin.key")
        document["server"]["keys"] = {"admin": {"sha256": hashlib.sha256(key.encode()).hexdigest(), "rights": RIGHTS}}
    if address := os.environ.get("UNDERSTUDY_TRACES"):
        document["server"]["traces"] = {"endpoint": address}
    served = write(home() / "stack.yaml", document)
    os.execvp("understudy", ["understudy", "serve", str(served)])  # noqa: S606


def read_or_make(path: Path) -> str:
    """The key in a file, which is made if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        print(f"the admin's key is in {path}", file=sys.stderr, flush=True)
    return path.read_text().strip()


def write(path: Path, document: dict[str, Any]) -> Path:
    """Raises StackError if the document is no stack file."""
    parse(document)
    write_atomic(path, yaml.safe_dump(document, sort_keys=False).encode())
    return path


if __name__ == "__main__":
    main()
