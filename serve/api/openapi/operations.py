"""Every operation of the API, for `/openapi.json`: what it does, what it takes and what it answers."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from serve.api.chats.messages_request import MessagesRequest
from serve.api.chats.responses_request import ResponsesRequest
from serve.api.openapi import answers, requests
from serve.api.openapi.answers import STRING, Schema
from serve.api.ranking import RerankRequest, ScoreRequest
from serve.config.traffic import Traffic
from serve.engines.http.embedding_request import EmbeddingRequest
from serve.engines.http.image_generation_request import GenerationRequest
from variants.artifacts.manifest import TaskKind

TEXT: TaskKind = "text-generation"
EMBED: TaskKind = "feature-extraction"
DRAW: TaskKind = "image-generation"
JSON, STREAM, BINARY = "application/json", "text/event-stream", "application/octet-stream"


class Operation(NamedTuple):
    """One method of a path. `asked` is the request's schema or the model that checks it, `answer` the schema of a
    successful answer in JSON, whose other types `content` has. `example` lacks the model, which is one of `task`.
    `takes` are the types of a request, whose body may be `optional`. `parameters` are in headers and the query. What
    `probes` says in status 503 what is not ready."""

    says: str
    answer: Schema
    asked: Schema | type[BaseModel] | None = None
    example: dict[str, Any] | None = None
    task: TaskKind | None = None
    content: tuple[str, ...] = (JSON,)
    takes: tuple[str, ...] = (JSON,)
    statuses: tuple[int, ...] = (200,)
    parameters: tuple[Schema, ...] = ()
    optional: bool = False
    probes: bool = False


def header(name: str, says: str, schema: Schema = STRING, required: bool = False) -> Schema:
    return {"name": name, "in": "header", "required": required, "description": says, "schema": schema}


LABELLED = (
    header("x-understudy-client", "A client's name: with sticky traffic, a client stays with one variant."),
    header("x-understudy-label", "The right answer: the answer is scored by it."),
    header("x-understudy-task", "The task that the label belongs to."),
    header("x-understudy-shadow", "`off`: the request is never replayed on another variant."),
)
"""Headers of a request for inference."""
WHO = header("x-understudy-who", "Who changes it, for the journal.")
IF_MATCH = header(
    "if-match",
    "The version that the client has read, as in `etag`; `*` for any.",
    {"type": "string", "pattern": r'^(\*|"?[0-9]{1,9}"?)$'},
    required=True,
)
HEAD_LENGTH = header(
    "inference-header-content-length",
    "The bytes of the JSON part, where tensors follow it in binary.",
    {"type": "integer", "minimum": 0},
)
LAST: Schema = {
    "name": "last",
    "in": "query",
    "description": "The number of entries.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 100},
}
PAIRS: tuple[Schema, ...] = (
    {"name": "variant", "in": "query", "description": "Only pairs of this variant.", "schema": STRING},
    {
        "name": "limit",
        "in": "query",
        "description": "The largest number of pairs.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    },
)
SAID = [{"role": "user", "content": "Name a colour."}]
INPUT = [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a colour"]}]

ASKED: dict[str, Operation] = {
    "/v1/chat/completions": Operation(
        "A chat.",
        answers.CHAT,
        requests.CHAT,
        {"messages": SAID, "max_tokens": 8},
        TEXT,
        (JSON, STREAM),
        parameters=LABELLED,
    ),
    "/v1/completions": Operation(
        "A completion.",
        answers.COMPLETION,
        requests.COMPLETION,
        {"prompt": "A colour:", "max_tokens": 8},
        TEXT,
        (JSON, STREAM),
        parameters=LABELLED,
    ),
    "/v1/responses": Operation(
        "OpenAI's Responses; nothing is stored.",
        answers.RESPONSE,
        ResponsesRequest,
        {"input": "Name a colour.", "max_output_tokens": 8},
        TEXT,
        (JSON, STREAM),
        parameters=LABELLED,
    ),
    "/v1/messages": Operation(
        "Anthropic's Messages.",
        answers.MESSAGE,
        MessagesRequest,
        {"messages": SAID, "max_tokens": 8},
        TEXT,
        (JSON, STREAM),
        parameters=LABELLED,
    ),
    "/tokenize": Operation("The tokens of a text.", answers.TOKENS, requests.TOKENIZE, {"prompt": "A colour"}, TEXT),
    "/v1/embeddings": Operation(
        "Embeddings of texts.",
        answers.EMBEDDINGS,
        EmbeddingRequest,
        {"input": ["a colour", "a sound"]},
        EMBED,
        parameters=LABELLED,
    ),
    "/v1/rerank": Operation(
        "Documents by their nearness to a query.",
        answers.RANKING,
        RerankRequest,
        {"query": "a colour", "documents": ["red", "a red colour"]},
        EMBED,
        parameters=LABELLED,
    ),
    "/v1/score": Operation(
        "Nearness of pairs of texts.",
        answers.SCORES,
        ScoreRequest,
        {"text_1": "a colour", "text_2": ["red", "a red colour"]},
        EMBED,
        parameters=LABELLED,
    ),
    "/v1/images/generations": Operation(
        "Pictures.", answers.PICTURES, GenerationRequest, {"prompt": "a 7"}, DRAW, parameters=LABELLED
    ),
    "/v2/models/{model}/infer": Operation(
        "Inference.",
        answers.TENSORS,
        requests.TENSORS,
        {"inputs": INPUT},
        EMBED,
        (JSON, BINARY),
        (JSON, BINARY),
        parameters=(HEAD_LENGTH, *LABELLED),
    ),
    "/v2/models/{model}/versions/{variant}/infer": Operation(
        "Inference by a variant.",
        answers.TENSORS,
        requests.TENSORS,
        {"inputs": INPUT},
        EMBED,
        (JSON, BINARY),
        (JSON, BINARY),
        parameters=(HEAD_LENGTH, *LABELLED),
    ),
    "/v2/repository/index": Operation(
        "Every variant and its state.",
        answers.INDEX,
        requests.INDEX,
        {"ready": True},
        optional=True,
    ),
    "/v1/feedback": Operation(
        "A score for an answer, or which of two answers is better.", answers.RECEIPT, requests.FEEDBACK
    ),
    "/admin/v1/models/{model}/rollout": Operation(
        "Begin a rollout, or a search by rollouts.", answers.OBJECT, requests.BEGIN, task=TEXT, parameters=(WHO,)
    ),
    "/admin/v1/models/{model}/rollout/{action}": Operation(
        "Pause, resume or abort a rollout.", answers.OBJECT, requests.STEER, task=TEXT, parameters=(WHO,), optional=True
    ),
    "/admin/v1/stack": Operation(
        "Propose a stack: 202 when the change has begun, 200 for a dry run.",
        answers.OBJECT,
        requests.PROPOSAL,
        statuses=(200, 202),
    ),
    "/ping": Operation("Whether the models can answer.", answers.OBJECT, probes=True),
}
"""By path: what POST does."""
READ: dict[str, Operation] = {
    "/v1/models": Operation("Models and variants by name.", answers.MODELS),
    "/v1/models/{model}": Operation("One of them.", answers.OBJECT, task=TEXT),
    "/health": Operation("Whether the models can answer; needs no key.", answers.OBJECT, probes=True),
    "/ping": Operation("The same.", answers.OBJECT, probes=True),
    "/metrics": Operation("Metrics of Prometheus; needs no key.", STRING, content=("text/plain",)),
    "/openapi.json": Operation("This document.", answers.OBJECT),
    "/v2": Operation("The server's name and version.", answers.OBJECT),
    "/v2/health/{probe}": Operation(
        "Whether the server lives, or is ready; needs no key.", answers.OBJECT, probes=True
    ),
    "/v2/models/stats": Operation("Statistics of every variant.", answers.STATISTICS),
    **{
        f"/v2/models/{{model}}{version}{path}": Operation(says, schema, task=EMBED)
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
    "/admin/v1/models/{model}/rollout": Operation("The latest rollout.", answers.OBJECT, task=TEXT),
    "/admin/v1/models/{model}/rollouts": Operation("Every rollout, the latest first.", answers.ROLLOUTS, task=TEXT),
    "/admin/v1/models/{model}/rollouts/{id}": Operation("A rollout as a document.", answers.ROLLOUT, task=TEXT),
    "/admin/v1/models/{model}/pairs": Operation(
        "Kept pairs whose answers differ, with prompt and answers.", answers.PAIRS, parameters=PAIRS
    ),
    "/admin/v1/journal": Operation("The latest decisions and counts.", answers.JOURNAL, parameters=(LAST,)),
    "/admin/v1/stack": Operation("The live stack and the latest changes.", answers.OBJECT),
}
"""By path: what GET does."""
OTHERS: dict[str, dict[str, Operation]] = {
    "/admin/v1/models/{model}/traffic": {
        "put": Operation("Set the shares.", answers.OBJECT, Traffic, task=TEXT, parameters=(IF_MATCH, WHO))
    },
    "/admin/v1/stack": {
        "delete": Operation(
            "Cancel a change that has not taken effect.", answers.OBJECT, requests.CANCEL, optional=True
        )
    },
}
"""By path: what other methods do."""


def operations() -> Iterator[tuple[str, str, Operation]]:
    """Every path, its method in lower case, and what it does."""
    for path, operation in READ.items():
        yield path, "get", operation
    for path, operation in ASKED.items():
        yield path, "post", operation
    for path, by_method in OTHERS.items():
        for method, operation in by_method.items():
            yield path, method, operation
