"""Middleware that gives each request to a model its span (`serve.traces`)."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve import logs, traces
from serve.api.operation.access_log import method_of, route_of

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "embeddings",
    "/v1/score": "embeddings",
    "/v1/images/generations": "generate_content",
}
"""By path: `gen_ai.operation.name`."""


class TraceRequests:
    """ASGI middleware, inside of the one that notes requests. `relayed` says which paths go to an engine."""

    def __init__(self, app: ASGIApp, relayed: Callable[[str], bool]) -> None:
        self.app, self.relayed = app, relayed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if traces.provider is None or scope["type"] != "http" or not self.relayed(scope["path"]):
            await self.app(scope, receive, send)
            return
        request = logs.noted()
        with traces.request_span("request", Headers(scope=scope)) as span:
            assert span is not None
            request.trace_id = f"{span.get_span_context().trace_id:032x}"
            try:
                await self.app(scope, receive, send)
            finally:
                route, method = route_of(scope), method_of(scope)
                span.update_name(f"{method} {route}")
                traces.describe(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": request.status,
                        "gen_ai.operation.name": OPERATIONS.get(route, ""),
                        "gen_ai.request.model": request.model,
                        "feature_flag.key": request.model,
                        "feature_flag.result.variant": request.variant,
                        "feature_flag.result.reason": request.reason,
                        "understudy.request_id": request.request_id,
                    }
                )
