"""Shadows that wait: dropped and counted, also by a server that ends."""

import asyncio
from pathlib import Path

import pytest

from serve import metrics
from serve.ports import free_port
from tests.family import Family
from tests.labelled_load import labelled
from tests.local_stage import local

pytestmark = pytest.mark.integration
OUTCOMES = ("compared", "failed", "dropped_full", "dropped_late")


def outcomes() -> dict[str, float]:
    return {name: metrics.shadows.labels("echo", "int8", name)._value.get() for name in OUTCOMES}


async def test_a_server_that_ends_drops_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.setattr("serve.shadow.Shadows.quiet", lambda self, job: False)
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    before = outcomes()
    async with local(tmp_path, family.stack, family.artifacts) as served:
        moved = await served.client.put(
            "/admin/v1/models/echo/traffic",
            json={"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}},
            headers={"if-match": "*"},
        )
        assert moved.status_code == 200, moved.text
        async with labelled(str(served.client.base_url), "echo", 1) as load:
            while len(load.ids) < 5:
                await asyncio.sleep(0.01)
        waiting = metrics.shadows_waiting.labels("echo", "int8")
        assert waiting._value.get() == sum(load.statuses.values())
    ended = {name: count - before[name] for name, count in outcomes().items()}
    assert ended == {"compared": 0, "failed": 0, "dropped_full": 0, "dropped_late": sum(load.statuses.values())}
    assert waiting._value.get() == 0
