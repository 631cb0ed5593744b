"""Faults: engines die, clients leave, queues are full. The ingress runs without Ray."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.config.stack import Stack
from serve.dataplane.router import Target
from serve.engines.launch import Launch, launch
from serve.engines.process import EngineProcess
from serve.ports import free_port
from tests.support.local_stage import Local, local
from tests.support.scripted import echo_stack, make_artifacts
from variants.artifacts.store import use_lock
from variants.errors import EngineError, IntegrityError

pytestmark = pytest.mark.integration


def limited(stack: Stack, **limits: float) -> Stack:
    """The stack with other limits for its text model."""
    model = stack.models["echo"]
    changed = model.model_copy(update={"limits": model.limits.model_copy(update=limits)})
    return stack.model_copy(update={"models": {**stack.models, "echo": changed}})


def ask(model: str = "echo", **fields: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "a b c d", "max_tokens": 4, "ignore_eos": True, **fields}


async def counted(served: Local, *samples: str) -> list[float]:
    """Values of echo@int8 in `/metrics` since this process began."""
    text = (await served.client.get("/metrics")).text
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels == {"model": "echo", "variant": "int8"}
    }
    return [values.get(f"understudy_{sample}", 0.0) for sample in samples]


STREAMED = ("time_to_first_token_seconds_count", "time_per_output_token_seconds_count", "output_tokens_total")


async def test_a_dead_engine_means_fallback_for_the_routed_and_an_error_for_the_pinned(tmp_path: Path) -> None:
    async with local(tmp_path, echo_stack(free_port())) as served:
        served.engine("echo", "baseline").process.send_signal(signal.SIGKILL)
        await served.engine("echo", "baseline").process.wait()
        answers = [await served.client.post("/v1/completions", json=ask()) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        reasons = [answer.headers["x-understudy-reason"] for answer in answers]
        assert "fallback" in reasons
        pinned = await served.client.post("/v1/completions", json=ask("echo@baseline"))
        assert pinned.status_code in (502, 503)
        health = await served.client.get("/v2/health/ready")
        assert health.status_code == 200  # the model is ready, by its other variant
        assert set(health.json()["models"]["echo"]["down"]) == {"baseline"}


async def test_an_engine_that_dies_in_mid_stream_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    async with local(tmp_path, echo_stack(free_port(), token_s=0.05)) as served:
        body = ask("echo@int8", max_tokens=100, stream=True)
        lines, before = [], await counted(served, *STREAMED)
        async with served.client.stream("POST", "/v1/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                lines.append(line)
                if len(lines) == 5:
                    served.engine("echo", "int8").process.send_signal(signal.SIGKILL)
        assert '"engine_error"' in [line for line in lines if line][-1]
        text = (await served.client.get("/metrics")).text
        assert 'model="echo",reason="pinned",status="502",variant="int8"' in text
        first, each, tokens = map(float.__sub__, await counted(served, *STREAMED), before)
        assert (first, each, tokens) == (1, 1, sum('"text"' in line for line in lines))


async def test_a_full_queue_answers_429_and_time_out_504(tmp_path: Path) -> None:
    stack = limited(echo_stack(free_port(), first_token_s=1.5), concurrency=1, queue=1, timeout_s=2.0)
    async with local(tmp_path, stack) as served:
        (before,) = await counted(served, "request_seconds_count")
        calls = [served.client.post("/v1/completions", json=ask("echo@int8")) for _ in range(4)]
        answers = await asyncio.gather(*calls)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 429, 429, 504]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "overloaded"
        assert {answer.headers["x-understudy-variant"] for answer in answers} == {"int8"}
        # Requests that are refused at once have no latency.
        assert await counted(served, "request_seconds_count") == [before + 2]


async def test_a_client_that_leaves_frees_its_turn(tmp_path: Path) -> None:
    stack = limited(echo_stack(free_port(), token_s=0.05), concurrency=1)
    async with local(tmp_path, stack) as served:
        body = ask("echo@int8", max_tokens=1000, stream=True)
        async with served.client.stream("POST", "/v1/completions", json=body) as answer:
            async for _ in answer.aiter_lines():
                break
        upstream = served.upstreams.by_model["echo"]["int8"]
        async with asyncio.timeout(5):
            while upstream.running:
                await asyncio.sleep(0.02)
        assert (await served.client.post("/v1/completions", json=ask("echo@int8"))).status_code == 200
        assert 'status="499"' in (await served.client.get("/metrics")).text


async def test_a_stream_whose_client_leaves_counts_as_far_as_it_came(tmp_path: Path) -> None:
    async with local(tmp_path, echo_stack(free_port(), token_s=0.05)) as served:
        before, seen = await counted(served, *STREAMED), 0
        body = ask("echo@int8", max_tokens=1000, stream=True)
        async with served.client.stream("POST", "/v1/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                seen += bool(line)
                if seen == 3:
                    break
        upstream = served.upstreams.by_model["echo"]["int8"]
        async with asyncio.timeout(5):
            while upstream.running:
                await asyncio.sleep(0.02)
        first, each, tokens = map(float.__sub__, await counted(served, *STREAMED), before)
        assert (first, each) == (1, 1)
        assert 3 <= tokens < 1000


async def test_an_engine_that_goes_while_requests_wait_for_it(tmp_path: Path) -> None:
    """Nothing was sent to it yet: another variant answers routed requests, and pinned ones get 503 with Retry-After."""
    async with local(tmp_path, limited(echo_stack(free_port()), concurrency=1)) as served:
        upstream = served.upstreams.by_model["echo"]["baseline"]
        clients = (f"client-{number}" for number in range(100))
        client = next(name for name in clients if served.upstreams.preferred(Target("echo"), name)[0] is upstream)
        async with upstream.admitted():
            routed = asyncio.create_task(served.client.post("/v1/completions", json=ask(user=client)))
            pinned = asyncio.create_task(served.client.post("/v1/completions", json=ask("echo@baseline")))
            async with asyncio.timeout(10):
                while upstream.waiting < 2:
                    await asyncio.sleep(0.02)
                await served.engine("echo", "baseline").stop()
                while upstream.endpoint is not None:
                    await asyncio.sleep(0.02)
        answer = await routed
        assert (answer.status_code, answer.headers["x-understudy-variant"]) == (200, "int8")
        assert answer.headers["x-understudy-reason"] == "fallback"
        refused = await pinned
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "stopped while the request waited" in refused.json()["error"]["message"]


async def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    stack = echo_stack(startup_s=0.0)
    artifact = make_artifacts(tmp_path, stack)["echo", "int8"]
    gone = tmp_path / "alone" / "gone"
    how = launch(stack.models["echo"].variants["int8"].engine, gone, artifact.manifest, "echo@int8")
    with pytest.raises(IntegrityError, match=r"gone has no manifest\.json: it is not an artifact"):
        await EngineProcess("echo@int8", how, tmp_path / "log").start()
    assert not use_lock(gone).exists()
    unheld = Launch(how.command, how.environment)
    with pytest.raises(EngineError, match=r"echo@int8 ended with code [1-9].*see .*log"):
        await EngineProcess("echo@int8", unheld, tmp_path / "log").start()
