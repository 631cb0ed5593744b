"""JSON schemas: what satisfies one, and which schemas are refused."""

import json
import time
from typing import Any

import pytest

from variants.metrics.answer_scores import score_of
from variants.metrics.json_schema import check_schema, satisfies
from variants.metrics.scoring import is_correct

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "rank": {"$ref": "#/$defs/rank"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"rank": {"type": "integer", "minimum": 1}},
}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"city": "Rome"}', True),
        (' ```json\n{"city": "Rome", "rank": 3}\n``` ', True),
        ('{"city": "rome"}', False),
        ('{"city": "Rome", "rank": 0}', False),
        ('{"city": "Rome", "more": 1}', False),
        ('{"rank": 3}', False),
        ('{"city": "Rome"', False),
        ("Rome", False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_an_answer_and_a_schema(answer: str, right: bool) -> None:
    check_schema(CITY)
    schema = json.dumps(CITY)
    assert score_of("schema", answer, schema) == right
    assert is_correct("schema", answer, schema) is right


def test_a_pattern_has_a_time_limit_and_a_loop_an_end() -> None:
    began = time.perf_counter()
    slow = {"type": "string", "pattern": "^(a|aa)+$"}
    check_schema(slow)
    assert satisfies(json.dumps("a" * 60 + "b"), json.dumps(slow)) == 0
    check_schema({"$ref": "#"})
    assert satisfies("1", '{"$ref": "#"}') == 0
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "text"}, "is no JSON schema: schema.type: 'text'"),
        ({"required": "city"}, "is no JSON schema: schema.required"),
        ({"$ref": "#/$defs/gone"}, "leads nowhere"),
        ({"items": {"$ref": "http://127.0.0.1:9/schema.json"}}, "leads nowhere: only parts of the same schema"),
        ({"properties": {"a": {"pattern": "("}}}, "is not a 'regex'"),
        ({"patternProperties": {"^a": {}}}, "has no time limit here"),
    ],
)
def test_a_schema_that_cannot_be_carried_out(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_schema(schema)


def test_a_label_of_a_client_runs_no_expression_without_a_limit() -> None:
    slow = json.dumps({"items": {"patternProperties": {"^(a|aa)+$": {}}}})
    assert satisfies(json.dumps([{"a" * 60 + "b": 1}]), slow) == 0
