"""Triton's extensions of v2: statistics, model configuration and repository index, for `tritonclient` and
`perf_analyzer`.

Counts of requests and their time are the server's own. Examples, passes and their time (`inference_count`,
`execution_count`, `compute_infer`) are the engine's, since it started. Text engines speak no v2: their
`inference_count` is the number of answers, and their passes are not counted. Time in queues and for input and output is
part of `success` and stays 0 by itself.
"""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve import metrics
from serve.api.http import answer_json, parse_object, read_body
from serve.api.v2.open_inference import target_of
from serve.dataplane.relay import Relay
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.engines.http.tensors import MOST_EXAMPLES
from variants.errors import InputError

NOTHING = {"count": 0, "ns": 0}
"""A duration that is not measured by itself."""


class Triton:
    """The endpoints."""

    def __init__(self, upstreams: Upstreams, relay: Relay, body_limit: int) -> None:
        self.upstreams, self.relay, self.body_limit = upstreams, relay, body_limit

    def routes(self) -> list[Route]:
        """Before the routes of single models, because `/v2/models/stats` would be one."""
        model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{variant}"
        return [
            Route("/v2/models/stats", self.every_stats, methods=["GET"]),
            *(Route(f"{path}/stats", self.stats, methods=["GET"]) for path in (model, version)),
            *(Route(f"{path}/config", self.config, methods=["GET"]) for path in (model, version)),
            Route("/v2/repository/index", self.index, methods=["POST"]),
        ]

    async def every_stats(self, request: Request) -> Response:
        """`GET /v2/models/stats`: the statistics of every variant that is ready."""
        return await self.stats_of(self.upstreams.all())

    async def stats(self, request: Request) -> Response:
        """`GET /v2/models/{model}[/versions/{variant}]/stats`. Raises UnknownName, NotReady."""
        target = self.upstreams.resolved(target_of(request.path_params))
        if target.variant is None:
            return await self.stats_of(list(self.upstreams.model(target.model).values()))
        upstream, _ = self.upstreams.place(target, None, set())
        return await self.stats_of([upstream])

    async def stats_of(self, upstreams: list[Upstream]) -> Response:
        totals = await asyncio.to_thread(metrics.totals)
        ready = [upstream for upstream in upstreams if upstream.endpoint is not None]
        entries = await asyncio.gather(*(self.entry(each, totals.get(each.labels)) for each in ready))
        return answer_json({"model_stats": entries})

    async def entry(self, upstream: Upstream, total: metrics.Total | None) -> dict[str, Any]:
        """One variant. Raises EngineError."""
        total = total or metrics.Total()
        answered = {"count": total.answered, "ns": round(total.seconds * 1e9)}
        counted: dict[str, Any] = {"inference_count": total.answered, "execution_count": 0}
        compute = NOTHING
        if not self.is_text(upstream):
            document = await self.relay.fetch(upstream, f"/v2/models/{upstream.served.asked_as}/stats")
            (own,) = document["model_stats"]
            counted = {name: own[name] for name in counted}
            compute = own["inference_stats"]["compute_infer"]
        times = {
            "success": answered,
            "fail": {"count": total.failed, "ns": 0},
            "queue": NOTHING,
            "compute_input": NOTHING,
            "compute_infer": compute,
            "compute_output": NOTHING,
        }
        name = {"name": upstream.served.model, "version": upstream.served.variant}
        return {**name, **counted, "inference_stats": times, "batch_stats": []}

    def is_text(self, upstream: Upstream) -> bool:
        return self.upstreams.models[upstream.served.model].task == "text-generation"

    async def config(self, request: Request) -> Response:
        """`GET /v2/models/{model}[/versions/{variant}]/config`, from the engine's metadata. Raises UnknownName,
        NotReady, EngineError."""
        asked = target_of(request.path_params)
        upstream, _ = self.upstreams.place(self.upstreams.resolved(asked), None, set())
        kind = upstream.served.engine.settings.kind
        described: dict[str, Any] = {"platform": kind, "inputs": [], "outputs": []}
        if not self.is_text(upstream):
            described = await self.relay.fetch(upstream, f"/v2/models/{upstream.served.asked_as}")
        return answer_json(configuration(asked.model, kind, described))

    async def index(self, request: Request) -> Response:
        """`POST /v2/repository/index`: every variant and its state; with `{"ready": true}` those that are ready. Raises
        InputError."""
        body = await read_body(request.scope, request.receive, self.body_limit)
        only = parse_object(body).get("ready") if body else None
        if only is not None and not isinstance(only, bool):
            raise InputError(f"{only!r:.80} is not a boolean", field="ready", mend="send true or false")
        entries = [
            {
                "name": upstream.served.model,
                "version": upstream.served.variant,
                "state": "READY" if upstream.endpoint is not None else "UNAVAILABLE",
                "reason": "" if upstream.endpoint is not None else "the engine is not ready",
            }
            for upstream in self.upstreams.all()
            if upstream.endpoint is not None or not only
        ]
        return answer_json(entries)


def configuration(name: str, backend: str, described: dict[str, Any]) -> dict[str, Any]:
    """Triton's model configuration from v2's metadata. Where every tensor's first dimension is any length, that is the
    batch, which `dims` leave out."""
    ports = [*described["inputs"], *described["outputs"]]
    batched = bool(ports) and all(port["shape"][0] == -1 for port in ports)

    def tensors(kind: str) -> list[dict[str, Any]]:
        return [
            {
                "name": port["name"],
                "data_type": "TYPE_STRING" if port["datatype"] == "BYTES" else f"TYPE_{port['datatype']}",
                "dims": (port["shape"][1:] or [1]) if batched else port["shape"],
            }
            for port in described[kind]
        ]

    return {
        "name": name,
        "platform": described["platform"],
        "backend": backend,
        "version_policy": {"all": {}},
        "max_batch_size": MOST_EXAMPLES if batched else 0,
        "input": tensors("inputs"),
        "output": tensors("outputs"),
    }
