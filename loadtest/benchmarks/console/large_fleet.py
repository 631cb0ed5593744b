"""The fleet page of 50 models and 500 variants without engines: its bytes, and the time that it takes.

An ingress that only lists the models stands behind the real console. Half of the variants are not ready, each with a
reason, so the page is as long as it gets.
"""

import statistics
import time
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from serve.config.server.settings import Server
from serve.console.application import add_console

MODELS, VARIANTS = 50, 10
"""Numbers of models, and of variants of each."""
ROUNDS = 5


async def measure() -> dict[str, Any]:
    """`ms` is the median of `n` pages after a first one; `slowest_ms` includes the first."""
    document = {"models": [model_of(f"model-{number}") for number in range(MODELS)], "machine": {}}

    async def models(_: Request) -> JSONResponse:
        return JSONResponse(document)

    snapshot: Any = SimpleNamespace(stack=SimpleNamespace(server=Server()), judged={})
    app = add_console(Starlette(routes=[Route("/admin/v1/models", models)]), lambda: snapshot)
    took = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as client:
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            page = await client.get("/")
            took.append(1000 * (time.perf_counter() - began))
            page.raise_for_status()
    return {
        "variants": page.text.count('<th scope="row">'),
        "bytes": len(page.content),
        "ms": round(statistics.median(took[1:]), 1),
        "slowest_ms": round(max(took), 1),
        "n": ROUNDS,
    }


def model_of(name: str) -> dict[str, Any]:
    variants = [variant_of(f"variant-{number}", is_ready=number % 2 == 0) for number in range(VARIANTS)]
    return {"model": name, "task": "text-generation", "evaluate": [], "variants": variants}


def variant_of(name: str, is_ready: bool) -> dict[str, Any]:
    return {
        "variant": name, "weight": 1.0, "ready": is_ready, "running": 3, "waiting": 12, "engine": "vllm",
        "reason": None if is_ready else "the engine ended with code 1: out of memory", "precision": "bfloat16",
        "parent": None, "method": "baseline", "artifact_sha256": "a" * 64, "artifact_bytes": 10**9,
        "memory_bytes": 2 * 10**9,
    }  # fmt: skip
