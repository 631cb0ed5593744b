"""Over HTTP: a declared rollout begins by itself, is told of, listed and written as a document, and stops a wait."""

import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serve.config.loader import parse
from serve.control.controller import Controller
from serve.ports import free_port
from tests.support.family import Family, change
from tests.support.local_stage import local

pytestmark = pytest.mark.integration
MODEL = "/admin/v1/models/echo"
PLAN: dict[str, Any] = {"variant": "int8", "steps": ["shadow", 50, 100], "gate": {"quality": 0.05}}
LIMIT_S = 60.0
"""Detects a hang; it is no limit on speed."""


@pytest.fixture
def messages() -> Any:
    """A receiver of webhooks: its address, and what it took."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", taken
    server.shutdown()
    thread.join()
    server.server_close()


def family_of(home: Path) -> Family:
    family, scripted = Family(home, free_port()), {"kind": "scripted"}
    family.variants = {
        "baseline": {"weight": 1, "engine": scripted},
        "int8": {"weight": 0, "parent": "baseline", "engine": scripted},
    }
    return family


async def understudy(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a command."""
    command = (sys.executable, "-m", "serve.cli", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_a_declared_rollout_from_its_begin_to_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: tuple[str, list[dict[str, Any]]]
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        url = str(served.client.base_url)
        assert (await served.client.get(f"{MODEL}/rollouts")).json() == {"model": "echo", "rollouts": []}
        document = family.stack.model_dump(mode="json", by_alias=True)
        document["models"]["echo"]["rollout"] = PLAN
        document["server"]["webhook"] = {"url": messages[0]}
        family.base = parse(document)
        dry = (await served.client.post("/admin/v1/stack", json=family.proposal(dry_run=True))).json()
        assert [(each["variant"], each["begins"]) for each in dry["rollouts"]] == [("int8", True)]
        assert (await change(served.client, family.proposal()))["state"] == "done"
        rollouts: list[dict[str, Any]] = []
        async with asyncio.timeout(LIMIT_S):
            while not rollouts:
                await asyncio.sleep(0.1)
                rollouts = (await served.client.get(f"{MODEL}/rollouts")).json()["rollouts"]
        assert [(each["variant"], each["status"], each["who"]) for each in rollouts] == [("int8", "running", "stack")]
        name = rollouts[0]["id"]
        assert (await served.client.get(f"{MODEL}/rollout")).json()["id"] == name
        code, _ = await understudy("rollout", "wait", "echo", "--timeout", "0.1", "--target", url)
        assert code == 12
        waiting = asyncio.create_task(understudy("rollout", "wait", "echo", "--target", url))
        await served.client.post(f"{MODEL}/rollout/abort")
        assert (await waiting)[0] == 11
        async with asyncio.timeout(LIMIT_S):
            while not messages[1]:
                await asyncio.sleep(0.1)
        assert [(each["type"], each["data"]["id"]) for each in messages[1]] == [("rollout.aborted", name)]
        told = (await served.client.get(f"{MODEL}/rollouts/{name}")).json()
        assert [step["status"] for step in told["steps"]] == ["running", "aborted"]
        assert set(told["engines"]) == {"baseline", "int8"}
        code, text = await understudy("rollout", "report", "echo", name, "--format", "html", "--target", url)
        assert code == 0
        assert f"Rollout {name} began" in text
        missing = await served.client.get(f"{MODEL}/rollouts/r-0")
        assert (missing.status_code, missing.json()["error"]["param"]) == (404, "id")
        dry = (await served.client.post("/admin/v1/stack", json=family.proposal(dry_run=True))).json()
        assert dry["rollouts"][0]["before"] == {"id": name, "status": "aborted"}


async def test_a_journal_that_grew_is_folded_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.setattr("serve.control.checkpoint.MOST_BYTES", 2000)
    family = family_of(tmp_path)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        await served.client.post(f"{MODEL}/rollout", json=PLAN)
        controller: Controller = served.controller
        async with asyncio.timeout(LIMIT_S):
            while controller.traffic_manager.journal.checkpoint() is None:
                chat = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
                assert (await served.client.post("/v1/chat/completions", json=chat)).status_code == 200
        entries = (await served.client.get("/admin/v1/journal?last=100")).json()["entries"]
    assert "checkpoint" not in {entry["kind"] for entry in entries}
    assert [entry["kind"] for entry in entries[:2]] == ["traffic", "rollout"]
    assert entries[-1]["kind"] == "outcomes"
