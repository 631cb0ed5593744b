"""`/openapi.json` agrees with OpenAPI's own schema, with the routes, and with what is answered to its examples."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from serve.api.application import build_ingress
from tests.support.local_stage import Local

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
META = Path(__file__).parents[3] / "support" / "openapi-3.1.json"
"""https://spec.openapis.org/oas/3.1/schema, as openapi-spec-validator 0.9 has it (Apache-2.0)."""

MARK: dict[str, Any] = {"provider_specific_fields": {}}
WHO = {"user": "a", "safety_identifier": "a", "prompt_cache_key": "k", "prompt_cache_retention": "24h"}
NEAR = "/v2/models/near/infer"
TEXT: dict[str, Any] = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}


@pytest_asyncio.fixture(loop_scope="module")
async def document(door: Local) -> dict[str, Any]:
    answer = await door.client.get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def check(document: dict[str, Any], schema: dict[str, Any], instance: Any) -> None:
    """`schema` may refer to the document's components."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(instance)


async def test_it_is_an_openapi_document(document: dict[str, Any]) -> None:
    Draft202012Validator(json.loads(META.read_text())).validate(document)
    assert document["openapi"].startswith("3.1.")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    identifiers = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(identifiers) == len(set(identifiers))


async def test_it_has_every_route_and_no_other(door: Local, document: dict[str, Any]) -> None:
    app = build_ingress(door.upstreams, door.upstreams.snapshot.stack.server, door.controller)
    routes: set[tuple[str, str]] = set()
    for route in app.routes:
        methods = getattr(route, "methods", None) or set()
        routes |= {(route.path, method.lower()) for method in methods - {"HEAD"}}
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == routes


async def test_every_example_is_answered_as_it_says(door: Local, document: dict[str, Any]) -> None:
    answered = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            filled = with_examples(path, operation)
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if filled is None or (method != "get" and "example" not in content):
                continue
            if "example" in content:
                check(document, content["schema"], content["example"])
            answer = await door.client.request(method, filled, json=content.get("example"))
            assert answer.status_code == 200, (path, answer.text)
            kind, said = next(iter(operation["responses"]["200"]["content"].items()))
            assert answer.headers["content-type"].startswith(kind), path
            check(document, said["schema"], answer.json() if kind == "application/json" else answer.text)
            answered.append((method, path))
    posts = {path for method, path in answered if method == "post"}
    assert posts >= {
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/tokenize"),
        *("/v1/embeddings", "/v1/rerank", "/v1/score", "/v2/models/{model}/infer", "/v2/repository/index"),
    }
    assert len(answered) > 20


def with_examples(path: str, operation: dict[str, Any]) -> str | None:
    """The path with its parameters' examples; None where one has none."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and "example" in parameter:
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    return None if re.search(r"[{}]", path) else path


async def test_every_error_has_the_shape_that_it_says(door: Local, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        if "post" not in methods or path in ("/ping", "/v2/repository/index"):
            continue
        answer = await door.client.post(re.sub(r"\{\w+\}", "nothing", path), json={"model": "nothing"})
        assert 400 <= answer.status_code < 500, path
        said = methods["post"]["responses"]["4XX"]["content"]["application/json"]["schema"]
        check(document, said, answer.json())


async def test_the_schemas_are_those_that_check(door: Local, document: dict[str, Any]) -> None:
    """What a schema refuses, the server refuses, and the other way round."""
    bodies: list[tuple[str, dict[str, Any], bool]] = [
        ("/v1/responses", {"model": "echo", "input": "a"}, True),
        ("/v1/responses", {"model": "echo", "input": [{"role": "user", "content": "a"}]}, True),
        ("/v1/responses", {"model": "echo", "input": [{"role": "robot", "content": "a"}]}, False),
        ("/v1/responses", {"model": "echo", "input": "a", "colour": 1}, False),
        ("/v1/messages", {"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}, True),
        ("/v1/messages", {"model": "echo", "messages": [{"role": "user", "content": "a"}]}, False),
        ("/v1/rerank", {"model": "near", "query": "a", "documents": ["a", {"text": "b"}]}, True),
        ("/v1/rerank", {"model": "near", "query": "a", "documents": []}, False),
        ("/v1/rerank", {"model": "near", "query": "a", "documents": ["a"], "return_documents": None}, True),
        ("/v1/rerank", {"model": "near", "query": None, "documents": ["a"]}, False),
        ("/v1/responses", {"model": "echo", "input": "a", "text": None, "background": None}, True),
        ("/v1/responses", {"model": "echo", "input": "a", "background": 0}, False),
        ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "a"}], "n": None}, True),
        ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user"}], "temperature": 3}, False),
        ("/v1/completions", {"model": "echo", "prompt": [[1, 2]], "stop": ["a"]}, True),
        ("/v1/completions", {"model": "echo", "prompt": "a", "stop": ["a"] * 17}, False),
        ("/tokenize", {"model": "echo", "prompt": "a", "messages": None}, True),
        ("/tokenize", {"model": "echo"}, False),
        ("/v1/feedback", {"id": "a", "score": 2}, False),
        ("/v1/feedback", {"request_id": "a", "label": "b"}, False),
        ("/admin/v1/models/echo/rollout", {"variant": "int8", "shadow": 0}, False),
        ("/admin/v1/stack", {"stack": {"schema": 1, "models": {}}, "artifacts": {}}, False),
        ("/v1/score", {"model": "near", "text_1": "a", "text_2": ["a"]}, True),
        ("/v1/score", {"model": "near", "text_1": "a", "text_2": 7}, False),
        ("/v1/embeddings", {"model": "near", "input": "a"}, True),
        ("/v1/embeddings", {"model": "near", "input": "a", "colour": 1}, False),
        ("/v1/rerank", {"model": "near", "query": "a", "documents": [{"text": "a", **MARK}]}, True),
        ("/v1/responses", {"model": "echo", "input": [{"role": "user", "content": "a", **MARK}], **MARK}, True),
        ("/v1/embeddings", {"model": "near", "input": "a", **MARK}, True),
        ("/v1/embeddings", {"model": "near", "input": "a", **WHO}, True),
        ("/v1/rerank", {"model": "near", "query": "a", "documents": ["a"], **WHO}, True),
        ("/v1/score", {"model": "near", "text_1": "a", "text_2": "b", **WHO}, True),
        ("/v1/embeddings", {"model": "near", "input": "a", "safety_identifier": 7}, False),
        ("/v1/embeddings", {"model": "near", "input": "a", "add_special_tokens": True}, True),
        ("/v1/rerank", {"model": "near", "query": "a", "documents": ["a"], "top_n": 0}, True),
        ("/v1/responses", {"model": "echo", "input": "a", "stream_options": {"include_obfuscation": True}}, True),
        (NEAR, {"inputs": [TEXT], "id": None, "parameters": None, "outputs": None}, True),
        (
            NEAR,
            {"inputs": [{**TEXT, "parameters": None}], "outputs": [{"name": "embedding", "parameters": None}]},
            True,
        ),
        (NEAR, {"inputs": [TEXT], "parameters": 7}, False),
    ]
    for path, body, right in bodies:
        written = path.replace("/echo/", "/{model}/").replace("/near/", "/{model}/")
        schema = document["paths"][written]["post"]["requestBody"]["content"]["application/json"]["schema"]
        valid = Draft202012Validator({**schema, "components": document["components"]}).is_valid(body)
        status = (await door.client.post(path, json=body)).status_code
        assert (valid, status) == (right, 200 if right else 400), (path, body)
