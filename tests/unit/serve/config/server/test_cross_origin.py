"""Which origins `server.cors` takes."""

import pytest
from pydantic import ValidationError

from serve.config.server.cross_origin import Cors


@pytest.mark.parametrize(
    "origin", ["*", "http://localhost:5173", "https://app.example", "http://[::1]:8080", "https://a-b.example.org"]
)
def test_an_origin_is_scheme_host_and_port(origin: str) -> None:
    assert Cors(origins=(origin,)).origins == (origin,)


@pytest.mark.parametrize(
    "origin", ["localhost:5173", "https://app.example/", "https://*.example", "HTTPS://A", "null", "", "http://a\nb"]
)
def test_anything_else_is_refused_with_an_example(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin; write scheme, host and port"):
        Cors(origins=(origin,))
