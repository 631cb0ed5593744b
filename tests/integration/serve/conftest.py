"""One server on Ray for all tests that change, break or kill parts of it and wait until it is whole again."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.family import SLOW, Family
from tests.processes import server


class OnRay(NamedTuple):
    """A server of `echo` alone, the family that it serves, its home and where it keeps its traffic."""

    url: str
    pid: int
    family: Family
    home: Path
    state: Path


@pytest.fixture(scope="session")
def started_on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    home = tmp_path_factory.mktemp("home")
    command = ("tests.serve_scripted", "{port}", "model=echo", "token_s=0.02", f"state={home / 'traffic'}")
    with server(home, *command) as (url, pid):
        yield OnRay(url, pid, Family(home, 8000), home, home / "traffic")


@pytest.fixture
def on_ray(started_on_ray: OnRay) -> OnRay:
    """The server with the two variants that it has begun with."""
    family = started_on_ray.family
    family.variants = {"baseline": {"weight": 90, "engine": SLOW}, "int8": {"weight": 10, "engine": SLOW}}
    family.builds = {}
    with httpx.Client(base_url=started_on_ray.url, timeout=60) as client:
        answer = client.post("/admin/v1/stack", json=family.proposal(force=True))
        assert answer.status_code == 202, answer.text
        while (change := client.get("/admin/v1/stack").json()["change"])["state"] not in ("done", "failed"):
            time.sleep(0.1)
    assert change["state"] == "done", change
    return started_on_ray
