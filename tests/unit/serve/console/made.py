"""The console over an API that answers what a test says: the real pages, sessions and templates.

It has the pages of other packages that a test names, whatever is installed."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve.api.access.authentication import SIGNED_IN
from serve.config.server.api_keys import Key
from serve.config.server.settings import Server
from serve.console.application import add_console
from tests.support.scripted import make_stack

HOST = "http://127.0.0.1:8000"


def key(secret: str, **more: Any) -> Key:
    return Key.model_validate({"sha256": hashlib.sha256(secret.encode()).hexdigest(), **more})


def variant(name: str, **more: Any) -> dict[str, Any]:
    return {
        "variant": name, "weight": 1.0, "ready": True, "reason": None, "running": 0, "waiting": 0, "engine": "scripted",
        "precision": "f32", "parent": None, "method": "scripted", "artifact_sha256": "a" * 64, "artifact_bytes": 10,
        "memory_bytes": None, **more,
    }  # fmt: skip


class Fake:
    """An ingress that answers `documents` by path. `asked` has each request with the key that made it."""

    def __init__(self, server: Server = Server(), pages: Iterable[EntryPoint] = ()) -> None:
        self.server = server
        self.documents: dict[str, Any] = {
            "/admin/v1/models": {"models": [model("echo", variant("baseline"))], "machine": {}}
        }
        self.asked: list[tuple[str, str, str | None]] = []
        app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST", "PUT"])])
        self.app = add_console(app, self.snapshot, pages)

    def snapshot(self) -> Any:
        stack = make_stack().model_copy(update={"server": self.server})
        return SimpleNamespace(stack=stack, judged={})

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        self.asked.append((request.method, request.url.path, request.scope.get(SIGNED_IN)))
        document = self.documents.get(request.url.path)
        if document is None:
            return JSONResponse({"error": {"message": f"no {request.url.path} {len(body)}"}}, 404)
        return JSONResponse(document)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=HOST)


def model(name: str, *variants: dict[str, Any]) -> dict[str, Any]:
    return {"model": name, "task": "text-generation", "evaluate": [], "variants": list(variants)}


def token_of(page: str) -> str:
    """The token of a page's first form."""
    return page.split('name="token" value="', 1)[1].split('"', 1)[0]
