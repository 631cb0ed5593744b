"""A slice of `make fuzz`: generated requests to every operation are answered as `/openapi.json` says."""

import asyncio
from pathlib import Path

import pytest

from loadtest.benchmarks.fuzz import STACK, Plan, fuzz, table
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import rollout_stack

pytestmark = pytest.mark.integration
ROLLOUT, BY_VARIANT = "/admin/v1/models/{model}/rollout", "/v2/models/{model}/versions/{variant}/infer"
SLICE = Plan(cases=1, examples=12, spared=(STACK, ROLLOUT, BY_VARIANT, "/v1/messages", "/v1/responses", "/tokenize"))
"""One round, without the boundary values of the largest schemas."""


async def test_generated_requests_are_answered_as_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    async with local(tmp_path, rollout_stack(free_port())) as served:
        fuzzed = await asyncio.to_thread(fuzz, str(served.client.base_url).rstrip("/"), SLICE)
        document = (await served.client.get("/openapi.json")).json()
    assert not fuzzed.failures, table(fuzzed)
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert set(fuzzed.answers) == operations
    assert fuzzed.cases > 1000
    for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/rerank", "/v2/models/{model}/infer", "/v1/feedback"):
        assert fuzzed.answers[f"POST {path}"]["200"] > 0
        assert fuzzed.answers[f"POST {path}"]["400"] > 0
    for changed in ("PUT /admin/v1/models/{model}/traffic", f"POST {ROLLOUT}", f"POST {STACK}"):
        assert fuzzed.answers[changed]["200"] > 0, changed
