"""Relays one request to the engine of its variant and the engine's bytes to the client.

The engine's bytes are copied, never parsed and encoded again (measured in docs/decisions.md). Each chunk costs one
clock reading and a copy. A text stream differs in three ways. Usage is always requested. Its frame is withheld from a
client that did not request it. Then the last frame gets the `system_fingerprint` of the withheld frame.

If the engine cannot be reached, or stops while the request is queued, nothing has been sent yet, so a routed request
falls back to another variant. After the first byte, a broken stream ends with an error frame.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
from starlette.types import Message, Receive, Send

from serve import traces
from serve.dataplane.accounting import Accounting
from serve.dataplane.body_worker import apart
from serve.dataplane.call import Answer, Call, ReplayFailed, Reply, UpstreamGone
from serve.dataplane.fair_queue import holders_of
from serve.dataplane.memory import Memory
from serve.dataplane.second_opinion import SecondOpinion
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.engines.http.secret import UNAUTHORIZED
from serve.errors import CLIENT_WENT_AWAY, NotReady, TimedOut, openai_body, status_of
from serve.protocols.answer_id import HEADER as ID
from serve.protocols.answer_id import issue
from serve.protocols.open_inference import HEADER_LENGTH
from variants.errors import EngineError

FETCH_TIMEOUT = aiohttp.ClientTimeout(total=10)
UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
PASSED_ON = ("content-type", "content-length", HEADER_LENGTH)
WITHOUT_LENGTH = tuple(name for name in PASSED_ON if name != "content-length")
"""For an answer that gets another model name, and so another length."""
LAST_FRAME_S = 5.0
"""Time limit for sending the error frame that ends a broken stream."""


class Relay:
    """Relays requests over a pool of connections to the engines of this machine. `memory` bounds what it keeps of
    requests that have ended."""

    def __init__(self, upstreams: Upstreams, memory: Memory | None = None) -> None:
        self.upstreams = upstreams
        self.second_opinion = SecondOpinion(self.ask_out_of_band, memory or Memory(sys.maxsize))
        self.accounting = Accounting(upstreams, self.second_opinion)
        self.session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool. Requires a running event loop."""
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=None, connect=5),
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept-encoding"),
        )

    async def stop(self) -> None:
        self.second_opinion.stop()
        if self.session is not None:
            await self.session.close()

    async def fetch(self, upstream: Upstream, path: str) -> dict[str, Any]:
        """A JSON document of an upstream's engine. Raises EngineError, NotReady."""
        assert self.session is not None
        if upstream.endpoint is None:
            raise NotReady(f"{upstream.name} is not ready", mend="try again shortly")
        try:
            url, headers = upstream.endpoint.url + path, upstream.endpoint.headers
            async with self.session.get(url, headers=headers, timeout=FETCH_TIMEOUT) as engine:
                engine.raise_for_status()
                return dict(await engine.json())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError(f"the engine of {upstream.name} did not answer: {error}") from error

    async def ask_out_of_band(self, upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Ask an engine outside the queue, for work that no client waits for. Raises NotReady where there is no engine,
        ReplayFailed."""
        assert self.session is not None
        if upstream.endpoint is None:
            raise NotReady(f"{upstream.name} is not ready")
        try:
            with traces.span("engine", "CLIENT", variant=upstream.name):
                url = upstream.endpoint.url + path
                headers = headers | upstream.endpoint.headers | traces.carried()
                async with self.session.post(url, data=body, headers=headers) as engine:
                    check_is_ours(upstream, engine)
                    content = await engine.read()
        except UNREACHABLE as error:
            upstream.lost()
            raise NotReady(f"the engine of {upstream.name} cannot be reached: {error}") from error
        except aiohttp.ClientError as error:
            raise ReplayFailed(f"the connection to {upstream.name} failed: {error}") from error
        if engine.status != 200:
            excerpt = content[:200].decode(errors="replace")
            refused = 400 <= engine.status < 500
            raise ReplayFailed(f"the engine of {upstream.name} answered {engine.status}: {excerpt}", refused)
        return Reply(content, engine.headers.get(HEADER_LENGTH))

    async def carry(self, call: Call, answer: Answer, receive: Receive, send: Send) -> None:
        """Assign, admit, ask and copy; fills in `call`. One time limit holds, from the first byte of the request.

        Raises errors that `serve.errors` maps to a status."""
        excluding: set[str] = set()
        first = None
        self.accounting.routed(call)
        async with cancelled_by_disconnect(call, receive):
            while True:
                try:
                    placed = self.upstreams.place(call.target, call.client, excluding, call.needs)
                    call.upstream, call.assignment = placed
                except NotReady:
                    self.accounting.unplaced(call)
                    if first is not None:  # no variant answered: count the request for its first assignment
                        call.upstream, call.assignment = first
                    raise
                if first is None:
                    first = placed
                    call.version = self.upstreams.snapshot.traffic[call.target.model].version
                if not excluding and self.upstreams.all_up(call.target.model):
                    self.accounting.assigned(call.assignment, call.client, call.key)
                if call.target.variant:
                    call.upstream.pinned()
                left_s = call.upstream.served.limits.timeout_s - (time.perf_counter() - call.arrived)
                try:
                    return await self.ask(call, call.upstream, left_s, answer, send)
                except UNREACHABLE as error:
                    # Nothing was sent, so another variant may answer.
                    call.upstream.lost()
                    if call.target.variant:
                        raise EngineError(f"the engine of {call.upstream.name} cannot be reached") from error
                except UpstreamGone:
                    if call.target.variant:
                        raise
                excluding.add(call.assignment.variant)

    async def ask(self, call: Call, upstream: Upstream, left_s: float, answer: Answer, send: Send) -> None:
        assert self.session is not None
        admitted = False
        try:
            async with self.upstreams.drain.limit(left_s), upstream.admitted(holders_of(call.key, call.client)):
                if upstream.endpoint is None:
                    raise UpstreamGone(f"{upstream.name} stopped while the request waited", mend="try again shortly")
                path, body = await apart(call.size, call.ask, upstream)
                admitted = True
                with traces.span("engine", "CLIENT", variant=upstream.name):
                    url = upstream.endpoint.url + path
                    headers = call.headers | upstream.endpoint.headers | traces.carried()
                    async with self.session.post(url, data=body, headers=headers) as engine:
                        check_is_ours(upstream, engine)
                        await copy(call, engine, answer, send)
                self.upstreams.note(upstream, failed=call.status >= 500)
        except UNREACHABLE:
            raise
        except TimeoutError:
            if call.offering:  # the client did not read the answer: count it like a client that left
                call.status = CLIENT_WENT_AWAY
                return
            if self.upstreams.drain.over:
                await break_off(call, self.upstreams.drain.fault(), send)
                return
            if admitted:  # a request that waited too long says nothing of the engine
                self.upstreams.note(upstream, failed=True)
            late = TimedOut(f"{upstream.name} did not finish within {upstream.served.limits.timeout_s:g} s")
            await break_off(call, late, send)
        except aiohttp.ClientError as error:
            self.upstreams.note(upstream, failed=True)
            await break_off(call, EngineError(f"the connection to {upstream.name} failed: {error}"), send)


def check_is_ours(upstream: Upstream, engine: aiohttp.ClientResponse) -> None:
    """Raises UpstreamGone if another engine answers at this address, which then refused the secret."""
    if engine.status == UNAUTHORIZED:
        upstream.lost()
        raise UpstreamGone(f"the engine of {upstream.name} has ended", mend="try again shortly")


def names_of(call: Call) -> dict[str, str]:
    """The headers that name the chosen variant; empty before one was chosen."""
    if call.upstream is None or call.assignment is None:
        return {}
    return {
        "x-understudy-variant": call.assignment.variant,
        "x-understudy-reason": call.assignment.reason,
        "x-understudy-artifact": call.upstream.manifest.digest,
        ID: issue(
            call.assignment.model,
            call.assignment.variant,
            call.upstream.manifest.digest,
            call.assignment.reason,
            call.request_id,
        ),
    }


async def copy(call: Call, engine: aiohttp.ClientResponse, answer: Answer, send: Send) -> None:
    """Copy the engine's status, headers and bytes to the client as they arrive."""
    call.status = engine.status
    passed_on = PASSED_ON if call.shown_as is None else WITHOUT_LENGTH
    headers = [(name.encode(), engine.headers[name].encode()) for name in passed_on if name in engine.headers]
    headers += [(name.encode(), value.encode()) for name, value in names_of(call).items()]
    await offer(call, send, {"type": "http.response.start", "status": engine.status, "headers": headers})
    call.started = True
    answer.begin(engine.headers)
    now = time.perf_counter
    async for data in engine.content.iter_any():
        out = answer.chunk(data, now())
        if out:
            await offer(call, send, {"type": "http.response.body", "body": out, "more_body": True})
    await offer(call, send, {"type": "http.response.body", "body": await answer.end(), "more_body": False})


async def offer(call: Call, send: Send, message: Message) -> None:
    """Send one piece; `call.offering` stays True if a timeout interrupts it because the client reads too slowly."""
    call.offering = True
    await send(message)
    call.offering = False


async def break_off(call: Call, error: TimedOut | EngineError | NotReady, send: Send) -> None:
    """Raise `error` unless a stream has begun; there, send it as the last frame, if the client reads it in time."""
    if not call.started:
        raise error
    call.status = status_of(error)
    if not call.streamed:
        raise error
    frame = b"data: " + openai_body(error) + b"\n\n"
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_FRAME_S):
            await send({"type": "http.response.body", "body": frame, "more_body": False})


@asynccontextmanager
async def cancelled_by_disconnect(call: Call, receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client leaves, so that the engine stops its work."""
    work = asyncio.current_task()
    assert work is not None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        call.status = CLIENT_WENT_AWAY
        work.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
