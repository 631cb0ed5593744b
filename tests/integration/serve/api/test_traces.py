"""One request is one trace, from the caller through ingress, queue and engine to the comparison that follows."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serve import logs, traces
from serve.config.loader import parse
from serve.ports import free_port
from tests.support.family import Family
from tests.support.local_stage import Local, local
from tests.support.otlp import Collector, attributes, collecting

pytestmark = pytest.mark.integration
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WRITTEN = "what the client wrote"


@asynccontextmanager
async def traced(home: Path, **settings: Any) -> AsyncIterator[tuple[Local, Collector]]:
    """A server that compares int8 with each request, and sends its spans here."""
    family = Family(home, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    document = family.stack.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["server"]["access_log"] = True
    document["models"]["echo"]["traffic"] = {"shadows": {"int8": 1.0}}
    async with collecting() as collector:
        document["server"] |= settings and {"traces": {"endpoint": collector.endpoint, **settings}}
        async with local(home, parse(document), family.artifacts) as served:
            yield served, collector


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


async def complete(served: Local, **headers: str) -> None:
    body = {"model": "echo", "prompt": WRITTEN, "max_tokens": 4, "temperature": 0}
    assert (await served.client.post("/v1/completions", json=body, headers=headers)).status_code == 200


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Path]:
    """The file that this process logs into."""
    log, before = logging.getLogger("understudy"), logging.getLogger("understudy").handlers[:]
    yield logs.write_to(tmp_path, "ingress")
    log.handlers[:] = before


async def test_a_callers_trace_goes_through_queue_and_engine_to_the_replay(tmp_path: Path, logged: Path) -> None:
    async with traced(tmp_path, share=1.0) as (served, collector):
        await complete(served, traceparent=f"00-{TRACE}-{CALLER}-01")
        spans = await collector.until("POST /v1/completions", "queue", "engine", "replay")
        engines = [span for span in collector.spans if span.name == "engine"]
    request, replay = spans["POST /v1/completions"], spans["replay"]
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert request.parent_span_id.hex() == CALLER
    assert spans["queue"].parent_span_id == replay.parent_span_id == request.span_id
    assert {span.parent_span_id for span in engines} == {request.span_id, replay.span_id}
    said = attributes(request)
    assert (said["gen_ai.operation.name"], said["gen_ai.request.model"]) == ("text_completion", "echo")
    assert (said["feature_flag.result.variant"], said["http.response.status_code"]) == ("baseline", 200)
    assert said["gen_ai.usage.output_tokens"] == 4
    assert WRITTEN.encode() not in collector.bytes
    (line,) = [json.loads(line) for line in logged.open() if "access" in line]
    assert line["trace_id"] == TRACE


async def test_a_refused_request_has_its_status_and_no_words_of_the_client(tmp_path: Path) -> None:
    async with traced(tmp_path, share=1.0) as (served, collector):
        body = {"model": WRITTEN, "prompt": WRITTEN}
        assert (await served.client.post("/v1/completions", json=body)).status_code == 404
        spans = await collector.until("POST /v1/completions")
    assert attributes(spans["POST /v1/completions"])["http.response.status_code"] == 404
    assert WRITTEN.encode() not in collector.bytes


async def test_the_caller_decides_whether_a_request_is_traced(tmp_path: Path) -> None:
    async with traced(tmp_path, share=1.0) as (served, collector):
        await complete(served, traceparent=f"00-{TRACE}-{CALLER}-00")
        await complete(served)
        await collector.until("POST /v1/completions", "replay")
    assert TRACE not in {span.trace_id.hex() for span in collector.spans}


async def test_nothing_is_traced_by_default(tmp_path: Path) -> None:
    async with traced(tmp_path) as (served, collector):
        await complete(served, traceparent=f"00-{TRACE}-{CALLER}-01")
        assert traces.provider is None
        await asyncio.sleep(1.5)
    assert collector.spans == []
