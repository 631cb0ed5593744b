"""What several folders of integration tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from serve.ports import free_port
from tests.integration.detectors import build_small, share_sources, small_stack
from tests.support.processes import server
from variants.artifacts.store import Artifact


class Detectors(NamedTuple):
    home: str
    artifacts: dict[str, Artifact]


class Served(NamedTuple):
    url: str
    pid: int
    grpc_port: int | None = None
    home: Path | None = None


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One real server over scripted engines for all tests that do not disturb it."""
    grpc_port = free_port()
    command = "tests.support.serve_scripted", "{port}", f"grpc_port={grpc_port}", "token_s=0.002"
    home = tmp_path_factory.mktemp("home")
    with server(home, *command) as (url, pid):
        yield Served(url, pid, grpc_port, home)


@pytest.fixture(scope="session")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Detectors:
    """The small detector and its variants, and the home that they are in."""
    folder, stack = tmp_path_factory.mktemp("detectors"), small_stack()
    share_sources(folder, stack)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(folder))
        artifacts = build_small(stack)
    return Detectors(str(folder), artifacts)
