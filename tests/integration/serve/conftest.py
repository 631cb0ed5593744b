"""One server on Ray for all tests that change, break or kill parts of it and wait until it is whole again."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.family import Family
from tests.support.processes import server

CHANGE_LIMIT_S = 180.0


class OnRay(NamedTuple):
    """A server of `echo` alone, the family that it serves, and its home."""

    url: str
    pid: int
    family: Family
    home: Path


@pytest.fixture(scope="session")
def started_on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    home = tmp_path_factory.mktemp("home")
    command = ("tests.support.serve_scripted", "{port}", "model=echo", "token_s=0.02")
    with server(home, *command) as (url, pid):
        yield OnRay(url, pid, Family(home, 8000), home)


@pytest.fixture
def on_ray(started_on_ray: OnRay) -> OnRay:
    """The server with the two variants that it has begun with."""
    family = Family(started_on_ray.home, 8000)
    with httpx.Client(base_url=started_on_ray.url, timeout=60) as client:
        ended(client)
        answer = client.post("/admin/v1/stack", json=family.proposal(force=True))
        assert answer.status_code == 202, answer.text
        change = ended(client)
    assert change is not None
    assert change["state"] == "done", change
    return started_on_ray._replace(family=family)


def ended(client: httpx.Client) -> dict[str, Any] | None:
    """The latest change, once it has ended; None where there was none."""
    deadline = time.monotonic() + CHANGE_LIMIT_S
    while True:
        change: dict[str, Any] | None = client.get("/admin/v1/stack").json()["change"]
        if change is None or change["state"] in ("done", "failed", "cancelled"):
            return change
        assert time.monotonic() < deadline, change
        time.sleep(0.1)
