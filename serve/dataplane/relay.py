"""Carries one request to the engine of its variant and the engine's bytes back to the client.

The way out is bytes: what the engine has encoded is copied, never parsed and encoded again (docs/decisions.md has the
measurement behind it). Per chunk this takes a time and copies. Three things are added to a text stream: usage is always
asked for, and its frame withheld from a client that did not ask; where it is withheld, the last frame gets the
`system_fingerprint` that it would have carried.

If the engine cannot be reached, or goes away while the request waits for its turn, nothing has been sent yet, so a
routed request falls back to another variant. Once the first byte is out, a broken stream ends with an error frame.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
from starlette.types import Message, Receive, Send

from serve.dataplane.accounting import Accounting
from serve.dataplane.call import Answer, Call, ReplayFailed, Reply, UpstreamGone
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.errors import CLIENT_WENT_AWAY, NotReady, TimedOut, openai_body
from serve.protocols.answer_id import HEADER as ID
from serve.protocols.answer_id import issue
from serve.protocols.open_inference import HEADER_LENGTH
from variants.errors import EngineError

FETCH_TIMEOUT = aiohttp.ClientTimeout(total=10)
UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
PASSED_ON = ("content-type", "content-length", HEADER_LENGTH)
LAST_FRAME_S = 5.0
"""For so long a client is offered the frame that ends a broken stream."""


class Relay:
    """Holds the pool of connections to the engines of this machine."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self.accounting = Accounting(upstreams)
        self.session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool. Call from a running event loop."""
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=None, connect=5),
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept-encoding"),
        )

    async def stop(self) -> None:
        if self.session is not None:
            await self.session.close()

    async def fetch(self, upstream: Upstream, path: str) -> dict[str, Any]:
        """A JSON document that the engine of a upstream gives out. Raises EngineError, NotReady."""
        assert self.session is not None
        if upstream.endpoint is None:
            raise NotReady(f"{upstream.name} is not ready", mend="try again shortly")
        try:
            async with self.session.get(upstream.endpoint.url + path, timeout=FETCH_TIMEOUT) as engine:
                engine.raise_for_status()
                return dict(await engine.json())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError(f"the engine of {upstream.name} did not answer: {error}") from error

    async def ask_out_of_band(self, upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Ask an engine for something that no client waits for: it takes no turn. Raises NotReady where there is
        no engine to ask, Unanswered."""
        assert self.session is not None
        if upstream.endpoint is None:
            raise NotReady(f"{upstream.name} is not ready")
        try:
            async with self.session.post(upstream.endpoint.url + path, data=body, headers=headers) as engine:
                found = await engine.read()
        except UNREACHABLE as error:
            upstream.lost()
            raise NotReady(f"the engine of {upstream.name} is gone: {error}") from error
        except aiohttp.ClientError as error:
            raise ReplayFailed(f"the engine of {upstream.name} broke off: {error}") from error
        if engine.status != 200:
            said = found[:200].decode(errors="replace")
            refused = 400 <= engine.status < 500
            raise ReplayFailed(f"the engine of {upstream.name} answered {engine.status}: {said}", refused)
        return Reply(found, engine.headers.get(HEADER_LENGTH))

    async def carry(self, call: Call, answer: Answer, receive: Receive, send: Send) -> None:
        """Assign, admit, ask, copy, in one limit of time. Fills in `call`. Raises what `serve.errors` has a status
        for."""
        excluding: set[str] = set()
        began, first = time.perf_counter(), None
        async with cancelled_by_disconnect(call, receive):
            while True:
                try:
                    call.upstream, call.assignment = self.upstreams.place(call.target, call.client, excluding)
                except NotReady:
                    self.accounting.unplaced(call)
                    if first is not None:  # nobody answered: it counts with whom it was placed first
                        call.upstream, call.assignment = first
                    raise
                first = first or (call.upstream, call.assignment)
                if not excluding and self.upstreams.all_up(call.target.model):
                    self.accounting.assigned(call.assignment, call.client)
                if call.target.variant:
                    call.upstream.pinned()
                left_s = call.upstream.served.limits.timeout_s - (time.perf_counter() - began)
                try:
                    return await self.ask(call, call.upstream, left_s, answer, send)
                except UNREACHABLE as error:
                    # Nothing was sent: the engine has gone, the upstreams shall know, another variant may answer.
                    call.upstream.lost()
                    if call.target.variant:
                        raise EngineError(f"the engine of {call.upstream.name} cannot be reached") from error
                except UpstreamGone:
                    if call.target.variant:
                        raise
                excluding.add(call.assignment.variant)

    async def ask(self, call: Call, upstream: Upstream, left_s: float, answer: Answer, send: Send) -> None:
        assert self.session is not None
        try:
            async with asyncio.timeout(left_s), upstream.admitted():
                if upstream.endpoint is None:
                    raise UpstreamGone(f"{upstream.name} went away while the request waited", mend="try again shortly")
                path, body = call.ask(upstream)
                async with self.session.post(upstream.endpoint.url + path, data=body, headers=call.headers) as engine:
                    await copy(call, engine, answer, send)
        except UNREACHABLE:
            raise
        except TimeoutError:
            if call.offering:  # the client did not take what was there: as if it had gone
                call.status = CLIENT_WENT_AWAY
                return
            fault = TimedOut(f"{upstream.name} did not finish within {upstream.served.limits.timeout_s:g} s")
            await break_off(call, fault, send)
        except aiohttp.ClientError as error:
            await break_off(call, EngineError(f"the engine of {upstream.name} broke off: {error}"), send)


def names_of(call: Call) -> dict[str, str]:
    """The headers that say who answers, or was to answer; none before a variant was chosen."""
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
    """Send the engine's status, headers and bytes on as they come."""
    call.status = engine.status
    headers = [(name.encode(), engine.headers[name].encode()) for name in PASSED_ON if name in engine.headers]
    headers += [(name.encode(), value.encode()) for name, value in names_of(call).items()]
    await offer(call, send, {"type": "http.response.start", "status": engine.status, "headers": headers})
    call.started = True
    answer.begin(engine.headers)
    now = time.perf_counter
    async for data in engine.content.iter_any():
        out = answer.chunk(data, now())
        if out:
            await offer(call, send, {"type": "http.response.body", "body": out, "more_body": True})
    await offer(call, send, {"type": "http.response.body", "body": answer.end(), "more_body": False})


async def offer(call: Call, send: Send, message: Message) -> None:
    """Send one piece; where the client takes it too slowly to be done in time, `call` says that it was on offer."""
    call.offering = True
    await send(message)
    call.offering = False


async def break_off(call: Call, error: TimedOut | EngineError, send: Send) -> None:
    """Before the first byte the error is the answer; in a stream it is the last frame, if the client takes it."""
    if not call.started:
        raise error
    call.status = 502 if isinstance(error, EngineError) else 504
    if not call.streamed:
        raise error
    frame = b"data: " + openai_body(error) + b"\n\n"
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_FRAME_S):
            await send({"type": "http.response.body", "body": frame, "more_body": False})


@asynccontextmanager
async def cancelled_by_disconnect(call: Call, receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client goes away, so that the engine stops working for nobody."""
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
