"""A model's traffic changes under load: at once, without a failed request, one writer at a time, with a journal."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.config.snapshot import build_snapshot
from serve.control.traffic_manager import TrafficManager
from serve.ports import free_port
from tests.support.family import Family
from tests.support.labelled_load import labelled
from tests.support.local_stage import Local, local

pytestmark = pytest.mark.integration
TRAFFIC = "/admin/v1/models/echo/traffic"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


def family_of(home: Path) -> Family:
    family = Family(home, free_port())
    family.variants = {"baseline": {"weight": 90}, "int8": {"weight": 10, "parent": "baseline"}}
    return family


async def put(client: httpx.AsyncClient, match: str | None = "*", **traffic: Any) -> httpx.Response:
    headers = {"if-match": match} if match else {}
    return await client.put(TRAFFIC, json=traffic, headers=headers | {"x-understudy-who": "test"})


async def test_weights_move_at_once_and_no_request_fails(tmp_path: Path) -> None:
    family = family_of(tmp_path)
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4) as load,
    ):
        await asyncio.sleep(0.5)
        answer = await put(served.client, weights={"baseline": 0, "int8": 1}, why="try it")
        assert answer.status_code == 200, answer.text
        before = load.variants["baseline"]
        await asyncio.sleep(0.5)
        assert load.variants["baseline"] <= before + 4  # requests that were already open
        answer = await served.client.get(TRAFFIC)
        assert answer.json()["shares"] == {"baseline": 0.0, "int8": 1.0}
        assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
        entry = (await served.client.get("/admin/v1/journal?last=1")).json()["entries"][0]
        assert (entry["kind"], entry["who"], entry["why"]) == ("traffic", "test", "try it")
    assert set(load.statuses) == {200}
    assert load.statuses[200] > 50


async def test_of_two_writers_one_is_told_that_it_is_late(tmp_path: Path) -> None:
    family = family_of(tmp_path)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        seen = (await served.client.get(TRAFFIC)).headers["etag"]
        first, second = await asyncio.gather(
            put(served.client, seen, weights={"baseline": 1, "int8": 1}),
            put(served.client, seen, weights={"baseline": 1, "int8": 2}),
        )
        assert sorted([first.status_code, second.status_code]) == [200, 412]
        late = first if first.status_code == 412 else second
        assert late.json()["error"]["code"] == "stale"
        assert (await put(served.client, None, weights={"baseline": 1, "int8": 1})).status_code == 400


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"weights": {"baseline": 1}}, "weights"),
        ({"weights": {"baseline": -1, "int8": 1}}, "weights.baseline"),
        ({"weights": {"baseline": 0, "int8": 0}}, "weights"),
        ({"weights": {"baseline": 1, "int8": 1, "int9": 1}}, "weights"),
        ({"weights": {"baseline": 1, "int8": 1}, "shadows": {"int8": 2}}, "shadows.int8"),
        ({"weights": {"baseline": 1, "int8": 1}, "pins": {"me": "int9"}}, "pins"),
        ({"weights": {"baseline": 1, "int8": 1}, "wieghts": {}}, "wieghts"),
    ],
)
async def test_refuses_what_is_no_traffic(serving: Local, wrong: dict[str, Any], field: str) -> None:
    before = (await serving.client.get(TRAFFIC)).json()
    answer = await put(serving.client, **wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert (await serving.client.get(TRAFFIC)).json() == before


async def test_refuses_an_unknown_model(serving: Local) -> None:
    answer = await serving.client.get("/admin/v1/models/nobody/traffic")
    assert answer.status_code == 404
    assert "echo" in answer.json()["error"]["message"]


@pytest.fixture
async def serving(tmp_path: Path) -> Any:
    family = family_of(tmp_path)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        yield served


async def test_pins_and_stickiness(serving: Local) -> None:
    async def variant_of(user: str) -> tuple[str, str]:
        body = {"model": "echo", "prompt": "a", "max_tokens": 1, "user": user}
        answer = await serving.client.post("/v1/completions", json=body)
        return answer.headers["x-understudy-variant"], answer.headers["x-understudy-reason"]

    weights = {"baseline": 1, "int8": 1}
    await put(serving.client, weights=weights, pins={"alice": "int8", "bob": "baseline"})
    assert await variant_of("alice") == ("int8", "pinned")
    assert await variant_of("bob") == ("baseline", "pinned")
    stuck = {await variant_of("carol") for _ in range(20)}
    assert len(stuck) == 1
    assert stuck.pop()[1] == "sticky"
    await put(serving.client, weights=weights, sticky=False)
    moving = {await variant_of("carol") for _ in range(40)}
    assert moving == {("baseline", "weight"), ("int8", "weight")}


async def test_traffic_outlasts_the_server_until_the_stack_says_otherwise(tmp_path: Path) -> None:
    family = family_of(tmp_path)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        await put(served.client, weights={"baseline": 1, "int8": 3})
    again = TrafficManager(tmp_path / "state", build_snapshot(family.stack, family.artifacts))
    assert again.snapshot.traffic["echo"].traffic.weights == {"baseline": 1, "int8": 3}
    family.variants["int8"]["weight"] = 20
    changed = TrafficManager(tmp_path / "state", build_snapshot(family.stack, family.artifacts))
    assert changed.snapshot.traffic["echo"].traffic.weights == {"baseline": 90, "int8": 20}
    assert changed.snapshot.traffic["echo"].version > again.snapshot.traffic["echo"].version
