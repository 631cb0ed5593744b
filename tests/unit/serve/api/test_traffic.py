"""Requests that the traffic routes refuse before they ask the controller."""

from typing import cast

import pytest
from starlette.requests import Request

from serve.api.traffic import if_match, read_journal, why_of
from serve.control.contract import ControllerClient
from variants.errors import InputError

NOBODY = cast(ControllerClient, None)


@pytest.mark.parametrize("last", [b"%C2%B2", b"\xb2", b"0", b"10001", b"9" * 5000, b"-1", b"ten"])
async def test_an_invalid_number_of_entries_is_refused(last: bytes) -> None:
    with pytest.raises(InputError) as refused:
        await read_journal(NOBODY, Request({"type": "http", "query_string": b"last=" + last}), {})
    assert refused.value.field == "last"


@pytest.mark.parametrize(("tag", "version"), [(b'"7"', 7), (b"7", 7), (b"*", None)])
def test_the_version_of_a_change(tag: bytes, version: int | None) -> None:
    assert if_match(Request({"type": "http", "headers": [(b"if-match", tag)]})) == version


@pytest.mark.parametrize("tag", [None, b"", b'"', b"-1", b"+1", b"1_0", b" 1", b"\xb2", b'W/"1"', b"1.0", b"9" * 5000])
def test_what_is_no_version_is_refused(tag: bytes | None) -> None:
    headers = [] if tag is None else [(b"if-match", tag)]
    with pytest.raises(InputError) as refused:
        if_match(Request({"type": "http", "headers": headers}))
    assert refused.value.field == "If-Match"
    assert len(str(refused.value)) < 300


def test_the_reason_of_a_change_is_text() -> None:
    body = {"why": "it is faster", "weights": {}}
    assert (why_of(body), why_of(body), body) == ("it is faster", "", {"weights": {}})
    with pytest.raises(InputError, match="why"):
        why_of({"why": 1})
