"""Request bodies: how long a client may take to send one, how much memory all hold together, with what is kept of
answers, and how they are inflated."""

import asyncio
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.limits.structure import PIECE, Structure
from serve.dataplane.memory import Memory
from serve.errors import Overloaded, TooLarge, UploadTimedOut
from variants.errors import InputError

IDLE_S = 30.0
"""The longest pause of a client that sends a body."""
READERS = 4
"""Bodies that are read on in one round of the event loop. A socket gives up to 256 KiB at a time, and a stream waits
for all that is read in a round, several times a token: 300 uploads at once made it wait 0.48 s."""
PLAIN = ("identity", "")
"""Content-Encodings of a body that is sent as it is."""
SHARE = "understudy.share"


class Share:
    """The bytes that one request holds, the time when it arrived and the time when its body must be complete, both in
    seconds of the monotonic clock. `turns` is what all requests of a server share."""

    def __init__(self, memory: Memory, due: float, turns: asyncio.Semaphore | None = None) -> None:
        self.arrived = time.perf_counter()
        self.memory, self.due, self.size = memory, due, 0
        self.turns = turns or asyncio.Semaphore(READERS)

    async def turn(self) -> None:
        """Wait until this request is among the `READERS` that read in the next round of the event loop."""
        async with self.turns:
            await asyncio.sleep(0)

    def take(self, size: int) -> None:
        """Raises Overloaded where all requests together would hold more than the limit."""
        if not self.memory.take(size):
            raise Overloaded(
                f"all requests together hold the {self.memory.limit >> 20} MiB of server.memory_in_flight_mib",
                mend="try again after the time in Retry-After",
            )
        self.size += size

    def give(self, size: int) -> None:
        self.memory.give(size)
        self.size -= size


class ShareMemory:
    """ASGI middleware: gives every request its share of the memory, and takes it back when the request ends. A body
    must be complete within `longest_s()` seconds."""

    def __init__(self, app: ASGIApp, memory: Memory, longest_s: Callable[[], float]) -> None:
        self.app, self.memory, self.longest_s = app, memory, longest_s
        self.turns = asyncio.Semaphore(READERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        share = scope[SHARE] = Share(self.memory, time.perf_counter() + self.longest_s(), self.turns)
        try:
            await self.app(scope, receive, send)
        finally:
            share.give(share.size)


def share_of(scope: Scope) -> Share:
    """The request's share; without the middleware, one without bounds."""
    share = scope.get(SHARE)
    return share if isinstance(share, Share) else unbounded()


def unbounded() -> Share:
    return Share(Memory(2**63), time.perf_counter() + 3600)


@dataclass(kw_only=True)
class Kept:
    """What is kept of an answer. Its bytes are taken from the `share` of its request. Where all requests together hold
    too many, nothing of the answer is kept, and `fault` says so."""

    body: bytearray = field(default_factory=bytearray)
    share: Share = field(default_factory=unbounded)
    fault: Overloaded | None = None

    @property
    def dropped(self) -> bool:
        return self.fault is not None

    def hold(self, data: bytes) -> None:
        if self.fault is not None:
            return
        try:
            self.share.take(len(data))
        except Overloaded as fault:
            self.share.give(len(self.body))
            self.body.clear()
            self.fault = fault
        else:
            self.body += data


async def next_part(receive: Receive, share: Share) -> Message:
    """The next message of a body. Raises UploadTimedOut."""
    left_s = share.due - time.perf_counter()
    try:
        async with asyncio.timeout(min(IDLE_S, left_s)):
            return await receive()
    except TimeoutError:
        why = f"nothing came for {IDLE_S:g} s" if left_s > IDLE_S else "the time limit of the request has passed"
        raise UploadTimedOut(f"the body is not complete, and {why}", mend="send the body faster") from None


def check_length(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the body is above {limit} bytes", mend="send less, or raise server.body_limit_mib")


def announced(headers: Headers) -> int:
    """The Content-Length; 0 where there is none that can be read."""
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def check_encoding(encoding: str) -> None:
    """Raises InputError unless the Content-Encoding is one that is inflated here, or none. `x-gzip` is an older name of
    gzip (RFC 9110, section 8.4.1.3)."""
    if encoding.strip().lower() not in (*PLAIN, "gzip", "x-gzip", "deflate"):
        mend = "gzip, deflate, or leave it out"
        raise InputError(f"{encoding!r:.80} is not understood", field="Content-Encoding", mend=mend)


def inflated(body: bytes, encoding: str, limit: int, share: Share, structure: Structure | None) -> bytes:
    """The body without its Content-Encoding. Stops at the first piece that exceeds `limit` bytes, the request's memory,
    or the bounds of `structure`. Raises InputError, TooLarge, Overloaded."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # accept the header of gzip and of zlib
    parts: list[bytes] = []
    size, rest = 0, body
    try:
        while not inflater.eof:
            part = inflater.decompress(rest, PIECE)
            rest = inflater.unconsumed_tail
            if not part and not rest:
                break
            size += len(part)
            check_length(size, limit)
            share.take(len(part))
            if structure is not None:
                structure.feed(part)
            parts.append(part)
        if not inflater.eof or inflater.unused_data:
            raise zlib.error("it does not end with the body")
    except zlib.error as error:
        mend = "the whole body compressed, once"
        raise InputError(f"not {encoding}: {error}", field="Content-Encoding", mend=mend) from None
    return b"".join(parts)
