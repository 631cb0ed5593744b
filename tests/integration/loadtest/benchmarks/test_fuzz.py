"""`make fuzz` finds the faults of a small server, and shows the requests for them."""

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from loadtest.benchmarks.fuzz import Plan, fuzz, table
from loadtest.errors import LoadError

pytestmark = pytest.mark.integration
PATHS = (
    "/right",
    "/wrong",
    "/busy",
    "/busy-for-ever",
    "/alone",
    "/undocumented",
    "/other-type",
    "/other-shape",
    "/lax",
)
ANSWERED = {"200": {"description": "An answer.", "content": {"application/json": {"schema": {"required": ["number"]}}}}}
BUSY = {"503": {"description": "Busy.", "content": {"application/json": {"schema": {}}}}}
REFUSED = {"400": {"description": "Refused."}, "405": {"description": "Not allowed."}}
ASKED = {"type": "object", "required": ["number"], "properties": {"number": {"type": "integer"}}}


def operation(path: str) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": ASKED}}}
    return {"post": {"requestBody": body, "responses": ANSWERED | REFUSED | BUSY}}


async def answer(request: Request) -> Response:
    """Each path but `/right` has a fault, for numbers above 9 or always."""
    try:
        document = json.loads(await request.body())
    except ValueError:
        return JSONResponse({}, 400)
    number = document.get("number") if isinstance(document, dict) else None
    right = isinstance(number, int) and not isinstance(number, bool)
    match request.url.path:
        case "/lax":
            return JSONResponse({"number": 1})
        case _ if not right:
            return JSONResponse({}, 400)
        case "/wrong" if number > 9:
            raise ValueError(number)
        case "/busy":
            return JSONResponse({}, 503, {"retry-after": "1"})
        case "/busy-for-ever":
            return JSONResponse({}, 503)
        case "/alone":
            return JSONResponse({"error": "the controller does not answer: it"}, 503, {"retry-after": "1"})
        case "/undocumented":
            return JSONResponse({}, 418)
        case "/other-type":
            return PlainTextResponse("1")
        case "/other-shape":
            return JSONResponse({})
    return JSONResponse({"number": number})


@contextmanager
def serving(paths: Iterable[str] = PATHS, ready: bool = True) -> Iterator[str]:
    async def document(request: Request) -> Response:
        described = {path: operation(path) for path in paths}
        return JSONResponse({"openapi": "3.1.0", "info": {"title": "", "version": "1"}, "paths": described})

    async def health(request: Request) -> Response:
        return JSONResponse({}, 200 if ready else 503)

    app = Starlette(
        routes=[
            *(Route(path, answer, methods=["POST"]) for path in paths),
            Route("/openapi.json", document),
            Route("/v2/health/ready", health),
        ]
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_each_fault_is_noted_with_its_request() -> None:
    with serving() as url:
        fuzzed = fuzz(url, Plan(cases=1, examples=5))
    noted = {(failure.operation, failure.check, failure.status) for failure in fuzzed.failures.values()}
    assert noted == {
        ("POST /wrong", "holds", "500"),
        ("POST /wrong", "status_code_conformance", "500"),
        ("POST /busy-for-ever", "holds", "503"),
        ("POST /alone", "holds", "503"),
        ("POST /undocumented", "status_code_conformance", "418"),
        ("POST /other-type", "content_type_conformance", "200"),
        ("POST /other-shape", "response_schema_conformance", "200"),
        ("POST /lax", "negative_data_rejection", "200"),
    }
    (wrong,) = (each for each in fuzzed.failures.values() if (each.operation, each.check) == ("POST /wrong", "holds"))
    assert wrong.curl.startswith("curl -X POST")
    assert wrong.curl.endswith(f"{url}/wrong")
    assert wrong.curl in table(fuzzed)
    assert fuzzed.cases == sum(sum(counts.values()) for counts in fuzzed.answers.values())
    assert fuzzed.answers["POST /right"]["200"] > 0
    assert fuzzed.answers["POST /right"]["400"] > 0


def test_the_same_seed_sends_the_same_and_rounds_go_on_until_there_are_enough_cases() -> None:
    with serving(["/right", "/wrong"]) as url:
        first, again = (fuzz(url, Plan(cases=80, seed=7, examples=5)) for _ in range(2))
        other = fuzz(url, Plan(cases=80, seed=8, examples=5))
    assert first.cases >= 80
    assert first.rounds > 1
    assert first.figures() == again.figures()
    assert first.figures()["failures"] != other.figures()["failures"] or first.answers != other.answers


def test_a_server_that_is_not_ready_afterwards_is_an_error() -> None:
    with serving(["/right"], ready=False) as url, pytest.raises(LoadError, match="not ready any more"):
        fuzz(url, Plan(cases=1, examples=1))
