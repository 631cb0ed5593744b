"""Where this program keeps what it fetches and makes.

`UNDERSTUDY_HOME` names one folder for everything. Without it, artifacts, catalog, state and logs are data of the user,
and sources are in the user's cache, each where `platformdirs` says (`XDG_DATA_HOME`, `XDG_CACHE_HOME`). A store in the
former default folder, `~/.cache/understudy`, stays in use with all that lies beside it.
"""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

NAME = "understudy"
STORED = ("artifacts", "catalog", "state")
"""Folders that only a store has. A cache of sources alone is none."""


def home() -> Path:
    """The folder that holds `artifacts/`, `catalog/`, `answers/`, `state/` and `logs/`; it may not exist yet."""
    if given := os.environ.get("UNDERSTUDY_HOME"):
        return Path(given).expanduser().resolve()
    former = Path.home() / ".cache" / NAME
    return former if any((former / each).exists() for each in STORED) else user_data_path(NAME)


def sources_of(home: Path) -> Path:
    """The folder of the sources that are fetched for the store in `home`; it may not exist yet."""
    apart = not os.environ.get("UNDERSTUDY_HOME") and home == user_data_path(NAME)
    return (user_cache_path(NAME) if apart else home) / "sources"
