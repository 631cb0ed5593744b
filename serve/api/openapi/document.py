"""`GET /openapi.json`: the API as an OpenAPI 3.1 document, with examples that name the models that are served.

Schemas of requests are made from the models that check them. Where the server passes fields on and the engine checks
them, the schema is open and says so.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from serve.api.http import answer_json
from serve.api.openapi.answers import OBJECT, STRING, Schema
from serve.api.openapi.operations import JSON, Operation, operations
from serve.api.openapi.requests import reference, schemas
from serve.api.v2.open_inference import SERVER
from serve.dataplane.upstreams import Upstreams

VALUES: dict[str, list[str]] = {"probe": ["live", "ready"], "action": ["pause", "resume", "abort"]}
"""By parameter of a path: all its values."""


class Served(NamedTuple):
    """A model that is served, and one of its variants."""

    model: str
    variant: str


class OpenApi:
    """The endpoint."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams

    async def answer(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        models: dict[str, Served] = {}
        for name, model in self.upstreams.models.items():
            models.setdefault(model.task, Served(name, next(iter(model.variants))))
        keyed = bool(self.upstreams.snapshot.stack.server.keys)
        # in a thread, because the first time takes half a second
        return answer_json(await asyncio.to_thread(document, models, keyed))


def document(models: Mapping[str, Served], keyed: bool) -> dict[str, Any]:
    """The document. `models` has a served model by task, for the examples. `keyed`: whether requests need a key."""
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations():
        paths.setdefault(path, {})[method] = described(path, method, operation, models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Understudy", "version": SERVER["version"]},
        "security": [{"bearer": []}, {"x-api-key": []}] if keyed else [],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def described(path: str, method: str, operation: Operation, models: Mapping[str, Served]) -> dict[str, Any]:
    """An operation as the document has it."""
    entry: dict[str, Any] = {
        "summary": operation.says,
        "operationId": f"{method}{path}".replace("/", "_").replace("{", "").replace("}", ""),
        "responses": responses_of(path, operation),
    }
    if parameters := parameters_of(path, operation, models):
        entry["parameters"] = parameters
    if operation.asked is not None:
        schema = operation.asked if isinstance(operation.asked, dict) else reference(operation.asked.__name__)
        content: dict[str, Any] = {"schema": schema}
        if operation.example is not None and (operation.task is None or operation.task in models):
            named = {"model": models[operation.task].model} if operation.task and "{model}" not in path else {}
            content["example"] = {**named, **operation.example}
        others: dict[str, Any] = {kind: {} for kind in operation.takes if kind != JSON}
        entry["requestBody"] = {"required": not operation.optional, "content": {JSON: content, **others}}
    return entry


def responses_of(path: str, operation: Operation) -> dict[str, Any]:
    """The answers of an operation by status. Only JSON has a schema."""
    error = reference("AnthropicError" if path == "/v1/messages" else "Error")
    if path.startswith("/v2"):
        error = reference("OpenInferenceError")
    content = {kind: {"schema": operation.answer} if kind == operation.content[0] else {} for kind in operation.content}
    failed = {"description": "An error.", "content": {JSON: {"schema": error}}}
    again = {"retry-after": {"description": "Seconds until it is worth asking again.", "schema": {"type": "integer"}}}
    unready = {"description": "Not ready.", "content": {JSON: {"schema": OBJECT if operation.probes else error}}}
    return {
        **{str(status): {"description": "The answer.", "content": content} for status in operation.statuses},
        "429": failed | {"headers": again},
        "503": unready | {"headers": again},
        "4XX": failed,
        "5XX": failed,
    }


def parameters_of(path: str, operation: Operation, models: Mapping[str, Served]) -> list[dict[str, Any]]:
    """The parameters in the path, then the others. A served model is the example where the operation has a task."""
    examples = {"probe": "ready"}
    if operation.task is not None and operation.task in models:
        examples |= models[operation.task]._asdict()
    parameters: list[dict[str, Any]] = []
    for name in (part[1:-1] for part in path.split("/") if part.startswith("{")):
        schema: Schema = STRING | ({"enum": VALUES[name]} if name in VALUES else {})
        example = {"example": examples[name]} if name in examples else {}
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema} | example)
    return [*parameters, *operation.parameters]
