"""An ingress that starts while the controller does not answer."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from serve.app import Cluster, Ingress
from serve.config.server.api_keys import Key
from serve.config.snapshot import Snapshot, build_snapshot
from serve.control.snapshot_file import LIVE, record
from serve.ports import free_port, short_folder
from tests.support.scripted import echo_stack, make_artifacts
from variants.errors import EngineError


def keyed(snapshot: Snapshot, *secrets: str) -> Snapshot:
    keys = {secret: Key(sha256=hashlib.sha256(secret.encode()).hexdigest()) for secret in secrets}
    server = snapshot.stack.server.model_copy(update={"keys": keys})
    return replace(snapshot, stack=snapshot.stack.model_copy(update={"server": server}))


async def statuses(snapshot: Snapshot, folder: Path) -> dict[str, int]:
    """The status for each key, from an ingress that has not heard of the controller."""
    transport = httpx.ASGITransport(Ingress(snapshot, str(folder), str(folder)).__serve_build_asgi_app__())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return {
            secret: (await client.get("/v2", headers={"authorization": f"Bearer {secret}"})).status_code
            for secret in ("old", "new")
        }


async def test_it_refuses_keys_that_were_revoked_since_the_server_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    stack = echo_stack(free_port())
    first = keyed(build_snapshot(stack, make_artifacts(tmp_path, stack)), "old")
    assert await statuses(first, tmp_path) == {"old": 200, "new": 401}
    later = replace(keyed(first, "new"), version=2)
    record(later, tmp_path / LIVE)
    assert await statuses(first, tmp_path) == {"old": 401, "new": 200}
    assert Ingress(first, str(tmp_path), str(tmp_path)).upstreams.snapshot.version < first.version, (
        "the controller's is newer"
    )
    (tmp_path / LIVE).write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        Ingress(first, str(tmp_path), str(tmp_path))


@pytest.mark.parametrize("error", [TimeoutError("HTTP proxies not available after 60s"), Exception("node timed out")])
def test_ray_that_does_not_start_is_one_sentence_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    stack = echo_stack(free_port())
    cluster = Cluster(stack, make_artifacts(tmp_path, stack))

    def start() -> None:
        raise error

    monkeypatch.setattr(cluster, "start", start)
    monkeypatch.setattr("os.environ", dict(os.environ))
    with pytest.raises(EngineError, match=f"Ray did not start: {error}") as refused:
        cluster.__enter__()
    assert "busy machine" in str(refused.value.mend)
    assert not cluster.folder.exists()


def test_a_long_temporary_folder_is_not_used_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert len(short_folder() or str(tmp_path)) < len(str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", "/var")
    assert short_folder() is None
