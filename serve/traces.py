"""Spans of requests, by OpenTelemetry: W3C trace context in and out, and OTLP over HTTP to one address.

Off unless the stack file has `server.traces`. Then a request has one span at the ingress, one for its time in the
queue, one for each question to an engine, and one for a comparison that follows. vLLM adds one of its own. Names and
attributes are those of OpenTelemetry's conventions for HTTP, GenAI and feature flags. No span holds what a client sent
or got.

The prometheus-client files of several processes hold no exemplars, so histograms do not name traces."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

NAME = "understudy"
provider: "TracerProvider | None" = None
"""None while nothing is traced."""


def start(endpoint: str, share: float) -> None:
    """Trace this share of the requests of this process from now on. OpenTelemetry is imported only here. `endpoint` is
    the address of an OTLP receiver over HTTP."""
    global provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    sampler = ParentBased(TraceIdRatioBased(share))
    provider = TracerProvider(sampler, Resource.create({"service.name": NAME}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))


def stop() -> None:
    """Send what is left, and trace nothing more. Blocks while it sends."""
    global provider
    if provider is not None:
        provider.shutdown()
    provider = None


@contextmanager
def span(name: str, kind: str = "INTERNAL", within: "Context | None" = None, **labels: str) -> "Iterator[Span | None]":
    """A span around a block, below the current one or `within` another context. None while nothing is traced. An
    exception of the block is noted by its type alone: messages may quote a client."""
    if provider is None:
        yield None
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode

    tracer = provider.get_tracer(NAME)
    with tracer.start_as_current_span(
        name,
        context=within,
        kind=SpanKind[kind],
        attributes={f"understudy.{key}": value for key, value in labels.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(Status(StatusCode.ERROR))
            raise


@contextmanager
def request_span(name: str, headers: Mapping[str, str]) -> "Iterator[Span | None]":
    """The span of a client's request, in the trace that its headers name. None while nothing is traced."""
    if provider is None:
        yield None
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    given = {"traceparent": headers.get("traceparent", "")}  # `tracestate` would carry a client's text into all spans
    with span(name, "SERVER", TraceContextTextMapPropagator().extract(given)) as current:
        yield current


def carried() -> dict[str, str]:
    """The headers that put an engine's spans below the current one; empty while nothing is traced.

    vLLM writes the id of a request into its span, and would take one that a client wrote into the body. So the id is
    that of the current span."""
    headers: dict[str, str] = {}
    if provider is not None:
        from opentelemetry.trace import format_span_id, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
        headers["x-request-id"] = format_span_id(get_current_span().get_span_context().span_id)
    return headers


def here() -> "Context | None":
    """The current context, for work that goes on after the request; None while nothing is traced."""
    if provider is None:
        return None
    from opentelemetry.context import get_current

    return get_current()


def describe(attributes: Mapping[str, str | int]) -> None:
    """Add attributes to the current span. Empty texts are left out."""
    if provider is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes({key: value for key, value in attributes.items() if value != ""})
