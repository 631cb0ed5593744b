"""Pages that other packages bring to the console, found by entry point as commands are.

    [project.entry-points."understudy.pages"]
    load = "loadtest.console.page:LoadPages"

An entry point is called with the console's `Site`, and gives the pages below `/pages/NAME`. All of them need the right
`admin`, and what a form posts needs the token of its session: the console checks both before it calls a page.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import Response

from serve.console.forms import Form

log = logging.getLogger("understudy.console")
GROUP = "understudy.pages"
PREFIX = "/pages/"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
Answer = Callable[[Request], Awaitable[Response]]
Act = Callable[[Request, Form], Awaitable[Response]]


class Pages(Protocol):
    """`title` stands in the navigation. `templates` is a folder of templates, which may extend those of the console.
    `pages` and `forms` are by path, which is empty for the first page and else begins with '/'."""

    @property
    def title(self) -> str: ...
    @property
    def templates(self) -> Path: ...
    @property
    def pages(self) -> Mapping[str, Answer]: ...
    @property
    def forms(self) -> Mapping[str, Act]: ...


class Brought(NamedTuple):
    """The pages of one entry point, by its name."""

    name: str
    pages: Pages

    @property
    def path(self) -> str:
        return f"{PREFIX}{self.name}"


def installed() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def load_pages(entries: Iterable[EntryPoint], site: object) -> list[Brought]:
    """The pages of all entry points, by name. One that fails is left out and logged: it must not stop the server."""
    brought = {}
    for entry in entries:
        if not NAME.fullmatch(entry.name):
            log.warning("a page is left out: its name is not of a-z, 0-9 and '-'", extra={"page": entry.name})
            continue
        try:
            brought[entry.name] = Brought(entry.name, entry.load()(site))
        except Exception as error:  # whatever code of somebody else's raises
            log.warning("a page is left out: it cannot be loaded", exc_info=error, extra={"page": entry.name})
    return [brought[name] for name in sorted(brought)]
