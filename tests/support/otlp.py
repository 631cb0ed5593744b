"""An OTLP receiver over HTTP in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serve.ports import free_port


class Collector:
    """The spans that came to `endpoint`, and all bytes."""

    def __init__(self) -> None:
        self.port = free_port()
        self.spans: list[Span] = []
        self.bytes = b""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bytes += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return web.Response()

    async def until(self, *names: str, trace: str | None = None) -> dict[str, Span]:
        """The spans by name, as soon as all of these are there; with `trace`, an id in hex, those of that trace."""
        async with asyncio.timeout(30):
            while True:
                spans = [span for span in self.spans if trace in (None, span.trace_id.hex())]
                if set(names) <= {span.name for span in spans}:
                    return {span.name: span for span in spans}
                await asyncio.sleep(0.1)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", collector.port).start()
    try:
        yield collector
    finally:
        await runner.cleanup()


def attributes(span: Span) -> dict[str, Any]:
    values = {each.key: each.value for each in span.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}
