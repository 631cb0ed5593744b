"""What all pages share: the API, the templates, and the thread that renders. Nothing here is kept for one viewer.

All streams of an ingress share one event loop, so pages and pictures are made in a thread of their own.
"""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from serve.config.server.hosts import is_wildcard
from serve.config.server.settings import Server
from serve.config.snapshot import Snapshot
from serve.console.api_client import ApiClient
from serve.console.brought_pages import Brought
from serve.console.sessions import Sessions, session_of
from serve.errors import status_of
from variants.errors import UnderstudyError
from variants.home import home
from variants.reports import formats
from variants.reports.page import templates
from variants.reports.palette import PALETTE

T = TypeVar("T")
HERE = Path(__file__).parent
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
ASSETS = ("console.css", "console.js", "htmx.min.js", "logo.svg")
CACHED = "public, max-age=31536000, immutable"
"""For assets: their address has their hash."""


class Site:
    """`app` is the ingress behind the console. `snapshot` returns what is live."""

    def __init__(self, app: ASGIApp, snapshot: Callable[[], Snapshot]) -> None:
        self.snapshot = snapshot
        self.api = ApiClient(app)
        self.sessions = Sessions(lambda: self.server)
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="console")
        self.brought: list[Brought] = []

    @property
    def server(self) -> Server:
        return self.snapshot().stack.server

    @property
    def url(self) -> str:
        """The address at which this machine reaches the server."""
        host, port = self.server.host, self.server.port
        if is_wildcard(host):
            host = "::1" if ":" in host else "127.0.0.1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def home(self) -> Path:
        return home()

    @property
    def has_keys(self) -> bool:
        return bool(self.server.keys)

    @property
    def models(self) -> list[str]:
        """The names of the models that are served."""
        return list(self.snapshot().stack.models)

    def who(self, request: Request) -> str:
        """Who asks, as the journal names them."""
        return session_of(request.scope).key or "console"

    async def check_admin(self, request: Request) -> None:
        """Raises HTTPException unless the person who is signed in has the right `admin`."""
        await self.api.get(request, "/admin/v1/models")

    @cached_property
    def environment(self) -> jinja2.Environment:
        environment = templates(HERE / "templates", *(each.pages.templates for each in self.brought))
        environment.globals |= {"f": formats, "palette": PALETTE, "asset": address_of}
        return environment

    async def apart(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in the thread of the console."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, work)

    async def render(
        self, request: Request, template: str, values: Callable[[], dict[str, Any]], status: int = 200
    ) -> Response:
        """The page of a template. `values` makes its values, also in the thread."""
        session, path = session_of(request.scope), request.url.path
        common = {"session": session, "path": path, "may_leave": session.key is not None, "brought": self.brought}

        def made() -> str:
            return self.environment.get_template(template).render(**common, **values())

        return Response(await self.apart(made), status, media_type="text/html")

    async def picture(self, work: Callable[[], str], **headers: str) -> Response:
        """A picture as SVG. Its own policy lets it have its own styles, and nothing else."""
        headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return Response(await self.apart(work), headers=headers, media_type="image/svg+xml")

    async def asset(self, request: Request) -> Response:
        """A style sheet or script. Raises HTTPException for another name."""
        name = request.path_params["name"]
        if name not in ASSETS:
            raise HTTPException(404, f"there is no file {name!r:.40}")
        body = await self.apart(lambda: content_of(name))
        return Response(body, headers={"cache-control": CACHED}, media_type=TYPES[name.rpartition(".")[2]])

    async def explain_status(self, request: Request, error: Exception) -> Response:
        """The page of an error: of the API's, or of a path that does not exist."""
        assert isinstance(error, HTTPException)
        return await self.failed(request, error.status_code, error.detail)

    async def explain(self, request: Request, error: Exception) -> Response:
        """The page of one of our errors."""
        assert isinstance(error, UnderstudyError)
        return await self.failed(request, status_of(error), str(error))

    async def failed(self, request: Request, status: int, message: str) -> Response:
        values = {"status": status, "message": message}
        return await self.render(request, "error.html.j2", lambda: values, status)


@cache
def content_of(name: str) -> bytes:
    """A file that pages load. The style sheet is a template, because it has the palette of the reports."""
    if name == "console.css":
        return templates(HERE / "templates").get_template("console.css.j2").render(palette=PALETTE).encode()
    return (HERE / "static" / name).read_bytes()


@cache
def address_of(name: str) -> str:
    """The address of an asset."""
    return f"/console/{name}?{hashlib.sha256(content_of(name)).hexdigest()[:12]}"
