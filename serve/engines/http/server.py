"""How our own engine processes live: their common arguments, their threads, their HTTP server and their end.

The model is loaded before the port is opened, so a connection that is accepted is one that can be
answered, and `GET /health` needs no state. An engine outlives neither SIGTERM nor its parent. Whoever
starts it by hand or from a test gets that too: the parent is watched by its id and not by
PR_SET_PDEATHSIG, which fires when the *thread* that started the child ends.

vLLM's engine has a server of its own and does not come through here.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.engines.http.faults import AnswerFaults
from serve.engines.http.secret import CheckSecret
from serve.errors import status_of
from variants.errors import UnderstudyError

T = TypeVar("T")
UNUSED_PACKAGES = ("sklearn", "pandas", "pyarrow")
PARENT_CHECK_S = 0.5
GRACE_S = 5
KEEP_ALIVE_S = 60
"""Longer than clients keep an idle connection, so that none is closed just as a request goes out on it."""
EVENT_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def arguments(description: str, *, needs_artifact: bool = True) -> argparse.ArgumentParser:
    """The arguments that every engine of ours takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--artifact", type=Path, required=needs_artifact, help="the artifact's folder")
    parser.add_argument("--name", required=True, help="the model's name over HTTP")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1, help="threads that compute (default 1)")
    return parser


def main(build: Callable[[argparse.Namespace], ASGIApp], parser: argparse.ArgumentParser) -> None:
    """Parse, load by `build`, serve until SIGTERM; an UnderstudyError ends in one line and its exit code."""
    options = parser.parse_args()
    exit_with_parent()
    for name in THREAD_SETTINGS:  # before numpy, torch or OpenVINO are imported, which `build` does
        os.environ[name] = str(options.threads)
    try:
        app = build(options)
    except UnderstudyError as error:
        print(f"{options.name}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    uvicorn.run(
        CheckSecret(AnswerFaults(app)),
        host=options.host,
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


def hide_packages() -> None:
    """Have transformers find packages missing that it would import only because they are installed.

    They are for building variants; in an engine they cost 90 MB and seconds. Call it before transformers is
    imported, and never in a process that needs them."""
    for name in UNUSED_PACKAGES:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say "not installed"


def exit_with_parent() -> None:
    """Have this process terminate itself soon after its parent ends, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S + 1)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def health() -> Route:
    async def answer(request: Request) -> Response:
        return Response(status_code=200)

    return Route("/health", answer)


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T | None:
    """The result of `work`, or None, with `work` cancelled, when the client disconnects first.

    Call it once the whole body was read: what `receive` brings next can only be the disconnect."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        task.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def see_log() -> str:
    """Where an operator finds the log of this engine."""
    name = os.environ.get("UNDERSTUDY_LOG")
    return f"see logs/{name} in the server's home" if name else "see its log"


class EngineFault(UnderstudyError):
    """A fault inside the engine itself: 500."""

    code = "engine_fault"


class Whole:
    """A JSON answer that is waited for, unless the client goes away first."""

    def __init__(self, body: Coroutine[Any, Any, bytes]) -> None:
        self.body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await unless_gone(receive, self.body)
        if body is not None:
            await Response(body, media_type="application/json")(scope, receive, send)


class EventStream:
    """An SSE answer whose source is closed as soon as the client has gone.

    Each frame is one write of bytes that are already encoded. The answer starts with its first frame, so a
    source that fails before it still gets an error with a status of its own; one that fails later ends the
    connection without a last chunk, which no client takes for the end of an answer."""

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        self.frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        started = False
        async with aclosing(self.frames) as frames:
            async for frame in frames:
                if not started:
                    await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
                    started = True
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def refusals(body: Callable[[UnderstudyError], bytes]) -> dict[Any, Any]:
    """starlette's exception handlers: every error in the protocol's own shape, which `body` gives.

    What is no UnderstudyError is a fault of ours: a 500 for the client, a traceback for the log."""

    async def refuse(request: Request, error: Exception) -> Response:
        if not isinstance(error, UnderstudyError):
            error = EngineFault("the engine failed on this request", mend=see_log())
        return Response(body(error), status_of(error), media_type="application/json")

    return {UnderstudyError: refuse, Exception: refuse}
