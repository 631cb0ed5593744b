"""The demo's own stack with real weights, served once for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.support.processes import ROOT, server
from variants.home import home

STACK = ROOT / "deploy" / "stacks" / "demo.yaml"


@pytest.fixture(scope="package")
def demo() -> Iterator[tuple[str, int]]:
    """The server's URL and pid."""
    with server(home(), "serve.cli", "serve", str(STACK), "--port", "{port}", "--json") as served:
        yield served
