"""The ASGI application of the ingress: one list of all routes over the upstreams and a relay.

It does not depend on Ray, so the same application runs inside Ray Serve and, in tests, under any ASGI server.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve import logs, traces
from serve.api.access.authentication import CheckKey
from serve.api.access.cross_origin import CrossOrigin
from serve.api.access.senders import CheckSender
from serve.api.admin import Admin
from serve.api.answers import TextAnswer
from serve.api.chats.messages import MESSAGES, anthropic_body
from serve.api.chats.responses import RESPONSES
from serve.api.embeddings import EmbeddingAnswer
from serve.api.health import health_routes
from serve.api.http import Body, EncodedSlashes, answer_error
from serve.api.images import ImagesAnswer
from serve.api.limits.bodies import ShareMemory
from serve.api.openai import Models, TextRoute
from serve.api.openapi.document import OpenApi
from serve.api.operation.access_log import LogAccess
from serve.api.operation.draining import CountOpen
from serve.api.operation.kept_requests import KeptRequests
from serve.api.operation.tracing import TraceRequests
from serve.api.pairs import Pairs
from serve.api.ranking import RERANK, SCORE
from serve.api.request_id import IssueRequestId
from serve.api.stack import StackEndpoint
from serve.api.traffic import traffic_endpoints
from serve.api.translated import Door, TranslatedRoute
from serve.api.v2.open_inference import InferRoute, Metadata
from serve.api.v2.triton import Triton
from serve.config.server.settings import Server
from serve.control.contract import ControllerClient
from serve.dataplane.memory import Memory
from serve.dataplane.relay import Relay
from serve.dataplane.sync import ControllerSync
from serve.dataplane.upstreams import Upstreams
from serve.errors import open_inference_body, openai_body
from serve.shadow.replayer import Replayer
from variants.artifacts.manifest import TaskKind
from variants.errors import InputError, UnderstudyError, UnknownName

if TYPE_CHECKING:
    from serve.api.v2.grpc_server import GrpcServer

log = logging.getLogger("understudy.api")
TEXT_ROUTES: dict[str, tuple[TaskKind, type[TextAnswer]]] = {
    "/v1/chat/completions": ("text-generation", TextAnswer),
    "/v1/completions": ("text-generation", TextAnswer),
    "/tokenize": ("text-generation", TextAnswer),
    "/v1/embeddings": ("feature-extraction", EmbeddingAnswer),
    "/v1/images/generations": ("image-generation", ImagesAnswer),
}
"""By path: the task of its models, and the observer of their answers."""

DOORS: dict[str, tuple[Door, str]] = {
    "/v1/responses": (RESPONSES, "/v1/chat/completions"),
    "/v1/messages": (MESSAGES, "/v1/chat/completions"),
    "/v1/rerank": (RERANK, "/v1/embeddings"),
    "/v1/score": (SCORE, "/v1/embeddings"),
}
"""By path: a format, and the path of the route that answers its translated requests."""


def build_ingress(upstreams: Upstreams, server: Server, controller: ControllerClient) -> Starlette:
    """The application. Its lifespan starts and stops the relay, upstreams, controller sync, replayer and what keeps
    requests."""
    memory = Memory(server.bytes_in_flight)
    relay = Relay(upstreams, memory)
    observations = relay.accounting.observations
    replayer, sync = (
        Replayer(upstreams, relay, observations, memory),
        ControllerSync(upstreams, controller, observations),
    )
    kept = KeptRequests(upstreams)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if server.traces is not None:
            traces.start(server.traces.endpoint, server.traces.share)
        await relay.start()
        upstreams.start()
        await sync.start()
        await replayer.start()
        await kept.start()
        grpc = await grpc_server(app, server)
        try:
            yield
        finally:
            if grpc is not None:
                await grpc.stop()
            await kept.stop()
            await replayer.stop()
            await sync.stop()
            await upstreams.stop()
            await relay.stop()
            await asyncio.to_thread(traces.stop)

    return Starlette(
        routes=routes_of(upstreams, relay, replayer, kept, controller, sync, server.body_limit_mib * 2**20),
        lifespan=lifespan,
        middleware=middleware(upstreams, memory),
        exception_handlers={HTTPException: explain_route, UnderstudyError: explain_error, Exception: explain_fault},
    )


def routes_of(
    upstreams: Upstreams,
    relay: Relay,
    replayer: Replayer,
    kept: KeptRequests,
    controller: ControllerClient,
    sync: ControllerSync,
    limit: int,
) -> list[Route]:
    """Every route of the application. `limit` is the most bytes of a body."""
    pairs = Pairs(upstreams, replayer.keeper, replayer.tally)
    infer, metadata = InferRoute(upstreams, relay, replayer, kept, limit), Metadata(upstreams, relay)
    models, admin, stack = Models(upstreams), Admin(upstreams, sync), StackEndpoint(controller, limit)
    model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{variant}"
    return [
        *text_routes(upstreams, relay, replayer, kept, limit),
        *Triton(upstreams, relay, limit).routes(),
        *(Route(f"{path}/infer", infer, methods=["POST"]) for path in (model, version)),
        *(Route(f"{path}/ready", metadata.model_ready, methods=["GET"]) for path in (model, version)),
        *(Route(path, metadata.model, methods=["GET"]) for path in (model, version)),
        Route("/v2/health/{probe}", metadata.health, methods=["GET"]),
        Route("/v2", metadata.server, methods=["GET"]),
        Route("/v1/models", models.every, methods=["GET"]),
        Route("/v1/models/{model}", models.one, methods=["GET"]),
        Route("/admin/v1/models", admin.models, methods=["GET"]),
        Route("/admin/v1/models/{model}/cards", admin.cards, methods=["GET"]),
        Route("/admin/v1/stack", stack.answer, methods=["GET", "POST", "DELETE"]),
        *(
            Route(path, each.answer, methods=each.methods)
            for path, each in traffic_endpoints(controller, pairs, limit).items()
        ),
        *health_routes(upstreams),
        Route("/openapi.json", OpenApi(upstreams).answer, methods=["GET"]),
        Route("/metrics", admin.metrics, methods=["GET"]),
    ]


def middleware(upstreams: Upstreams, memory: Memory) -> list[Middleware]:
    """What each request passes, outermost first: refusals are logged, and web pages can read those of a drain."""

    def server() -> Server:
        return upstreams.snapshot.stack.server

    return [
        Middleware(EncodedSlashes),
        Middleware(LogAccess, server=server, relayed=is_relayed),
        Middleware(TraceRequests, relayed=is_relayed),
        Middleware(CheckSender, server=server, body_of=body_of),
        Middleware(CrossOrigin, origins=lambda: server().cors.origins),
        Middleware(CountOpen, drain=upstreams.drain, body_of=body_of),
        Middleware(CheckKey, keys=lambda: server().keys or {}, body_of=body_of),
        Middleware(ShareMemory, memory=memory, longest_s=lambda: longest_s(upstreams)),
    ]


def is_relayed(path: str) -> bool:
    """Whether requests to this path go to an engine."""
    return path in TEXT_ROUTES or path in DOORS or path.endswith("/infer")


def text_routes(upstreams: Upstreams, relay: Relay, replayer: Replayer, kept: KeptRequests, limit: int) -> list[Route]:
    """The routes of `TEXT_ROUTES`, and of `DOORS` over them."""
    text = {
        path: TextRoute(upstreams, relay, replayer, kept, limit, path, task, answer)
        for path, (task, answer) in TEXT_ROUTES.items()
    }
    doors = {path: TranslatedRoute(door, text[over], limit) for path, (door, over) in DOORS.items()}
    return [Route(path, route, methods=["POST"]) for path, route in (text | doors).items()]


async def grpc_server(app: Starlette, server: Server) -> "GrpcServer | None":
    """The started gRPC server over the application, where the stack file has a port for it. Raises EngineError."""
    if server.grpc_port is None:
        return None
    from serve.api.v2.grpc_server import GrpcServer  # only here, because gRPC takes memory and time to import

    started = GrpcServer(IssueRequestId(app, echo=True), server)
    await started.start()
    return started


def longest_s(upstreams: Upstreams) -> float:
    """The longest time limit of all models: a body must be complete by then, whichever model it names."""
    return max(model.limits.timeout_s for model in upstreams.models.values())


async def explain_route(request: Request, error: Exception) -> Response:
    """Answer a path or method that does not exist, in the error format of the path's protocol."""
    assert isinstance(error, HTTPException)
    fault = (
        InputError(f"{request.url.path} does not accept {request.method}", mend="see the API's documentation")
        if error.status_code == 405
        else UnknownName(f"there is no path {request.url.path}", mend="try /v1/models, /v2 or /admin/v1/models")
    )
    return Response(body_of(request.url.path)(fault), error.status_code, error.headers, "application/json")


async def explain_error(request: Request, error: Exception) -> Response:
    """Answer one of our errors, in the error format of the path's protocol."""
    assert isinstance(error, UnderstudyError)
    return answer_error(error, body_of(request.url.path))


async def explain_fault(request: Request, error: Exception) -> Response:
    """Answer an unexpected exception with status 500, and log it."""
    log.error("a request failed", exc_info=error)
    fault = UnderstudyError("the server failed on this request", mend=f"see {logs.where()}")
    return answer_error(fault, body_of(request.url.path))


def body_of(path: str) -> Body:
    """The error format of the path's protocol."""
    if path.startswith("/v1/messages"):
        return anthropic_body
    return open_inference_body if path.startswith("/v2") else openai_body
