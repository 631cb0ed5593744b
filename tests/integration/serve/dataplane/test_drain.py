"""The end of an ingress over real engines: readiness, streams that are waited for, and those that are broken off."""

import asyncio
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from serve.config.loader import only
from serve.config.server.cross_origin import Cors
from serve.dataplane import drain
from serve.ports import free_port
from tests.support.local_stage import Local, local
from tests.support.scripted import echo_stack, make_stack

pytestmark = pytest.mark.integration
SHORT = {"model": "echo", "prompt": "a b c d", "max_tokens": 1}


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "GRACE_S", 1.0)


async def stream(served: Local, tokens: int) -> list[str]:
    """The events of one stream."""
    body = SHORT | {"max_tokens": tokens, "ignore_eos": True, "stream": True}
    async with served.client.stream("POST", "/v1/completions", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        return [line.removeprefix("data: ") async for line in answer.aiter_lines() if line]


async def ready(served: Local, path: str = "/v2/health/ready") -> httpx.Response:
    return await served.client.get(path)


async def test_readiness_goes_off_first_and_a_stream_is_waited_for(tmp_path: Path) -> None:
    async with local(tmp_path, echo_stack(free_port(), token_s=0.1)) as served:
        assert (await ready(served)).json()["ready"]
        streaming = asyncio.create_task(stream(served, 40))
        while not served.upstreams.drain.open:
            await asyncio.sleep(0.01)
        draining = asyncio.create_task(served.upstreams.drain.run(30))
        await asyncio.sleep(0.1)
        off = await ready(served)
        assert (off.status_code, off.json()["ready"], off.json()["stopping"]) == (503, False, True)
        assert (await ready(served, "/v2/models/echo/ready")).status_code == 503
        probes = [off, *[await ready(served, path) for path in ("/health", "/ping", "/v2/models/echo/ready")]]
        assert [(probe.status_code, probe.headers["retry-after"]) for probe in probes] == [(503, "1")] * 4
        assert (await ready(served, "/v2/health/live")).status_code == 200
        assert (await served.client.post("/v1/completions", json=SHORT)).status_code == 200  # within the grace
        await asyncio.sleep(1.2)
        refused = await served.client.post("/v1/completions", json=SHORT)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert "retry-after" in refused.headers
        events = await streaming
        assert events[-1] == "[DONE]"
        assert await draining == 0


async def test_what_still_runs_at_the_limit_ends_with_an_error(tmp_path: Path) -> None:
    async with local(tmp_path, echo_stack(free_port(), token_s=0.1)) as served:
        streaming = asyncio.create_task(stream(served, 400))
        whole = asyncio.create_task(
            served.client.post("/v1/completions", json=SHORT | {"max_tokens": 400, "ignore_eos": True}, timeout=60)
        )
        while served.upstreams.drain.open < 2:
            await asyncio.sleep(0.01)
        assert await served.upstreams.drain.run(1.5) == 2
        events = await streaming
        assert len(events) > 5
        error = json.loads(events[-1])["error"]
        assert error["code"] == "not_ready"
        assert "the server is stopping" in error["message"]
        answer = await whole
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert served.upstreams.drain.open == 0


async def test_translated_requests_end_in_their_own_format_and_web_pages_can_read_the_refusal(tmp_path: Path) -> None:
    page = "https://chat.example"
    stack = echo_stack(free_port(), token_s=0.1)
    server = stack.server.model_copy(update={"cors": Cors(origins=(page,))})
    message = {"model": "echo", "max_tokens": 400, "messages": [{"role": "user", "content": "a b c d " * 200}]}
    async with local(tmp_path, stack.model_copy(update={"server": server})) as served:

        async def events() -> list[str]:
            body = message | {"stream": True}
            async with served.client.stream("POST", "/v1/messages", json=body, timeout=60) as answer:
                return [line async for line in answer.aiter_lines() if line]

        streaming = asyncio.create_task(events())
        whole = asyncio.create_task(served.client.post("/v1/messages", json=message, timeout=60))
        while served.upstreams.drain.open < 2:
            await asyncio.sleep(0.01)
        assert await served.upstreams.drain.run(1.5) == 2
        assert (await streaming)[-2] == "event: error"
        answer = await whole
        assert (answer.status_code, answer.json()["type"]) == (503, "error")
        refused = await served.client.post("/v1/messages", json=message, headers={"origin": page})
        assert (refused.status_code, refused.json()["type"]) == (503, "error")
        assert refused.headers["access-control-allow-origin"] == page


async def test_a_grpc_call_is_waited_for_and_later_ones_are_told_to_go_elsewhere(tmp_path: Path) -> None:
    grpc_port, stack = free_port(), only(make_stack(free_port(), first_token_s=4.0), "bands")
    server = stack.server.model_copy(update={"grpc_port": grpc_port})
    pixels = np.full((1, 3, 32, 32), 0.95, np.float32)
    tensor = triton.InferInput("pixels", list(pixels.shape), "FP32")
    tensor.set_data_from_numpy(pixels)
    async with (
        local(tmp_path, stack.model_copy(update={"server": server})) as served,
        triton.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client,
    ):
        running = asyncio.create_task(client.infer("bands", [tensor]))
        while not served.upstreams.drain.open:
            assert not running.done()
            await asyncio.sleep(0.01)
        draining = asyncio.create_task(served.upstreams.drain.run(60))
        while not served.upstreams.drain.closed:
            assert not await client.is_server_ready()
            await asyncio.sleep(0.1)
        with pytest.raises(InferenceServerException) as refused:
            await client.infer("bands", [tensor])
        assert refused.value.status() == "StatusCode.UNAVAILABLE"
        assert "the server is stopping" in str(refused.value.message())
        answer = await running
        assert answer.as_numpy("labels").tolist() == [b"9"]
        assert await draining == 0
