"""Schemas of requests, for `/openapi.json`.

Those of models that check requests are made from the models. Of the others, the fields that the server itself reads,
and the best known of those that it passes on to an engine.
"""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve.api.chats.fields import IGNORED
from serve.api.chats.messages_request import MessagesRequest
from serve.api.chats.responses_request import ResponsesRequest
from serve.api.openapi.answers import ERRORS, STRING, Schema
from serve.api.pairs import Opinion
from serve.api.ranking import RerankRequest, ScoreRequest
from serve.config.stack import Stack
from serve.config.traffic import Traffic
from serve.control.contract import RolloutPlan, Search
from serve.engines.http.embedding_request import EmbeddingRequest
from serve.engines.http.image_generation_request import GenerationRequest
from serve.protocols.open_inference import DIMENSIONS
from serve.protocols.tensor_codec import DATATYPES

CHECKED: tuple[type[BaseModel], ...] = (
    ResponsesRequest,
    MessagesRequest,
    RerankRequest,
    ScoreRequest,
    EmbeddingRequest,
    GenerationRequest,
    Opinion,
    RolloutPlan,
    Search,
    Stack,
    Traffic,
)
"""Models that check requests."""
PASSED_ON = "Every other field is passed on to the engine, which checks it."
MODEL: Schema = {"type": "string", "description": "model, model@variant or model@variant:build"}


def either(*kinds: str, **bounds: Any) -> Schema:
    """One of these types, or null."""
    return {"type": [*kinds, "null"], **bounds}


def passed_on(required: dict[str, Schema], **fields: Schema) -> Schema:
    """An open schema."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | fields,
        "additionalProperties": True,
        "description": PASSED_ON,
    }


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


STOP: Schema = {
    "anyOf": [
        {"type": "string", "maxLength": 256},
        {"type": "array", "maxItems": 16, "items": {"type": "string", "minLength": 1, "maxLength": 256}},
        {"type": "null"},
    ]
}
FLAG = either("boolean")
COMMON: dict[str, Schema] = {
    "max_completion_tokens": either("integer", minimum=1),
    "temperature": either("number", minimum=0, maximum=2),
    "top_p": either("number", exclusiveMinimum=0, maximum=1),
    "top_k": either("integer", minimum=-1),
    "min_p": either("number", minimum=0, maximum=1),
    "presence_penalty": either("number", minimum=-2, maximum=2),
    "frequency_penalty": either("number", minimum=-2, maximum=2),
    "repetition_penalty": either("number", exclusiveMinimum=0),
    "n": either("integer", minimum=1),
    "stop": STOP,
    "seed": either("integer"),
    "logit_bias": either("object", additionalProperties={"type": "number", "minimum": -100, "maximum": 100}),
    "stream": FLAG,
    "stream_options": either(
        "object",
        properties={"include_usage": FLAG, "continuous_usage_stats": FLAG, "include_obfuscation": FLAG},
    ),
    "response_format": either(
        "object", required=["type"], properties={"type": {"enum": ["text", "json_object", "json_schema"]}}
    ),
    "user": either("string"),
}
"""Fields of chats and completions."""
PART: Schema = {
    "anyOf": [
        {
            "type": "object",
            "required": ["type", "text"],
            "properties": {"type": {"enum": ["text", "input_text", "output_text"]}, "text": STRING},
        },
        {"type": "object", "required": ["type"], "properties": {"type": STRING}},
    ]
}
MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "examples": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [STRING, {"type": "array", "items": PART}, {"type": "null"}]},
        "tool_calls": either("array", items={"type": "object"}),
        "tool_call_id": either("string"),
    },
}
FUNCTION: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": STRING, "description": either("string"), "parameters": either("object")},
}
CHAT = passed_on(
    {"model": MODEL, "messages": {"type": "array", "minItems": 1, "items": MESSAGE}},
    **COMMON,
    max_tokens=either("integer", minimum=1),
    logprobs=FLAG,
    top_logprobs=either("integer", minimum=0, maximum=20),
    tools=either(
        "array",
        items={
            "type": "object",
            "required": ["type", "function"],
            "properties": {"type": {"const": "function"}, "function": FUNCTION},
        },
    ),
    tool_choice={"anyOf": [{"enum": ["none", "auto", "required"]}, {"type": "object"}, {"type": "null"}]},
    parallel_tool_calls=FLAG,
)
IDS: Schema = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
PROMPT: Schema = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
        IDS,
        {"type": "array", "minItems": 1, "items": IDS},
    ]
}
COMPLETION = passed_on(
    {"model": MODEL, "prompt": PROMPT},
    **COMMON,
    max_tokens=either("integer", minimum=0),
    logprobs=either("integer", minimum=0, maximum=20),
    echo=FLAG,
    best_of=either("integer", minimum=1),
    suffix=either("string"),
)
TOKENIZE = passed_on(
    {"model": MODEL},
    prompt=either("string"),
    messages=either("array", minItems=1, items=MESSAGE),
    add_special_tokens=FLAG,
    return_token_strs=FLAG,
) | {"anyOf": [{"required": ["prompt"]}, {"required": ["messages"]}]}
TENSOR: Schema = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "datatype": {"enum": list(DATATYPES)},
        "shape": {"type": "array", "maxItems": DIMENSIONS, "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array"},
        "parameters": either("object", properties={"binary_data_size": either("integer", minimum=0)}),
    },
}
TENSORS: Schema = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "inputs": {"type": "array", "minItems": 1, "items": TENSOR},
        "id": either("string"),
        "outputs": either(
            "array",
            items={
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": STRING,
                    "parameters": either(
                        "object", properties={"binary_data": FLAG, "classification": either("integer", minimum=1)}
                    ),
                },
            },
        ),
        "parameters": either("object", properties={"binary_data_output": FLAG}),
    },
    "additionalProperties": True,
    "description": "An inference request of Open Inference Protocol v2. Tensors may follow it in binary.",
}
INDEX: Schema = {"type": "object", "properties": {"ready": FLAG}}
SCORED: Schema = {
    "type": "object",
    "required": ["id", "score"],
    "properties": {
        "id": {"type": "string", "description": "x-understudy-id of the answer"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "additionalProperties": False,
}
WHY: Schema = {"type": "string", "description": "The reason, for the journal."}
STEER: Schema = {"type": "object", "properties": {"why": WHY}}
FEEDBACK: Schema = {"anyOf": [SCORED, reference(Opinion.__name__)]}
BEGIN: Schema = {"anyOf": [reference(RolloutPlan.__name__), reference(Search.__name__)]}
PROPOSAL: Schema = {
    "type": "object",
    "required": ["stack", "artifacts"],
    "properties": {
        "stack": reference(Stack.__name__),
        "artifacts": {
            "type": "object",
            "additionalProperties": STRING,
            "description": "The key of each model@variant's artifact.",
        },
        **{name: {"type": "boolean"} for name in ("dry_run", "force", "insecure_open")},
    },
    "additionalProperties": False,
}
CANCEL: Schema = {"type": "object", "required": ["change"], "properties": {"change": {"type": "integer"}}}


@cache
def schemas() -> dict[str, Schema]:
    """The schemas of errors, and of the models that check requests with all that they refer to."""
    _, defined = models_json_schema(
        [(model, "validation") for model in CHECKED], ref_template="#/components/schemas/{model}"
    )
    own: dict[str, Schema] = once(defined["$defs"])
    own[Traffic.__name__]["properties"] |= {"why": WHY}
    for model in (EmbeddingRequest, GenerationRequest):
        own[model.__name__]["patternProperties"] = IGNORED
    return ERRORS | own


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
