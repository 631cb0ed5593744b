"""Bounds on what requests hold and ask for, over HTTP and with real engine processes; the ingress runs without Ray."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.config.stack import Stack
from serve.ports import free_port
from serve.protocols.open_inference import bytes_tensor, encode_request
from tests.support.local_stage import local
from tests.support.scripted import echo_stack, make_stack
from variants.document import Document

pytestmark = pytest.mark.integration
MIB = 2**20


def with_server(stack: Stack, **settings: Any) -> Stack:
    server = type(stack.server).model_validate(stack.server.model_dump() | settings)
    return stack.model_copy(update={"server": server})


def message_of(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    return str(error if isinstance(error, str) else error["message"])


async def test_requests_beyond_the_memory_are_told_to_come_again(tmp_path: Path) -> None:
    stack = with_server(echo_stack(free_port(), first_token_s=1.0), body_limit_mib=1, memory_in_flight_mib=2)
    asked = {"model": "echo", "prompt": "a b", "max_tokens": 2, "metadata": {"a": "a" * (MIB // 2)}}
    async with local(tmp_path, stack) as served:
        answers = await asyncio.gather(*(served.client.post("/v1/completions", json=asked) for _ in range(6)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert set(statuses) == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert "server.memory_in_flight_mib" in message_of(refused)
        again = await served.client.post("/v1/completions", json=asked)
        assert again.status_code == 200  # the memory of the others is free again


async def test_large_requests_arrive_unchanged(tmp_path: Path) -> None:
    asked = {"model": "echo", "prompt": "a b c", "max_tokens": 3, "seed": 7, "metadata": {"é\n": '"[{' * 100_000}}
    async with local(tmp_path, echo_stack(free_port())) as served:
        small = await served.client.post("/v1/completions", json=asked | {"metadata": {}})
        large = await served.client.post("/v1/completions", content=json.dumps(asked, ensure_ascii=False).encode())
        assert [answer.status_code for answer in (small, large)] == [200, 200]
        assert small.json()["choices"] == large.json()["choices"]


async def test_too_much_work_is_refused_in_every_protocol(tmp_path: Path) -> None:
    images, head = encode_request([bytes_tensor("image", [b"a"] * 300)], binary=True)
    texts, _ = encode_request([bytes_tensor("text", [b"a"] * 2049)], binary=False)
    async with local(tmp_path, make_stack(free_port())) as served:
        headers = {"inference-header-content-length": str(head)}
        answers = [
            await served.client.post("/v1/completions", json={"model": "echo", "prompt": "a", "n": 16_384}),
            await served.client.post("/v1/chat/completions", json={"model": "echo", "messages": [], "n": "99"}),
            await served.client.post("/v1/completions", json={"model": "echo", "prompt": ["a"] * 129}),
            await served.client.post("/v1/embeddings", json={"model": "near", "input": ["a"] * 2049}),
            await served.client.post("/v1/embeddings", json={"model": "near", "input": "a " * 10**6}),
            await served.client.post("/v2/models/bands/infer", content=images, headers=headers),
            await served.client.post("/v2/models/near/infer", content=texts),
            await served.client.post("/v2/models/bands/infer", content=b"[" * 1000),
        ]
        assert [answer.status_code for answer in answers] == [400] * len(answers)
        words = list(map(message_of, answers))
    for word, message in zip(("16384", "99", "129", "2049", "characters", "300", "2049", "levels"), words, strict=True):
        assert word in message
        assert len(message.split()) <= 30


async def test_an_upload_counts_for_the_time_limit(tmp_path: Path) -> None:
    stack = echo_stack(free_port())
    model = stack.models["echo"]
    limits: Document = model.limits.model_copy(update={"timeout_s": 1.0})
    stack = stack.model_copy(update={"models": {"echo": model.model_copy(update={"limits": limits})}})

    async with local(tmp_path, stack) as served:
        reader, writer = await asyncio.open_connection(served.client.base_url.host, served.client.base_url.port)
        began = time.perf_counter()
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")

        async def upload() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.05)

        uploading = asyncio.create_task(upload())
        answer = await reader.readuntil(b"}}")
        uploading.cancel()
        writer.close()
    assert time.perf_counter() - began < 10  # of 50 s that the upload would take
    assert b" 408 " in answer.splitlines()[0]
    assert b"upload_timed_out" in answer


async def test_a_client_that_leaves_frees_the_embedding_engine_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    pass_s = 2.0
    async with local(tmp_path, make_stack(free_port(), first_token_s=pass_s)) as served:
        texts = [f"text {number}" for number in range(320)]  # 10 passes
        leaving = asyncio.create_task(served.client.post("/v1/embeddings", json={"model": "near@int8", "input": texts}))
        await asyncio.sleep(0.5)
        upstream = served.upstreams.by_model["near"]["int8"]
        assert upstream.running == 1
        leaving.cancel()
        began = time.perf_counter()
        answer = await served.client.post("/v1/embeddings", json={"model": "near@int8", "input": "a"})
        assert answer.status_code == 200
        assert time.perf_counter() - began < 2 * pass_s  # its own pass, and little of the other's ten
        assert upstream.running == 0
