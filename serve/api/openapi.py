"""`GET /openapi.json`: the API as an OpenAPI 3.1 document, with examples that name the models that are served.

Schemas of requests are made from the models that check them. Where the server passes fields on and the engine checks
them, the schema is open and says so. `serve.api.openapi_answers` has the schemas of answers.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from serve.api import openapi_answers as answers
from serve.api.chats.messages_request import MessagesRequest
from serve.api.chats.responses_request import ResponsesRequest
from serve.api.http import answer_json
from serve.api.ranking import RerankRequest, ScoreRequest
from serve.api.v2.open_inference import SERVER
from serve.config.traffic import Traffic
from serve.dataplane.upstreams import Upstreams
from serve.engines.http.embedding_request import EmbeddingRequest
from serve.engines.http.image_generation_request import GenerationRequest
from variants.artifacts.manifest import TaskKind

Schema = dict[str, Any]
TEXT: TaskKind = "text-generation"
EMBED: TaskKind = "feature-extraction"
DRAW: TaskKind = "image-generation"
CHECKED: tuple[type[BaseModel], ...] = (
    ResponsesRequest,
    MessagesRequest,
    RerankRequest,
    ScoreRequest,
    EmbeddingRequest,
    GenerationRequest,
    Traffic,
)
"""Models that check requests."""
PASSED_ON = "Every other field is passed on to the engine, which checks it."
HEADERS = {
    "x-understudy-client": "A client's name: with sticky traffic, a client stays with one variant.",
    "x-understudy-label": "The right answer: the answer is scored by it.",
    "x-understudy-task": "The task that the label belongs to.",
    "x-understudy-shadow": "`off`: the request is never replayed on another variant.",
}
"""Headers of a request."""


class Operation(NamedTuple):
    """One method of a path. `asked` is the request's schema or the model that checks it, `answer` the schema of status
    200. `example` lacks the model, which is one of `task`."""

    says: str
    answer: Schema
    asked: Schema | type[BaseModel] | None = None
    example: dict[str, Any] | None = None
    task: TaskKind | None = None
    content: str = "application/json"


def passed_on(**fields: Schema) -> Schema:
    """An open schema: these fields are required."""
    return {
        "type": "object",
        "required": list(fields),
        "properties": fields,
        "additionalProperties": True,
        "description": PASSED_ON,
    }


STRING, NAMED = {"type": "string"}, {"type": "string", "description": "model, model@variant or model@variant:build"}
TURNS = {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["role"]}}
PROMPT = {"anyOf": [STRING, {"type": "array", "minItems": 1}]}
TENSORS = {
    "type": "object",
    "required": ["inputs"],
    "properties": {"inputs": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
    "additionalProperties": True,
    "description": "An inference request of Open Inference Protocol v2. Tensors may follow it in binary.",
}
OPEN: Schema = {"type": "object", "additionalProperties": True, "description": "See docs/operating.md."}
SAID = [{"role": "user", "content": "Name a colour."}]
INPUT = [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a colour"]}]

ASKED: dict[str, Operation] = {
    "/v1/chat/completions": Operation(
        "A chat.", answers.CHAT, passed_on(model=NAMED, messages=TURNS), {"messages": SAID, "max_tokens": 8}, TEXT
    ),
    "/v1/completions": Operation(
        "A completion.",
        answers.COMPLETION,
        passed_on(model=NAMED, prompt=PROMPT),
        {"prompt": "A colour:", "max_tokens": 8},
        TEXT,
    ),
    "/v1/responses": Operation(
        "OpenAI's Responses; nothing is stored.",
        answers.RESPONSE,
        ResponsesRequest,
        {"input": "Name a colour.", "max_output_tokens": 8},
        TEXT,
    ),
    "/v1/messages": Operation(
        "Anthropic's Messages.", answers.MESSAGE, MessagesRequest, {"messages": SAID, "max_tokens": 8}, TEXT
    ),
    "/tokenize": Operation(
        "The tokens of a text.", answers.TOKENS, passed_on(model=NAMED), {"prompt": "A colour"}, TEXT
    ),
    "/v1/embeddings": Operation(
        "Embeddings of texts.", answers.EMBEDDINGS, EmbeddingRequest, {"input": ["a colour", "a sound"]}, EMBED
    ),
    "/v1/rerank": Operation(
        "Documents by their nearness to a query.",
        answers.RANKING,
        RerankRequest,
        {"query": "a colour", "documents": ["red", "a red colour"]},
        EMBED,
    ),
    "/v1/score": Operation(
        "Nearness of pairs of texts.",
        answers.SCORES,
        ScoreRequest,
        {"text_1": "a colour", "text_2": ["red", "a red colour"]},
        EMBED,
    ),
    "/v1/images/generations": Operation("Pictures.", answers.PICTURES, GenerationRequest, {"prompt": "a 7"}, DRAW),
    "/v2/models/{model}/infer": Operation("Inference.", answers.TENSORS, TENSORS, {"inputs": INPUT}, EMBED),
    "/v2/models/{model}/versions/{variant}/infer": Operation("Inference by a variant.", answers.TENSORS, TENSORS),
    "/v2/repository/index": Operation(
        "Every variant and its state.",
        answers.INDEX,
        {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        {"ready": True},
    ),
    "/v1/feedback": Operation("A score for an answer.", answers.OBJECT, OPEN),
    "/admin/v1/models/{model}/rollout": Operation("Begin a rollout.", answers.OBJECT, OPEN),
    "/admin/v1/models/{model}/rollout/{action}": Operation("Pause, resume or abort a rollout.", answers.OBJECT),
    "/admin/v1/stack": Operation("Propose a stack; 202 when the change has begun.", answers.OBJECT, OPEN),
    "/ping": Operation("Whether the models can answer.", answers.OBJECT),
}
"""By path: what POST does."""
READ: dict[str, Operation] = {
    "/v1/models": Operation("Models and variants by name.", answers.MODELS),
    "/v1/models/{model}": Operation("One of them.", answers.OBJECT, task=TEXT),
    "/health": Operation("Whether the models can answer; needs no key.", answers.OBJECT),
    "/ping": Operation("The same.", answers.OBJECT),
    "/metrics": Operation("Metrics of Prometheus; needs no key.", STRING, content="text/plain"),
    "/openapi.json": Operation("This document.", answers.OBJECT),
    "/v2": Operation("The server's name and version.", answers.OBJECT),
    "/v2/health/{probe}": Operation("`live` or `ready`; needs no key.", answers.OBJECT),
    "/v2/models/stats": Operation("Statistics of every variant.", answers.STATISTICS),
    **{
        f"/v2/models/{{model}}{version}{path}": Operation(says, schema, task=None if version else EMBED)
        for version in ("", "/versions/{variant}")
        for path, says, schema in (
            ("", "Metadata.", answers.METADATA),
            ("/ready", "Whether it can answer.", answers.OBJECT),
            ("/stats", "Statistics.", answers.STATISTICS),
            ("/config", "Configuration.", answers.CONFIGURATION),
        )
    },
    "/admin/v1/models": Operation("What is served, with memory and load.", answers.OBJECT),
    "/admin/v1/models/{model}/cards": Operation("What was measured of it.", answers.OBJECT, task=TEXT),
    "/admin/v1/models/{model}/traffic": Operation("The shares of its variants.", answers.OBJECT, task=TEXT),
    "/admin/v1/models/{model}/rollout": Operation("The latest rollout.", answers.OBJECT),
    "/admin/v1/journal": Operation("The latest decisions and counts.", answers.OBJECT),
    "/admin/v1/stack": Operation("The live stack and the latest changes.", answers.OBJECT),
}
"""By path: what GET does."""
OTHERS: dict[str, dict[str, Operation]] = {
    "/admin/v1/models/{model}/traffic": {"put": Operation("Set the shares.", answers.OBJECT, Traffic)},
    "/admin/v1/stack": {"delete": Operation("Cancel a change that has not taken effect.", answers.OBJECT)},
}
"""By path: what other methods do."""


class OpenApi:
    """The endpoint."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams

    async def answer(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        models: dict[str, str] = {}
        for name, model in self.upstreams.models.items():
            models.setdefault(model.task, name)
        return answer_json(document(models, keyed=bool(self.upstreams.snapshot.stack.server.keys)))


def document(models: Mapping[str, str], keyed: bool) -> dict[str, Any]:
    """The document. `models` names a served model by task, for the examples. `keyed`: whether requests need a key."""
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


def operations() -> Iterator[tuple[str, str, Operation]]:
    """Every path, its method in lower case, and what it does."""
    for path, operation in READ.items():
        yield path, "get", operation
    for path, operation in ASKED.items():
        yield path, "post", operation
    for path, by_method in OTHERS.items():
        for method, operation in by_method.items():
            yield path, method, operation


def described(path: str, method: str, operation: Operation, models: Mapping[str, str]) -> dict[str, Any]:
    error = reference("AnthropicError" if path == "/v1/messages" else "Error")
    if path.startswith("/v2"):
        error = reference("OpenInferenceError")
    parameters = parameters_of(path, operation, models)
    if operation.task is not None and method == "post":
        parameters += [
            {"name": name, "in": "header", "description": HEADERS[name], "schema": STRING} for name in HEADERS
        ]
    answered = {"description": "The answer.", "content": {operation.content: {"schema": operation.answer}}}
    failed = {"description": "An error.", "content": {"application/json": {"schema": error}}}
    entry: dict[str, Any] = {
        "summary": operation.says,
        "operationId": f"{method}{path}".replace("/", "_").replace("{", "").replace("}", ""),
        "responses": {"200": answered, "4XX": failed, "5XX": failed},
    }
    if parameters:
        entry["parameters"] = parameters
    if operation.asked is not None:
        schema = operation.asked if isinstance(operation.asked, dict) else reference(operation.asked.__name__)
        content: dict[str, Any] = {"schema": schema}
        if operation.example is not None and (operation.task is None or operation.task in models):
            named = {"model": models[operation.task]} if operation.task and "{model}" not in path else {}
            content["example"] = {**named, **operation.example}
        entry["requestBody"] = {"required": True, "content": {"application/json": content}}
    return entry


def parameters_of(path: str, operation: Operation, models: Mapping[str, str]) -> list[dict[str, Any]]:
    """The parameters in the path. A served model is the example where the operation has a task."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": STRING} for name in names]
    examples = {"probe": "ready"}
    if operation.task is not None and operation.task in models:
        examples["model"] = models[operation.task]
    return [
        each | ({"example": examples[str(each["name"])]} if each["name"] in examples else {}) for each in parameters
    ]


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


@cache
def schemas() -> dict[str, Schema]:
    """The schemas of errors, and of the models that check requests with all that they refer to."""
    _, defined = models_json_schema(
        [(model, "validation") for model in CHECKED], ref_template="#/components/schemas/{model}"
    )
    own: dict[str, Schema] = once(defined["$defs"])
    return answers.ERRORS | own


def once(value: Any) -> Any:
    """The schema with each member of a union once: pydantic repeats a model that stands for several types."""
    if isinstance(value, list):
        return [once(each) for each in value]
    if not isinstance(value, dict):
        return value
    copied = {name: once(each) for name, each in value.items()}
    if isinstance(members := copied.get("oneOf"), list):
        copied["oneOf"] = [each for at, each in enumerate(members) if each not in members[:at]]
    return copied
