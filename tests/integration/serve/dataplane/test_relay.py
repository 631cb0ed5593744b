"""The relay between a real engine and clients that read slowly or not at all: which counts change."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.types import Message, Send

from serve.api.answers import TextAnswer
from serve.api.http import carry
from serve.config.snapshot import Judged as Counted
from serve.config.stack import Stack
from serve.dataplane.call import Call
from serve.dataplane.relay import Relay
from serve.dataplane.router import Target
from serve.dataplane.served import Served
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.errors import openai_body
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import echo_stack

pytestmark = pytest.mark.integration
LIMIT_S = 20


class Judged(NamedTuple):
    """A relay over real engines with a text model that is being judged."""

    upstreams: Upstreams
    relay: Relay

    async def stream(self, send: Send, model: str = "echo") -> Call:
        """One streamed request of a client that does not leave."""

        def ask(upstream: Upstream) -> tuple[str, bytes]:
            body = {"model": upstream.served.asked_as, "prompt": "a b c d", "max_tokens": 4, "stream": True}
            return "/v1/completions", json.dumps(body).encode()

        call = Call(Target.parse(model), None, ask, {"content-type": "application/json"}, True, "r")
        async with asyncio.timeout(LIMIT_S):
            answer = TextAnswer(call, show_usage=True)
            await carry(self.relay, call, answer, openai_body, {"type": "http"}, stays, send)
        return call

    def counted(self, variant: str) -> tuple[int, int]:
        """A variant's numbers of routed requests and of failures."""
        digest = self.upstreams.by_model["echo"][variant].manifest.digest
        results = self.relay.accounting.observations.of("echo").served.get(digest, Served())
        return results.requests, results.failed


@asynccontextmanager
async def judged(home: Path, stack: Stack) -> AsyncIterator[Judged]:
    async with local(home, stack) as served:
        served.upstreams.snapshot = replace(served.upstreams.snapshot, judged={"echo": Counted(None)})
        relay = Relay(served.upstreams)
        await relay.start()
        try:
            yield Judged(served.upstreams, relay)
        finally:
            await relay.stop()


def within(stack: Stack, timeout_s: float) -> Stack:
    model = stack.models["echo"]
    limits = model.limits.model_copy(update={"concurrency": 1, "timeout_s": timeout_s})
    return stack.model_copy(update={"models": {**stack.models, "echo": model.model_copy(update={"limits": limits})}})


async def stays() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def takes(message: Message) -> None:
    """A client that reads everything."""


async def takes_no_body(message: Message) -> None:
    if message["type"] == "http.response.body":
        await asyncio.Event().wait()


async def takes_no_error(message: Message) -> None:
    if b'{"error":' in message.get("body", b""):
        await asyncio.Event().wait()


async def test_a_client_that_takes_nothing_is_no_failure_of_the_variant(tmp_path: Path) -> None:
    async with judged(tmp_path, within(echo_stack(free_port()), 0.5)) as ingress:
        call = await ingress.stream(takes_no_body)
        assert call.status == 499
        assert call.upstream is not None
        assert call.upstream.idle
        assert ingress.counted("baseline") == ingress.counted("int8") == (0, 0)
        assert (await ingress.stream(takes)).status == 200


async def test_the_last_frame_of_a_broken_stream_is_not_offered_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.dataplane.relay.LAST_FRAME_S", 0.2)
    async with judged(tmp_path, within(echo_stack(free_port(), token_s=60.0), 0.5)) as ingress:
        began = time.monotonic()
        call = await ingress.stream(takes_no_error, "echo@int8")
        assert call.status == 504
        assert time.monotonic() - began < 10


async def test_where_nobody_is_left_it_counts_once_with_whom_it_was_placed_first(tmp_path: Path) -> None:
    async with judged(tmp_path, within(echo_stack(free_port()), 30)) as ingress:
        baseline, int8 = (ingress.upstreams.by_model["echo"][name] for name in ("baseline", "int8"))
        int8.served = replace(int8.served, weight=1e-9)
        async with asyncio.timeout(LIMIT_S), baseline.admitted(), int8.admitted():
            asked = asyncio.create_task(ingress.stream(takes))
            while not baseline.waiting:
                await asyncio.sleep(0.01)
            await ingress.upstreams.stop()  # the endpoints are no longer refreshed
            baseline.endpoint = None
            baseline.turn.release()
            while not int8.waiting:
                await asyncio.sleep(0.01)
            int8.endpoint = None
        call = await asked
        assert call.status == 503
        assert call.assignment is not None
        assert (call.assignment.variant, call.assignment.reason) == ("baseline", "weight")
        assert (ingress.counted("baseline"), ingress.counted("int8")) == ((1, 1), (0, 0))
