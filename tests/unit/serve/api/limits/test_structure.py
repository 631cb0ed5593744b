"""The structure of a JSON text is bounded before it is parsed."""

import gzip
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.api.http import parse_object
from serve.api.limits.structure import DOCUMENT, PIECE, Structure, check_structure
from variants.errors import InputError

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\[]{},: é', max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\[{', max_size=3), inner, max_size=4),
    max_leaves=20,
)


def levels(value: Any) -> int:
    if not isinstance(value, (list, dict)):
        return 0
    return 1 + max(map(levels, value.values() if isinstance(value, dict) else value), default=0)


def containers(value: Any) -> int:
    if not isinstance(value, (list, dict)):
        return 0
    return 1 + sum(map(containers, value.values() if isinstance(value, dict) else value))


def keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(keys, value.values()))
    return sum(map(keys, value)) if isinstance(value, list) else 0


def fed(text: bytes, step: int) -> Structure:
    """A structure that was fed `text` in pieces of `step` bytes."""
    structure = Structure()
    for at in range(0, len(text), step):
        structure.feed(text[at : at + step])
    return structure


@given(ANY_JSON, st.integers(1, 7), st.booleans())
def test_what_is_counted_is_what_a_parser_would_make(value: Any, step: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    structure = fed(text, step)
    assert (structure.depth, structure.inside) == (0, False)
    assert (structure.containers, structure.keys) == (containers(value), keys(value))


@given(ANY_JSON)
def test_an_object_within_the_bounds_is_parsed_as_json_does(value: Any) -> None:
    assert parse_object(json.dumps({"a": value}).encode()) == {"a": value}


@pytest.mark.parametrize("step", [1, 3, PIECE])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":', b'"[[[" , [', b'["]]]]", '])
def test_nesting_is_bounded_wherever_it_stands(opening: bytes, step: int) -> None:
    with pytest.raises(InputError, match="more than 64 nested levels"):
        fed(opening * 100, step)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"[" + b"[]," * 2**15 + b"0]", "lists and objects"),
        (b"[" + b"{}," * 2**15 + b"0]", "lists and objects"),
        (b'{"a":' + b"[[]]," * 2**15, "lists and objects"),
        (b"{" + b'"a":1,' * 2**17 + b'"b":1}', "keys"),
        (b'{"a":[' + b"1," * 2**20 + b"1]}", "values"),
        (b'{"a":[' + b'"",' * 2**20 + b'""]}', "values"),
    ],
)
def test_the_number_of_values_is_bounded(text: bytes, what: str) -> None:
    with pytest.raises(InputError, match=f"more than [0-9]+ {what}") as refused:
        parse_object(text)
    assert refused.value.mend


def test_what_stands_in_a_string_does_not_count() -> None:
    text = json.dumps({"prompt": '[{,:"\\' * 2**20}).encode()
    assert len(parse_object(text)["prompt"]) == 6 * 2**20


def test_the_largest_structures_that_clients_send_are_taken() -> None:
    ids = {"input": [list(range(500))] * 2000}
    talk = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}] * 10_000}
    bias = {"logit_bias": {str(token): 1 for token in range(128_000)}}
    for document in (ids, talk, bias):
        assert parse_object(json.dumps(document).encode()) == document


def test_a_text_that_was_scanned_while_it_was_inflated_is_not_scanned_again() -> None:
    text = json.dumps({"a": [1] * PIECE}).encode()
    scanned, fresh = Structure(), Structure()
    scanned.feed(text)
    assert parse_object(text, scanned) == parse_object(text, fresh)
    assert scanned.scanned == fresh.scanned == len(text)
    with pytest.raises(InputError, match="nested levels"):
        parse_object(b"[" * 100, Structure())


def test_a_text_of_nested_lists_is_refused_at_its_beginning() -> None:
    began = time.perf_counter()
    with pytest.raises(InputError):
        check_structure(b"[" * 32 * 2**20, Structure())
    assert time.perf_counter() - began < 5  # it takes a tenth of a millisecond
    assert len(gzip.compress(b"[" * 32 * 2**20)) < 40_000


@pytest.mark.parametrize(
    "body",
    [b'{"a":\xff}', b'{"a":"\xff"}', b"]" * 100, b'{"a":"\\ud800"}', b'{"a":NaN}', b"", b"[]", b'{"a"', b"1" * 9999],
)
def test_what_is_no_json_object_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(InputError, match=r"not (a )?JSON|half a character|NaN") as refused:
        parse_object(body)
    assert refused.value.mend


def test_the_bounds_are_those_that_the_documents_name() -> None:
    assert (DOCUMENT.levels, DOCUMENT.containers, DOCUMENT.keys, DOCUMENT.values) == (64, 32768, 131072, 1048576)
