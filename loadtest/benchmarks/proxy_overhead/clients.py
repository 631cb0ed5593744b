"""Streaming clients that read raw bytes. They use little CPU time, so they may share a core with the server.

A client keeps one connection, and sends its next request after the last token of the one before (closed loop). That is
right for comparing two servers at a fixed number of clients. It is wrong for judging latency under real arrivals. The
number of tokens is the server's own `usage`. The first token's time is that of the first `data:` in the body.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import cast

USAGE = re.compile(rb'"completion_tokens": ?(\d+)')
DONE = b"data: [DONE]"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Burst:
    """The result of one burst of clients: output tokens, and times in seconds."""

    clients: int
    tokens: int
    wall_s: float
    first_token_s: tuple[float, ...]

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s

    @property
    def ttft_s(self) -> float:
        """Median time to the first token."""
        return median(self.first_token_s)


class Stream(asyncio.Protocol):
    """One connection. `ask` sends a request and waits for the end of its stream."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] | None = None
        self.first: float | None = None
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self.first is None and b"data: " in data:
            self.first = now
        self.tail = (self.tail + data)[-2048:] if len(data) < 2048 else data[-2048:]
        finished = DONE in self.tail and self.tail.endswith(LAST_CHUNK)
        refused = self.first is None and not data.startswith(b"HTTP/1.1 200")
        if (finished or refused) and self.done and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self.done and not self.done.done():
            self.done.set_exception(error or ConnectionError("closed before the end of the stream"))

    async def ask(self, request: bytes) -> tuple[int, float]:
        """The number of tokens, and the seconds to the first. Raises ConnectionError if the stream is not complete."""
        self.first, self.tail = None, b""
        self.done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.transport.write(request)
        await asyncio.wait_for(self.done, 120)
        usage = USAGE.findall(self.tail)
        if self.first is None or not usage:
            raise ConnectionError(f"not a stream with usage: {self.tail[:300]!r}")
        return int(usage[-1]), self.first - began


def completion(host: str, model: str, prompt: str, tokens: int, headers: Mapping[str, str]) -> bytes:
    """The bytes of one request, with these `headers`, for a streamed completion of exactly `tokens` tokens."""
    ask = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body = json.dumps(ask).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def burst(
    port: int, model: str, clients: int, requests: int, tokens: int, salt: str, headers: Mapping[str, str]
) -> Burst:
    """Run `clients` clients at once, each with `requests` requests in a row. `salt` makes the prompts distinct."""
    firsts: list[float] = []
    total = 0

    async def one(index: int) -> None:
        nonlocal total
        loop = asyncio.get_running_loop()
        transport, stream = await loop.create_connection(Stream, "127.0.0.1", port)
        try:
            for turn in range(requests):
                prompt = f"Note {salt}-{index}-{turn}: the weather in the harbour town was"
                made, first = await stream.ask(completion(f"127.0.0.1:{port}", model, prompt, tokens, headers))
                total += made
                firsts.append(first)
        finally:
            transport.close()

    began = time.perf_counter()
    await asyncio.gather(*(one(index) for index in range(clients)))
    return Burst(clients, total, time.perf_counter() - began, tuple(firsts))
