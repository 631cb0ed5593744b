"""Calls the ingress's own API within the process, as the person who is signed in."""

import asyncio
import json
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.access.authentication import SIGNED_IN
from serve.api.traffic import WHO
from serve.console.sessions import session_of


class Reply(NamedTuple):
    """`document` is the parsed JSON."""

    status: int
    document: Any


class ApiClient:
    """`app` is the ingress behind the console."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def get(self, request: Request, path: str, query: str = "") -> Any:
        """The document at a path. `request` is the browser's. Raises HTTPException as the API answers."""
        return checked(await self.send(request, "GET", path, query=query)).document

    async def send(
        self, request: Request, method: str, path: str, document: Any = None, query: str = "", **headers: str
    ) -> Reply:
        """The reply to one request, errors included. An underscore in the name of a header stands for a hyphen."""
        body = b"" if document is None else json.dumps(document).encode()
        scope = scope_of(request, method, path, query, len(body), headers)
        status, parts = 500, list[bytes]()

        async def take(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self.app(scope, with_body(body, never), take)
        return Reply(status, json.loads(b"".join(parts) or b"null"))

    def passed_on(self, request: Request, path: str, document: Any, **headers: str) -> ASGIApp:
        """An answer to the browser that is the API's own, as it comes."""
        body = json.dumps(document).encode()
        asked = scope_of(request, "POST", path, "", len(body), headers)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(asked, with_body(body, receive), send)

        return answer


async def never() -> Message:
    """Several calls are made for one page, and none of them ends before it is complete."""
    await asyncio.Event().wait()
    raise AssertionError


def with_body(body: bytes, receive: Receive) -> Receive:
    """Gives the body, then what `receive` gives: whether the browser has left."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def first_the_body() -> Message:
        return messages.pop() if messages else await receive()

    return first_the_body


def scope_of(request: Request, method: str, path: str, query: str, size: int, headers: dict[str, str]) -> Scope:
    """The scope of a call. The host, and so the check of it, is the browser's. The name of a key replaces WHO."""
    sent = {name: request.headers.get(name, "") for name in ("host", "x-request-id")} | {WHO: "console"}
    if size:
        sent |= {"content-type": "application/json", "content-length": str(size)}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        **{name: request.scope[name] for name in ("type", "asgi", "http_version", "scheme", "client", "server")},
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in sent.items()],
        SIGNED_IN: session_of(request.scope).key,
    }


def checked(reply: Reply) -> Reply:
    """Raises HTTPException for an error."""
    if reply.status >= 400:
        raise HTTPException(reply.status, message_of(reply))
    return reply


def message_of(reply: Reply) -> str:
    """What the API says of an error."""
    error = reply.document.get("error") if isinstance(reply.document, dict) else None
    return str(error["message"] if isinstance(error, dict) else error or f"the server answered {reply.status}")
