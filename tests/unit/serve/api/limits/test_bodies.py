"""Bodies in work: their memory, their time, and the thread for large ones."""

import asyncio
import gzip
import json
import threading
import time
import zlib
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.api import http
from serve.api.http import parse_object, read_body, read_object
from serve.api.limits import bodies
from serve.api.limits.bodies import READERS, Share, ShareMemory
from serve.api.limits.structure import Structure
from serve.dataplane.body_worker import IN_PLACE, apart
from serve.dataplane.memory import Memory
from serve.errors import Overloaded, TooLarge, UploadTimedOut, headers_of, status_of
from variants.errors import InputError

MIB = 2**20


def scope_of(memory: Memory, due_s: float = 60, **headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"headers": named, bodies.SHARE: Share(memory, time.perf_counter() + due_s)}


def receive_of(*parts: bytes, pause_s: float = 0.0) -> Receive:
    messages = iter([{"type": "http.request", "body": part, "more_body": True} for part in parts])

    async def receive() -> Message:
        await asyncio.sleep(pause_s)
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    return receive


async def test_all_requests_together_hold_no_more_than_the_memory() -> None:
    memory = Memory(10 * MIB)
    first = scope_of(memory)
    assert len(await read_body(first, receive_of(*[bytes(MIB)] * 8), 32 * MIB)) == 8 * MIB
    with pytest.raises(Overloaded, match=r"10 MiB of server\.memory_in_flight_mib") as refused:
        await read_body(scope_of(memory), receive_of(*[bytes(MIB)] * 3), 32 * MIB)
    assert (status_of(refused.value), headers_of(refused.value)) == (429, {"retry-after": "1"})
    assert memory.held <= 10 * MIB


@pytest.mark.parametrize("fails", [True, False])
async def test_a_request_that_ends_gives_its_memory_back(fails: bool) -> None:
    memory, held = Memory(10 * MIB), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(scope, receive, 32 * MIB)
        held.append(memory.held)
        if fails:
            raise RuntimeError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    wrapped = ShareMemory(app, memory, lambda: 60)
    try:
        await wrapped({"type": "http", "headers": []}, receive_of(bytes(MIB)), send)
    except RuntimeError:
        assert fails
    assert (held, memory.held) == ([MIB], 0)


async def test_few_of_many_large_bodies_are_read_on_in_one_round_of_the_loop() -> None:
    turns, memory, reads, most = asyncio.Semaphore(READERS), Memory(2**40), 0, 0

    async def one() -> int:
        left = 20

        async def receive() -> Message:
            nonlocal left, reads
            reads, left = reads + 1, left - 1
            return {"type": "http.request", "body": bytes(IN_PLACE + 1), "more_body": left > 0}

        scope = {"headers": [], bodies.SHARE: Share(memory, time.perf_counter() + 60, turns)}
        return len(await read_body(scope, receive, 32 * MIB))

    readers = asyncio.gather(*(one() for _ in range(50)))
    await asyncio.sleep(0)  # each reads its first part
    while not readers.done():
        before = reads
        await asyncio.sleep(0)
        most = max(most, reads - before)
    assert await readers == [20 * (IN_PLACE + 1)] * 50
    assert 0 < most <= READERS


async def test_what_is_inflated_and_parsed_is_counted_too() -> None:
    memory, text = Memory(64 * MIB), json.dumps({"prompt": "a" * 4 * MIB}).encode()
    scope = scope_of(memory, content_encoding="gzip")
    await read_object(scope, receive_of(gzip.compress(text)), 32 * MIB)
    assert memory.held == 2 * len(text)
    with pytest.raises(Overloaded):
        await read_body(scope_of(Memory(2 * MIB), content_encoding="gzip"), receive_of(gzip.compress(text)), 32 * MIB)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "X-GZIP", " gzip ", "identity", ""])
async def test_encodings_by_all_their_names(encoding: str) -> None:
    text = b'{"prompt": "a"}'
    sent = gzip.compress(text) if "gzip" in encoding.lower() else text
    scope = scope_of(Memory(MIB), content_encoding=encoding)
    assert await read_body(scope, receive_of(sent), MIB) == text


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
async def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    with pytest.raises(InputError, match=encoding) as refused:
        await read_body(scope_of(Memory(MIB), content_encoding=encoding), receive_of(b"a"), MIB)
    assert refused.value.field == "Content-Encoding"


@pytest.mark.parametrize("text", [b"[" * 32 * MIB, b'{"a":' * 6 * MIB, b"[[]," + b"[]," * 10 * MIB])
async def test_a_compressed_bomb_is_refused_at_its_first_piece(text: bytes) -> None:
    share = Share(Memory(64 * MIB), time.perf_counter() + 60)
    headers = [(b"content-encoding", b"deflate")]
    scope = {"headers": headers, bodies.SHARE: share}
    with pytest.raises(InputError, match="more than"):
        await read_body(scope, receive_of(zlib.compress(text, 9)), 32 * MIB, Structure())
    assert share.size < MIB  # of 30 MiB


async def test_a_body_that_says_that_it_is_too_large_is_not_read() -> None:
    async def receive() -> Message:
        raise AssertionError("nothing should be read")

    with pytest.raises(TooLarge):
        await read_body(scope_of(Memory(MIB), content_length="1001"), receive, 1000)


async def test_a_pause_in_a_body_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "IDLE_S", 0.05)
    with pytest.raises(UploadTimedOut, match=r"nothing came for 0\.05 s") as refused:
        await read_body(scope_of(Memory(MIB)), receive_of(b"a", pause_s=5), MIB)
    assert (status_of(refused.value), headers_of(refused.value)) == (408, {"connection": "close"})


async def test_a_body_that_comes_byte_by_byte_ends_at_the_time_limit() -> None:
    with pytest.raises(UploadTimedOut, match="time limit"):
        await read_body(scope_of(Memory(MIB), due_s=0.2), receive_of(*[b"a"] * 1000, pause_s=0.02), MIB)


async def test_large_bodies_are_worked_on_off_the_event_loop() -> None:
    here = threading.get_ident()
    assert await apart(IN_PLACE, threading.get_ident) == here
    assert await apart(IN_PLACE + 1, threading.get_ident) != here


async def test_a_large_body_is_joined_and_parsed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[tuple[int, int]] = []

    def recorded(body: bytes, structure: Structure) -> dict[str, Any]:
        threads.append((len(body), threading.get_ident()))
        return parse_object(body, structure)

    monkeypatch.setattr(http, "parse_object", recorded)
    large, small = (json.dumps({"input": [[1] * 500] * rows}).encode() for rows in (2000, 2))
    memory = Memory(1024 * MIB)
    read = [read_object(scope_of(memory), receive_of(text), 32 * MIB) for text in (large, small, large)]
    assert [len(document["input"]) for _, document in await asyncio.gather(*read)] == [2000, 2, 2000]
    here = threading.get_ident()
    assert sorted((size, thread == here) for size, thread in threads) == [
        (len(small), True),
        (len(large), False),
        (len(large), False),
    ]
