"""What the operator asks: `GET /admin/v1/models` and its `/{model}/cards`, and Prometheus: `GET /metrics`."""

import asyncio
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from serve import metrics
from serve.api.http import answer_json
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.errors import UnknownName
from variants.home import home
from variants.machine import describe, versions


def describe_seat(seat: Upstream) -> dict[str, Any]:
    """A variant as the operator sees it. Memory is PSS in bytes, null while the variant is not ready."""
    manifest, endpoint = seat.manifest, seat.endpoint
    return {
        "variant": seat.live.variant,
        "weight": seat.live.weight,
        "ready": endpoint is not None,
        "running": seat.running,
        "waiting": seat.waiting,
        "engine": seat.live.engine.settings.kind,
        "engine_id": seat.live.engine.application,
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
    """Endpoints of what is served."""

    def __init__(self, fleet: Upstreams) -> None:
        self.fleet = fleet
        self.machine, self.versions = describe().model_dump(mode="json"), versions()

    async def models(self, request: Request) -> Response:
        """Every model, its variants, and the machine they run on."""
        models = [
            {
                "model": name,
                "task": self.fleet.models[name].task,
                "evaluate": list(self.fleet.models[name].evaluate),
                "variants": [describe_seat(seat) for seat in seats.values()],
            }
            for name, seats in self.fleet.seats.items()
        ]
        return answer_json({"models": models, "machine": self.machine, "versions": self.versions})

    async def cards(self, request: Request) -> Response:
        """What was measured of a model's variants: the cards of the artifacts that are served now, the newest first.
        They are read from the catalog each time, so that an evaluation beside the server shows. Raises UnknownName."""
        model = request.path_params["model"]
        seats = self.fleet.seats.get(model)
        if seats is None:
            raise UnknownName(
                f"there is no model {model!r}", field="model", mend=f"one of {', '.join(self.fleet.models)}"
            )
        cards = await asyncio.to_thread(cards_of, model)
        variants = [
            {
                "variant": variant,
                "artifact_sha256": seat.manifest.digest,
                "recipe": seat.manifest.recipe.model_dump(mode="json", exclude_none=True),
                "cards": [
                    card.model_dump(mode="json", by_alias=True)
                    for card in reversed(cards.get(seat.manifest.digest, ()))
                ],
            }
            for variant, seat in seats.items()
        ]
        return answer_json({"model": model, "variants": variants})

    async def metrics(self, request: Request) -> Response:
        """All metrics of this node, every ingress process merged."""
        text = metrics.render({(*seat.labels, seat.manifest.digest) for seat in self.fleet.all()})
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


def cards_of(model: str) -> dict[str, tuple[Card, ...]]:
    """By artifact; nothing for a model that was never built here."""
    try:
        return Catalog(home()).model(model).cards
    except UnknownName:
        return {}
