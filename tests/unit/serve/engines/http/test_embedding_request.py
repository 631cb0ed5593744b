"""What a client may ask of an embedding engine: every form of input that OpenAI has, and nothing silently."""

import json
from typing import Any

import pytest

from serve.engines.http.embedding_request import EmbeddingRequest
from serve.engines.http.text_request import parse
from variants.errors import InputError

IDENTITY = {"user": "ada", "safety_identifier": "ada", "prompt_cache_key": "k", "prompt_cache_retention": "24h"}


def asked(**fields: Any) -> EmbeddingRequest:
    return parse(EmbeddingRequest, json.dumps({"model": "m", **fields}).encode())


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("one text", ["one text"]),
        (["one", "two"], ["one", "two"]),
        ([5, 6, 7], [[5, 6, 7]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
        (["5"], ["5"]),
    ],
)
def test_one_or_several_as_text_or_as_ids(given: Any, inputs: Any) -> None:
    assert asked(input=given, encoding_format="base64", **IDENTITY).inputs == inputs


@pytest.mark.parametrize(
    ("given", "field"),
    [("", "input"), ([], "input"), (["a", ""], "input[1]"), ([[5], []], "input[1]"), (["a"] * 2049, "input")],
)
def test_nothing_and_too_many_are_refused_by_place(given: Any, field: str) -> None:
    with pytest.raises(InputError) as refused:
        _ = asked(input=given).inputs
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["a", 7]}, "input.1"),
        ({"input": [1, True]}, "input.0"),
        ({"input": [1.5]}, "input.0"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "truncate": True}, "truncate"),
        ({"input": "a", "add_special_tokens": False}, "add_special_tokens"),
        ({"input": "a", "add_special_tokens": 1}, "add_special_tokens"),
        ({"input": "a", "embed_dtype": "float16"}, "embed_dtype"),
    ],
)
def test_what_is_no_request_names_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refused:
        asked(**fields)
    assert refused.value.field == field


def test_defaults_of_other_servers_are_taken() -> None:
    defaults = {"add_special_tokens": True, "embed_dtype": "float32", "endianness": "native", "padding": "do_not_pad"}
    assert asked(input="a", truncate=False, **defaults).inputs == ["a"]
