"""The plainest JSON of a schema is valid under it."""

import json
from typing import Any

import jsonschema
import pytest

from serve.engines.scripted.structured import instance
from variants.errors import InputError

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object"},
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 3},
            "age": {"type": "integer", "minimum": 18, "maximum": 99},
            "score": {"type": "number", "exclusiveMinimum": 0.5},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "mood": {"enum": ["good", "bad"]},
            "spare": {"type": ["string", "null"]},
            "not_required": {"type": "integer"},
        },
        "required": ["name", "age", "score", "tags", "mood", "spare"],
        "additionalProperties": False,
    },
    {"type": "array", "prefixItems": [{"const": 1}, {"type": "boolean"}], "minItems": 3, "items": {"type": "null"}},
    {"anyOf": [{"type": "integer", "maximum": -4}, {"type": "string"}]},
    {"$defs": {"one": {"type": "integer", "exclusiveMaximum": 0}}, "type": "object", "required": ["a"],
     "properties": {"a": {"$ref": "#/$defs/one"}}},
    {"type": "number", "minimum": -3, "maximum": 3},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_it_is_valid_and_the_same_each_time(schema: dict[str, Any]) -> None:
    jsonschema.validate(json.loads(instance(schema)), schema)
    assert instance(schema) == instance(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^a+$"},
        {"allOf": [{"type": "string"}]},
        {"type": "date"},
        {"enum": []},
        {"$ref": "#/$defs/nobody"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "minLength": "3"},
        {"type": "object", "required": 7},
        {"type": "array", "items": 7, "minItems": 1},
        {"type": "object", "properties": {"a": {"multipleOf": 7}}, "required": ["a"]},
    ],
)
def test_what_it_does_not_know_is_refused_by_name(schema: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        instance(schema)
    assert refused.value.field == "response_format"
