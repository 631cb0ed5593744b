"""Minimal byte relays before an OpenAI server, one ASGI application each, to see what a streamed chunk costs.

Each takes `POST` requests, sends them to the same path upstream and copies status, content type and bytes back. No
routing, no counting, no error mapping: `serve/relay.py` is the one that has them. They differ in two things only: how
the answer leaves (raw ASGI messages, or Starlette's `StreamingResponse`) and which client reads the engine (aiohttp,
httpx, or asyncio streams with a parser of our own).

    python -m loadtest.peers.relays raw-aiohttp PORT UPSTREAM_URL     serves one on loopback under plain uvicorn
"""

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import httpx
import uvicorn
from starlette.responses import StreamingResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = {"content-type": "application/json"}


class Relay(ABC):
    """An ASGI application; subclasses say how one request is relayed."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.rstrip("/")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        if scope["method"] == "GET":  # the question whether it is up
            await start(send, 200, b"text/plain")
            await send({"type": "http.response.body", "body": b""})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await self.relay(scope, body, receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            await (self.open() if kind == "lifespan.startup" else self.close())
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    @abstractmethod
    async def open(self) -> None:
        """Open the connection pool in the running loop."""

    @abstractmethod
    async def close(self) -> None:
        """Close it."""

    @abstractmethod
    async def relay(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        """Answer one request whose whole body is `body`."""


class RawAiohttp(Relay):
    """Raw ASGI messages out, aiohttp in: the one that `serve/relay.py` is built on."""

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self.session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    async def close(self) -> None:
        await self.session.close()

    async def relay(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        async with self.session.post(self.upstream + scope["path"], data=body, headers=JSON) as answer:
            await start(send, answer.status, answer.headers["content-type"].encode())
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class StarletteAiohttp(RawAiohttp):
    """Starlette's `StreamingResponse` out, aiohttp in."""

    async def relay(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        async with self.session.post(self.upstream + scope["path"], data=body, headers=JSON) as answer:
            content = answer.content.iter_any()
            response = StreamingResponse(content, answer.status, media_type=answer.headers["content-type"])
            await response(scope, receive, send)


class RawHttpx(Relay):
    """Raw ASGI messages out, httpx in."""

    async def open(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self.client = httpx.AsyncClient(timeout=None, limits=limits)  # noqa: S113 - a stream may take its time

    async def close(self) -> None:
        await self.client.aclose()

    async def relay(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        url = self.upstream + scope["path"]
        async with self.client.stream("POST", url, content=body, headers=JSON) as answer:
            await start(send, answer.status_code, answer.headers["content-type"].encode())
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class RawStreams(Relay):
    """Raw ASGI messages out, asyncio streams in, one connection a request: what a parser of our own would win.

    Understands `transfer-encoding: chunked` and `content-length`, no more: a bound on the gain, not a candidate.
    """

    async def open(self) -> None:
        host, port = self.upstream.removeprefix("http://").split(":")
        self.address = host, int(port)

    async def close(self) -> None:
        return None

    async def relay(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            head = f"POST {scope['path']} HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            headers = dict(line.split(b": ", 1) for line in lines if line)
            await start(send, int(status.split()[1]), headers[b"content-type"])
            async for chunk in read_body(reader, headers):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            writer.close()
        await send({"type": "http.response.body", "body": b""})


async def read_body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> AsyncIterator[bytes]:
    """The payload of a chunked body, chunk by chunk, or of one with a length, at once."""
    if b"content-length" in headers:
        yield await reader.readexactly(int(headers[b"content-length"]))
        return
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def start(send: Send, status: int, content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


RELAYS: dict[str, type[Relay]] = {
    "raw-aiohttp": RawAiohttp,
    "starlette-aiohttp": StarletteAiohttp,
    "raw-httpx": RawHttpx,
    "raw-streams": RawStreams,
}


def main(name: str, port: str, upstream: str) -> None:
    uvicorn.run(
        RELAYS[name](upstream),
        host="127.0.0.1",
        port=int(port),
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
