"""Read-only routes for operators: `GET /admin/v1/models`, `/admin/v1/models/{model}/cards` and `GET /metrics`."""

import asyncio
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from serve import metrics
from serve.api.controller_metrics import ControllerMetrics
from serve.api.http import answer_json
from serve.api.metrics_text import MetricsText
from serve.config.artifacts import cards_of
from serve.dataplane.engine_metrics import EngineMetrics
from serve.dataplane.sync import ControllerSync
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from variants.machine import describe, versions


def describe_upstream(upstream: Upstream) -> dict[str, Any]:
    """One variant of `GET /admin/v1/models`. `reason` is why the variant is not ready. Memory is
    PSS in bytes, null while it is not ready."""
    manifest, endpoint = upstream.manifest, upstream.endpoint
    return {
        "variant": upstream.served.variant,
        "weight": upstream.served.weight,
        "ready": endpoint is not None,
        "reason": str(upstream.down) if upstream.down else None,
        "running": upstream.running,
        "waiting": upstream.waiting,
        "engine": upstream.served.engine.settings.kind,
        "engine_id": upstream.served.engine.application,
        "method": manifest.method,
        "precision": manifest.precision,
        "parent": manifest.parent,
        "note": manifest.note,
        "artifact_sha256": manifest.digest,
        "artifact_bytes": manifest.bytes,
        "memory_bytes": endpoint.memory_bytes if endpoint else None,
        "peak_memory_bytes": endpoint.peak_memory_bytes if endpoint else None,
    }


class Admin:
    """Endpoints that describe the served models."""

    def __init__(self, upstreams: Upstreams, sync: ControllerSync) -> None:
        self.upstreams = upstreams
        self.collectors = (ControllerMetrics(sync), EngineMetrics(upstreams.all))
        self.metrics_text = MetricsText(self.render)
        self.machine, self.versions = describe().model_dump(mode="json"), versions()

    async def models(self, request: Request) -> Response:
        """Every model, its variants, and the machine they run on."""
        models = [
            {
                "model": name,
                "task": self.upstreams.models[name].task,
                "evaluate": list(self.upstreams.models[name].evaluate),
                "variants": [describe_upstream(upstream) for upstream in of_model.values()],
            }
            for name, of_model in self.upstreams.by_model.items()
        ]
        return answer_json({"models": models, "machine": self.machine, "versions": self.versions})

    async def cards(self, request: Request) -> Response:
        """The cards (measurements) of a model's served artifacts, newest first. Raises UnknownName.

        Each request reads the catalog, so that the results of an evaluation beside the server appear."""
        model = request.path_params["model"]
        of_model = self.upstreams.model(model)
        cards = await asyncio.to_thread(cards_of, model)
        variants = [
            {
                "variant": variant,
                "artifact_sha256": upstream.manifest.digest,
                "recipe": upstream.manifest.recipe.model_dump(mode="json", exclude_none=True),
                "cards": [
                    card.model_dump(mode="json", by_alias=True)
                    for card in reversed(cards.get(upstream.manifest.digest, ()))
                ],
            }
            for variant, upstream in of_model.items()
        ]
        return answer_json({"model": model, "variants": variants})

    def render(self) -> bytes:
        """The metrics of the variants that are served now, of the controller, and of engines."""
        live = {(*upstream.labels, upstream.manifest.digest) for upstream in self.upstreams.all()}
        return metrics.render(live, *self.collectors)

    async def metrics(self, request: Request) -> Response:
        """All metrics of this node, merged over its ingress processes; at most a second old."""
        return Response(await self.metrics_text.read(), headers={"content-type": CONTENT_TYPE_LATEST})
