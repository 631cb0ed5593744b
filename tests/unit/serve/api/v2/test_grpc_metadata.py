"""A call's metadata as the headers of its HTTP request."""

from types import SimpleNamespace

import pytest

from serve.api.http import TextHeaders
from serve.api.v2.grpc_server import headers_of


@pytest.mark.parametrize("client", ["ann", "anné", "安", "👍"])
def test_text_of_any_language_arrives(client: str) -> None:
    metadata = (("x-understudy-client", client), ("picture-bin", b"\xff"))
    headers = headers_of(SimpleNamespace(invocation_metadata=lambda: metadata))
    assert TextHeaders(raw=headers)["x-understudy-client"] == client
    assert "picture-bin" not in dict(headers)
