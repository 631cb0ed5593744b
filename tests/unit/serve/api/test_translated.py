"""A translated route works on large bodies off the event loop, and holds no more memory than the route below it."""

import gzip
import json
import threading
import time
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from serve.api.answers import TextAnswer
from serve.api.http import read_object
from serve.api.limits.bodies import SHARE, Share
from serve.api.openai import TextRoute
from serve.api.translated import Door, TranslatedRoute, Translation
from serve.dataplane.call import Call
from serve.dataplane.memory import Memory
from variants.errors import InputError

MIB = 2**20


@pytest.mark.parametrize("text", ["a", "a" * MIB], ids=["small", "large"])
async def test_a_large_body_is_translated_off_the_loop(text: str) -> None:
    memory, threads, held = Memory(64 * MIB), list[str](), list[int]()
    sent: list[Message] = []

    def translate(document: dict[str, Any]) -> Translation:
        threads.append(threading.current_thread().name)
        return Translation({"input": document["text"]}, lambda answer: {"size": answer["size"]})

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        body, document = await read_object(scope, receive, 32 * MIB)
        held.append(memory.held - 2 * len(body))
        answer = json.dumps({"size": len(document["input"])}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async def receive() -> Message:
        return {"type": "http.request", "body": gzip.compress(json.dumps({"text": text}).encode())}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "headers": [(b"content-encoding", b"gzip")],
        SHARE: Share(memory, time.perf_counter() + 60),
    }
    await TranslatedRoute(Door(translate), route, 32 * MIB)(scope, receive, send)
    assert sent[0]["status"] == 200
    assert json.loads(sent[1]["body"]) == {"size": len(text)}
    assert threads[0].startswith("bodies") == (len(text) > 1)
    assert held == [0]


async def test_an_answer_above_the_memory_is_refused() -> None:
    sent: list[Message] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"1" * MIB, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"text": "a"}'}

    async def send(message: Message) -> None:
        sent.append(message)

    memory = Memory(2 * MIB)
    scope = {"type": "http", "headers": [], SHARE: Share(memory, time.perf_counter() + 60)}
    door = Door(lambda document: Translation(document, lambda answer: answer))
    await TranslatedRoute(door, route, MIB)(scope, receive, send)
    assert sent[0]["status"] == 429
    assert memory.held < MIB


class Noted(TextRoute):
    """Notes when a request arrived, and refuses it."""

    def prepare(self, headers: Headers, document: dict[str, Any], arrived: float) -> tuple[Call, TextAnswer]:
        self.arrived = arrived
        raise InputError("noted")


@pytest.mark.parametrize("translated", [True, False])
async def test_the_time_limit_counts_from_the_arrival_of_the_request(translated: bool) -> None:
    unused: Any = None
    noted = Noted(unused, unused, unused, unused, MIB, "/v1/embeddings", "feature-extraction", TextAnswer)
    door = Door(lambda document: Translation(document, lambda answer: answer))
    share = Share(Memory(MIB), time.perf_counter() + 60)

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"text": "a"}'}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "POST", "headers": [], SHARE: share}
    await (TranslatedRoute(door, noted, MIB) if translated else noted)(scope, receive, send)
    assert noted.arrived == share.arrived
