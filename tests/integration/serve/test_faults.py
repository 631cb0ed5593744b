"""What happens when engines die, clients leave and queues are full: the ingress without Ray before it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from serve.engines.launch import Launch, launch
from serve.engines.process import EngineProcess, free_port
from serve.fleet import Endpoint, Fleet
from serve.ingress import build_ingress
from serve.request_id import IssueRequestId
from serve.stack import Stack
from tests.scripted import make_artifacts, make_stack
from variants.errors import EngineError, IntegrityError

pytestmark = pytest.mark.integration
Engines = dict[tuple[str, str], EngineProcess]


@asynccontextmanager
async def ingress(home: Path, stack: Stack) -> AsyncIterator[tuple[httpx.AsyncClient, Engines, Fleet]]:
    """The ingress under plain uvicorn, over real engine processes."""
    artifacts = make_artifacts(home, stack)
    engines: Engines = {}
    for (model, variant), artifact in artifacts.items():
        name = f"{model}@{variant}"
        how = launch(stack.models[model].variants[variant].engine, artifact.path, artifact.manifest, name)
        engines[model, variant] = EngineProcess(name, how, home / f"{name}.log")

    def describe(engine: EngineProcess) -> Any:
        async def endpoint() -> Endpoint:
            engine.check()
            return Endpoint(engine.url, 1, 1)

        return endpoint

    manifests = {seat: artifact.manifest for seat, artifact in artifacts.items()}
    await asyncio.gather(*(engine.start() for engine in engines.values()))
    fleet = Fleet(stack, manifests, {seat: describe(engine) for seat, engine in engines.items()})
    app = IssueRequestId(build_ingress(fleet, stack.server), echo=True)
    server = uvicorn.Server(uvicorn.Config(app, port=stack.server.port, log_level="warning"))
    running = asyncio.create_task(server.serve())
    try:
        url = f"http://127.0.0.1:{stack.server.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            while not fleet.ready:
                await asyncio.sleep(0.05)
            yield client, engines, fleet
    finally:
        server.should_exit = True
        await running
        await asyncio.gather(*(engine.stop() for engine in engines.values()))


def limited(stack: Stack, **limits: float) -> Stack:
    """The stack with other limits for its text model."""
    model = stack.models["echo"]
    changed = model.model_copy(update={"limits": model.limits.model_copy(update=limits)})
    return stack.model_copy(update={"models": {**stack.models, "echo": changed}})


def ask(model: str = "echo", **fields: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "a b c d", "max_tokens": 4, "ignore_eos": True, **fields}


async def test_a_dead_engine_means_fallback_for_the_routed_and_an_error_for_the_pinned(tmp_path: Path) -> None:
    async with ingress(tmp_path, make_stack(free_port())) as (client, engines, _):
        engines["echo", "baseline"].process.send_signal(signal.SIGKILL)  # type: ignore[union-attr]
        await engines["echo", "baseline"].process.wait()  # type: ignore[union-attr]
        answers = [await client.post("/v1/completions", json=ask()) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        reasons = [answer.headers["x-understudy-reason"] for answer in answers]
        assert "fallback" in reasons
        pinned = await client.post("/v1/completions", json=ask("echo@baseline"))
        assert pinned.status_code in (502, 503)
        assert (await client.get("/v2/health/ready")).status_code == 503


async def test_an_engine_that_dies_in_mid_stream_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    async with ingress(tmp_path, make_stack(free_port(), token_s=0.05)) as (client, engines, _):
        body = ask("echo@int8", max_tokens=100, stream=True)
        lines = []
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                lines.append(line)
                if len(lines) == 5:
                    engines["echo", "int8"].process.send_signal(signal.SIGKILL)  # type: ignore[union-attr]
        assert '"engine_error"' in [line for line in lines if line][-1]
        counted = (await client.get("/metrics")).text
        assert 'model="echo",reason="pinned",status="502",variant="int8"' in counted


async def test_a_full_queue_answers_429_and_time_out_504(tmp_path: Path) -> None:
    stack = limited(make_stack(free_port(), first_token_s=1.5), concurrency=1, queue=1, timeout_s=2.0)
    async with ingress(tmp_path, stack) as (client, _, _):
        calls = [client.post("/v1/completions", json=ask("echo@int8")) for _ in range(4)]
        answers = await asyncio.gather(*calls)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 429, 429, 504]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "overloaded"
        assert {answer.headers["x-understudy-variant"] for answer in answers} == {"int8"}


async def test_a_client_that_leaves_frees_its_turn(tmp_path: Path) -> None:
    stack = limited(make_stack(free_port(), token_s=0.05), concurrency=1)
    async with ingress(tmp_path, stack) as (client, _, fleet):
        body = ask("echo@int8", max_tokens=1000, stream=True)
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            async for _ in answer.aiter_lines():
                break
        seat = fleet.seats["echo"]["int8"]
        async with asyncio.timeout(5):
            while seat.running:
                await asyncio.sleep(0.02)
        assert (await client.post("/v1/completions", json=ask("echo@int8"))).status_code == 200
        assert 'status="499"' in (await client.get("/metrics")).text


async def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    stack = make_stack(startup_s=0.0)
    artifact = make_artifacts(tmp_path, stack)["echo", "int8"]
    how = launch(stack.models["echo"].variants["int8"].engine, tmp_path / "gone", artifact.manifest, "echo@int8")
    with pytest.raises(IntegrityError, match=r"gone has no manifest\.json: it is not an artifact"):
        await EngineProcess("echo@int8", how, tmp_path / "log").start()
    assert not (tmp_path.parent / ".locks").exists()
    unheld = Launch(how.command, how.environment)
    with pytest.raises(EngineError, match=r"echo@int8 ended with code [1-9].*see .*log"):
        await EngineProcess("echo@int8", unheld, tmp_path / "log").start()
