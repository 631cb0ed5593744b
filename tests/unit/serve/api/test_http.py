"""Reading a request body: complete, decompressed, and never above the limit."""

import gzip
import zlib
from typing import Any

import pytest

from serve.api.http import read_body
from serve.errors import ClientLeft, TooLarge, status_of
from variants.errors import InputError

BODY = b'{"inputs": []}' * 20
LIMIT = len(BODY)


async def read(body: bytes, encoding: str | None = None, whole: bool = True) -> bytes:
    """Read a body that comes in two messages; unless `whole`, the client leaves after the first."""
    half = len(body) // 2
    second = {"type": "http.request", "body": body[half:]} if whole else {"type": "http.disconnect"}
    messages = iter([{"type": "http.request", "body": body[:half], "more_body": True}, second])

    async def receive() -> dict[str, Any]:
        return next(messages)

    return await read_body({"headers": [(b"content-encoding", encoding.encode())] if encoding else []}, receive, LIMIT)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, None),
        (BODY, "identity"),
        (gzip.compress(BODY, mtime=0), "gzip"),
        (gzip.compress(BODY, mtime=0), "GZIP"),
        (zlib.compress(BODY), "deflate"),
    ],
)
async def test_a_body_is_read_however_it_came(body: bytes, encoding: str | None) -> None:
    assert await read(body, encoding) == BODY


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(BODY + b"x", None), (gzip.compress(BODY + b"x", mtime=0), "gzip"), (zlib.compress(b"0" * 10**8), "deflate")],
)
async def test_the_limit_is_on_what_was_compressed(body: bytes, encoding: str | None) -> None:
    with pytest.raises(TooLarge, match="above 280 bytes"):
        await read(body, encoding)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, "gzip"),
        (b"", "gzip"),
        (gzip.compress(BODY, mtime=0)[:-3], "gzip"),
        (gzip.compress(BODY, mtime=0) + b"x", "gzip"),
        (BODY, "br"),
        (gzip.compress(BODY, mtime=0), "gzip, gzip"),
    ],
)
async def test_what_cannot_be_inflated_names_the_header(body: bytes, encoding: str) -> None:
    with pytest.raises(InputError) as refused:
        await read(body, encoding)
    assert refused.value.field == "Content-Encoding"
    assert refused.value.mend


async def test_who_leaves_while_uploading_is_counted_as_gone() -> None:
    with pytest.raises(ClientLeft) as left:
        await read(BODY, whole=False)
    assert status_of(left.value) == 499
