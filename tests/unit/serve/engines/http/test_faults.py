"""A defect in an engine is one answer 500, and its connection goes on."""

import asyncio
import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from serve.engines.http.faults import AnswerFaults


async def fails(request: Request) -> Response:
    raise RuntimeError("a defect")


async def breaks(request: Request) -> Response:
    async def parts() -> Any:
        yield b"a"
        raise RuntimeError("a defect")

    return StreamingResponse(parts())


async def answers(request: Request) -> Response:
    return PlainTextResponse("fine")


async def bare(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("a defect")


ROUTES = [Route("/fails", fails), Route("/breaks", breaks), Route("/answers", answers)]


def ask(app: Any, path: str) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": [], "query_string": b"",
        "root_path": "", "scheme": "http", "server": ("a", 1), "client": ("b", 2), "http_version": "1.1",
        "asgi": {"spec_version": "2.4"},
    }  # fmt: skip
    asyncio.run(AnswerFaults(app)(scope, receive, send))
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent)


@pytest.mark.parametrize(("path", "shape"), [("/v1/completions", dict), ("/v2/models/m/infer", str)])
def test_what_an_app_raises_is_answered_in_the_protocols_shape(path: str, shape: type) -> None:
    status, body = ask(bare, path)
    assert status == 500
    assert isinstance(json.loads(body)["error"], shape)


def test_what_starlette_has_answered_and_raises_again_ends_here() -> None:
    assert ask(Starlette(routes=ROUTES), "/fails") == (500, b"Internal Server Error")
    assert ask(Starlette(routes=ROUTES), "/answers") == (200, b"fine")


def test_an_answer_that_breaks_off_reaches_the_server_which_closes_the_connection() -> None:
    with pytest.raises(RuntimeError, match="a defect"):
        ask(Starlette(routes=ROUTES), "/breaks")
