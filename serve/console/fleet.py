"""The first page: what is wrong, and each variant with its state, share, load and speed."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serve.client.fleet import within_buckets
from serve.console.example import example
from serve.console.figures import Lately, Readings
from serve.console.site import Site
from variants.reports.formats import NOTHING, clock, number, seconds, share, size
from variants.reports.palette import PALETTE

Json = dict[str, Any]
MANY_FAILED, LEAST_REQUESTS = 0.05, 20
"""The alert UnderstudyErrorShare has the same limits."""


class Fleet:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.readings = Readings()

    async def page(self, request: Request) -> Response:
        document = await self.site.api.get(request, "/admin/v1/models")
        rollouts = set(self.site.snapshot().judged)

        def values() -> Json:
            lately = self.readings.take()
            return {
                "models": [model_of(model, lately, model["model"] in rollouts) for model in document["models"]],
                "problems": problems(document["models"], lately),
                "window": window(lately),
                "is_idle": lately.is_whole and not any(each.requests for each in lately.counts.values()),
                "first": (first := document["models"][0]),
                "example": example(str(request.base_url).rstrip("/"), first["model"], first["task"]),
            }

        return await self.site.render(request, "fleet.html.j2", values)


def model_of(model: Json, lately: Lately, has_rollout: bool) -> Json:
    """One model with a row for each variant."""
    shares = shares_of(model["variants"])
    rows = [
        row(model["model"], variant, shares[variant["variant"]], lately, index % len(PALETTE))
        for index, variant in enumerate(model["variants"])
    ]
    return {"name": model["model"], "task": model["task"], "rows": rows, "has_rollout": has_rollout}


def shares_of(variants: list[Json]) -> dict[str, float]:
    """The share of each variant in its model's traffic."""
    whole = sum(variant["weight"] for variant in variants)
    return {variant["variant"]: variant["weight"] / whole for variant in variants}


def row(model: str, variant: Json, of_traffic: float, lately: Lately, colour: int) -> Json:
    """The cells of one variant as text."""
    counts = lately.of((model, variant["variant"]))
    times = (
        within_buckets(counts.latency, 0.5),
        within_buckets(counts.latency, 0.95),
        within_buckets(counts.first_token, 0.5),
    )
    return {
        "variant": variant["variant"],
        "colour": colour,
        "reason": None if variant["ready"] else variant["reason"],
        "cells": (
            share(of_traffic),
            number(counts.requests / lately.seconds) if counts.requests else NOTHING,
            *(NOTHING if each is None else seconds(each) for each in times),
            share(counts.failed / counts.requests) if counts.requests else NOTHING,
            number(counts.tokens / lately.seconds) if counts.tokens else NOTHING,
            f"{variant['running']} + {variant['waiting']}",
            size(variant["memory_bytes"]) if variant["memory_bytes"] else NOTHING,
        ),
        "serves": f"{variant['precision']}, {variant['artifact_sha256'][:8]}, {variant['engine']}",
    }


def problems(models: list[Json], lately: Lately) -> list[tuple[str, str]]:
    """What is wrong, the worst first: sentences, each with the model that it is about."""
    down, partly, failing = [], [], []
    for model in models:
        name, shares = model["model"], shares_of(model["variants"])
        if not any(each["ready"] and each["weight"] > 0 for each in model["variants"]):
            down.append((name, f"{name} answers no requests: no variant with traffic is ready."))
        for each in model["variants"]:
            variant, counts = f"{name}@{each['variant']}", lately.of((name, each["variant"]))
            if not each["ready"]:
                part = share(shares[each["variant"]])
                partly.append((name, f"{variant} is not ready ({part} of the traffic): {each['reason']}"))
            if counts.requests >= LEAST_REQUESTS and counts.failed > MANY_FAILED * counts.requests:
                failing.append((name, f"{variant} fails for {share(counts.failed / counts.requests)} of its requests."))
    return [*down, *failing, *partly]


def window(lately: Lately) -> str:
    """The time that the figures cover, for the table's caption."""
    if lately.is_whole:
        return f"Figures since this server started, {clock(lately.seconds)} minutes ago."
    return f"Figures of the last {clock(lately.seconds)} minutes."
