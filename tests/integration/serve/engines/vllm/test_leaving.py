"""A client that leaves vLLM, through the door: vLLM's count of running requests falls to 0 before the answers end.

On the same server: what vLLM says of itself, and its own span in the trace of a client."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serve.config.loader import parse
from serve.engines.figures import PATH, QUERY, read
from serve.engines.process import EngineProcess
from serve.ports import free_port
from tests.integration.serve.engines.engine import write_manifest
from tests.integration.serve.engines.tiny_text import write_tiny_text
from tests.support import local_stage
from tests.support.otlp import Collector, attributes, collecting
from tests.support.scripted import RECIPE, SOURCE
from variants.artifacts.store import open_artifact

pytestmark = pytest.mark.integration
CONTEXT, LIMIT_S = 8192, 60
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WRITTEN = "what the client wrote"
LONG = {"model": "tiny", "max_tokens": CONTEXT - 200, "ignore_eos": True, "temperature": 0}
MESSAGES = [{"role": "user", "content": "a good film"}]
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "a good film", "stream": True}),
    ("/v1/completions", {"prompt": "a good film"}),
    ("/v1/completions", {"prompt": ["a good film", "a bad film"], "n": 2, "temperature": 1}),
    ("/v1/chat/completions", {"messages": MESSAGES, "stream": True, "n": 2, "temperature": 1}),
    ("/v1/chat/completions", {"messages": MESSAGES}),
]


async def told(engine: EngineProcess) -> Any:
    """Its `Figures`, each of them a number, of a text that has nothing else."""
    async with (
        aiohttp.ClientSession(headers=engine.headers) as session,
        session.get(engine.url + PATH, params=QUERY) as answer,
    ):
        text = await answer.text()
    figures = read(text)
    assert None not in figures
    assert figures.steps
    assert set(re.findall(r"^([\w:]+)", text, re.MULTILINE)) == {name for _, name in QUERY}
    return figures


async def check_trace(served: local_stage.Local, collector: Collector) -> None:
    """vLLM's span stands below ours, in the trace of the caller, and has no text of the client."""
    body = LONG | {"prompt": WRITTEN, "max_tokens": 2, "request_id": WRITTEN}
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    answer = await served.client.post("/v1/completions", json=body, headers=headers, timeout=60)
    assert answer.json()["usage"]["completion_tokens"] == 2
    spans = await collector.until("llm_request", "engine", "POST /v1/completions", trace=TRACE)
    assert spans["llm_request"].parent_span_id == spans["engine"].span_id
    assert attributes(spans["llm_request"])["gen_ai.usage.completion_tokens"] == 2
    assert WRITTEN.encode() not in collector.bytes
    assert {span.name for span in collector.spans} <= {"llm_request", "engine", "queue", "replay", *map(posted, ASKED)}


def posted(asked: tuple[str, dict[str, Any]]) -> str:
    """The name of our span of such a request."""
    return f"POST {asked[0]}"


async def test_vllm_ends_what_nobody_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    folder = tmp_path / "artifacts" / "00" / "tiny"
    write_tiny_text(folder / "model", CONTEXT)
    write_manifest(folder)
    engine = {"kind": "vllm", "context": CONTEXT, "kv_cache_mib": 64, "sequences": 8}
    variants = {"baseline": {"recipe": RECIPE, "weight": 1, "engine": engine}}
    model = {"task": "text-generation", "source": SOURCE, "variants": variants}
    artifacts = {("tiny", "baseline"): open_artifact(folder)}
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(collecting())
        server = {"port": free_port(), "traces": {"endpoint": collector.endpoint}}
        parsed = parse({"schema": 1, "server": server, "models": {"tiny": model}})
        served = await stack.enter_async_context(local_stage.local(tmp_path, parsed, artifacts))
        process = served.engine("tiny", "baseline")
        for path, body in ASKED:
            before = (await told(process)).step_tokens
            choices = int(body.get("n", 1)) * (2 if isinstance(body.get("prompt"), list) else 1)
            leaving = asyncio.create_task(served.client.post(path, json=LONG | body, timeout=600))
            async with asyncio.timeout(LIMIT_S):
                while (await told(process)).running < choices:
                    assert not leaving.done(), leaving.result().text
                    await asyncio.sleep(0.02)
                leaving.cancel()
                while (await told(process)).running:
                    await asyncio.sleep(0.02)
            after = await told(process)
            assert after.step_tokens - before < 0.9 * LONG["max_tokens"] * choices  # it did not end by itself
            assert (after.waiting, after.kv_cache_usage) == (0, 0)
        await check_trace(served, collector)
