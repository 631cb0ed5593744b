"""Requests that the traffic routes refuse before they ask the controller."""

from typing import cast

import pytest
from starlette.requests import Request

from serve.api.traffic import read_journal
from serve.control.contract import ControllerClient
from variants.errors import InputError

NOBODY = cast(ControllerClient, None)


@pytest.mark.parametrize("last", [b"%C2%B2", b"\xb2", b"0", b"10001", b"9" * 5000, b"-1", b"ten"])
async def test_an_invalid_number_of_entries_is_refused(last: bytes) -> None:
    with pytest.raises(InputError) as refused:
        await read_journal(NOBODY, Request({"type": "http", "query_string": b"last=" + last}), {})
    assert refused.value.field == "last"
