"""One real server over scripted engines for all tests of this folder that do not disturb it."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.processes import server


class Served(NamedTuple):
    url: str
    pid: int


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with server(tmp_path_factory.mktemp("home"), "tests.serve_scripted", "{port}", "token_s=0.002") as found:
        yield Served(*found)
