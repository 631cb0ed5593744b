"""Schemas of answers and errors, for `/openapi.json`: the fields that every answer has. Answers may have more."""

from typing import Any

Schema = dict[str, Any]
STRING, INTEGER, NUMBER, BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))
NULLABLE: Schema = {"type": ["string", "null"]}
OBJECT: Schema = {"type": "object"}


def of(**fields: Schema) -> Schema:
    return {"type": "object", "required": list(fields), "properties": fields}


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def const(value: str) -> Schema:
    return {"const": value}


USAGE = of(prompt_tokens=INTEGER, completion_tokens=INTEGER, total_tokens=INTEGER)
TURN = of(role=const("assistant"), content=NULLABLE)
CHAT = of(
    id=STRING,
    object=const("chat.completion"),
    model=STRING,
    choices=many(of(index=INTEGER, message=TURN, finish_reason=NULLABLE)),
    usage=USAGE,
)
COMPLETION = of(
    id=STRING,
    object=const("text_completion"),
    model=STRING,
    choices=many(of(index=INTEGER, text=STRING, finish_reason=NULLABLE)),
    usage=USAGE,
)
RESPONSE = of(
    id=STRING,
    object=const("response"),
    status={"enum": ["completed", "incomplete"]},
    model=STRING,
    output=many(of(id=STRING, type={"enum": ["message", "function_call", "reasoning"]})),
    usage=of(input_tokens=INTEGER, output_tokens=INTEGER, total_tokens=INTEGER),
)
MESSAGE = of(
    id=STRING,
    type=const("message"),
    role=const("assistant"),
    model=STRING,
    content=many(of(type={"enum": ["text", "tool_use", "thinking"]})),
    stop_reason=NULLABLE,
    stop_sequence=NULLABLE,
    usage=of(input_tokens=INTEGER, output_tokens=INTEGER),
)
TOKENS = of(count=INTEGER, tokens=many(INTEGER), max_model_len=INTEGER)
EMBEDDINGS = of(
    object=const("list"),
    model=STRING,
    data=many(of(index=INTEGER, object=const("embedding"), embedding={"type": ["array", "string"]})),
    usage=of(prompt_tokens=INTEGER, total_tokens=INTEGER),
)
RANKING = of(
    id=STRING, model=STRING, results=many(of(index=INTEGER, relevance_score=NUMBER)), usage=of(total_tokens=INTEGER)
)
SCORES = of(
    id=STRING,
    object=const("list"),
    model=STRING,
    data=many(of(index=INTEGER, object=const("score"), score=NUMBER)),
    usage=of(total_tokens=INTEGER),
)
PICTURES = of(data=many(of(b64_json=STRING)))
MODELS = of(object=const("list"), data=many(of(id=STRING, object=const("model"), created=INTEGER)))
TENSOR = of(name=STRING, datatype=STRING, shape=many(INTEGER))
TENSORS = of(model_name=STRING, model_version=STRING, outputs=many(TENSOR))
METADATA = of(name=STRING, versions=many(STRING), platform=STRING, inputs=many(TENSOR), outputs=many(TENSOR))
CONFIGURATION = of(name=STRING, platform=STRING, max_batch_size=INTEGER, input=many(OBJECT), output=many(OBJECT))
STATISTICS = of(
    model_stats=many(
        of(name=STRING, version=STRING, inference_count=INTEGER, execution_count=INTEGER, inference_stats=OBJECT)
    )
)
INDEX = many(of(name=STRING, version=STRING, state={"enum": ["READY", "UNAVAILABLE"]}, reason=STRING))
PREFERRED: Schema = {"enum": [-1, 0, 1, None]}
COUNTED = {"counted": BOOLEAN, "model": STRING, "variant": STRING}
RECEIPT: Schema = {**of(**COUNTED), "properties": {**COUNTED, "why": STRING}}
"""`why` is there where an opinion does not count."""
SUMMARY = {"id": STRING, "variant": STRING, "parent": STRING, "began": STRING, "status": STRING, "why": STRING}
ROLLOUTS = of(model=STRING, rollouts=many(of(**SUMMARY)))
ROLLOUT = of(schema=INTEGER, **SUMMARY, plan=OBJECT, steps=many(OBJECT), evidence=many(OBJECT), journal=OBJECT)
PAIRS = of(
    model=STRING,
    pairs=many(
        of(
            id=STRING,
            at=NUMBER,
            variant=STRING,
            parent=STRING,
            evidence=STRING,
            prompt=NULLABLE,
            answers=of(variant=STRING, parent=STRING),
            known=PREFERRED,
            outcome=PREFERRED,
            by=NULLABLE,
        )
    ),
)
JOURNAL = of(entries=many(OBJECT))
ERRORS: dict[str, Schema] = {
    "Error": of(error=of(message=STRING, type=STRING, param=NULLABLE, code=NULLABLE)),
    "OpenInferenceError": of(error=STRING),
    "AnthropicError": of(type=const("error"), error=of(type=STRING, message=STRING)),
}
