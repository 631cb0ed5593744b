"""`GET /health` and `/ping`: whether the server serves, for load balancers and for benchmark tools.

vLLM has both paths. They answer as `/v2/health/ready` does: 200 when the models can answer, else 503. No key is needed.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve.api.http import answer_readiness
from serve.dataplane.upstreams import Upstreams


def health_routes(upstreams: Upstreams) -> list[Route]:
    """Both routes. `/ping` takes POST too, as SageMaker's containers do."""

    async def health(request: Request) -> Response:
        ready = upstreams.ready
        return answer_readiness({"status": "ok" if ready else "not ready"}, ready)

    return [Route("/health", health, methods=["GET"]), Route("/ping", health, methods=["GET", "POST"])]
