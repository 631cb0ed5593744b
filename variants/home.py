"""The folder for caches, artifacts and the catalog: `UNDERSTUDY_HOME`, by default `~/.cache/understudy`."""

import os
from pathlib import Path


def home() -> Path:
    """The folder that holds `sources/`, `artifacts/` and `catalog/`; it may not exist yet."""
    given = os.environ.get("UNDERSTUDY_HOME")
    return Path(given).expanduser().resolve() if given else Path.home() / ".cache" / "understudy"
