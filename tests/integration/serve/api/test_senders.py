"""What a web page of another site can reach on a server without keys, over real connections."""

from pathlib import Path

import pytest

from serve.ports import free_port
from tests.support.family import Family
from tests.support.local_stage import local

pytestmark = pytest.mark.integration
TRAFFIC, STACK = "/admin/v1/models/echo/traffic", "/admin/v1/stack"
ASK = {"model": "echo", "prompt": "a", "max_tokens": 1}


async def test_pages_of_other_sites_change_and_read_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.base = family.base.model_copy(
        update={"server": family.base.server.model_copy(update={"hosts": ("models.lan",)})}
    )
    body = '{"weights": {"baseline": 0, "int8": 1}}'
    async with local(tmp_path, family.stack, family.artifacts) as served:
        client = served.client
        before = (await client.get(TRAFFIC)).json()
        for headers, status, field in (
            ({"content-type": "text/plain"}, 415, "Content-Type"),
            ({"content-type": "application/json", "origin": "http://evil.example"}, 403, "Origin"),
            ({"content-type": "application/json", "origin": "null"}, 403, "Origin"),
            ({"content-type": "application/json", "host": "evil.example"}, 403, "Host"),
        ):
            refused = await client.put(TRAFFIC, content=body, headers={"if-match": "*", **headers})
            assert (refused.status_code, refused.json()["error"]["param"]) == (status, field)
        assert (await client.get(TRAFFIC)).json() == before
        for path in (STACK, TRAFFIC, "/admin/v1/journal", "/admin/v1/models"):
            assert (await client.get(path, headers={"host": "evil.example"})).status_code == 403
        stolen = await client.post("/v1/completions", json=ASK, headers={"host": "evil.example"})
        assert stolen.status_code == 403
        assert "x-understudy-variant" not in stolen.headers
        assert isinstance((await client.get("/v2", headers={"host": "evil.example"})).json()["error"], str)
        assert (await client.get("/metrics", headers={"host": "prometheus.example"})).status_code == 200
        for host in (f"localhost:{family.stack.server.port}", "models.lan"):
            assert (await client.post("/v1/completions", json=ASK, headers={"host": host})).status_code == 200
            assert (await client.get(TRAFFIC, headers={"host": host, "origin": f"http://{host}"})).status_code == 200
