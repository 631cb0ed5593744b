"""A roll-back reaches whoever the Alertmanager tells: server, Prometheus and Alertmanager are real."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from deploy.prometheus.local import FOLDER, start_prometheus
from loadtest.harness import end_politely
from serve.ports import free_port
from tests.support.family import Family
from tests.support.labelled_load import labelled
from tests.support.local_stage import local
from tests.support.programs import need

pytestmark = pytest.mark.integration
CONFIGURATION = FOLDER / "alertmanager.yml"
ROLLOUT = "/admin/v1/models/echo/rollout"


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, asyncio.Queue[dict[str, Any]]]]:
    """A webhook on loopback, and what it is told."""
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def hear(request: web.Request) -> web.Response:
        await told.put(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/", told
    finally:
        await runner.cleanup()


@contextmanager
def alertmanager(folder: Path, hook: str) -> Iterator[str]:
    """The committed configuration, but for the receiver's address and the wait before the first message."""
    document = yaml.safe_load(CONFIGURATION.read_text())
    document["route"]["group_wait"] = "1s"
    document["receivers"][0]["webhook_configs"][0]["url"] = hook
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(document))
    address = f"127.0.0.1:{free_port()}"
    command = [
        need("prometheus-alertmanager"), f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={address}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (folder / "alertmanager.log").open("wb") as log, ExitStack() as children:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        children.callback(end_politely, process, signal.SIGTERM, 30.0)
        yield address


def test_the_committed_configuration_is_valid() -> None:
    done = subprocess.run([need("amtool"), "check-config", CONFIGURATION], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


async def test_a_roll_back_reaches_who_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("prometheus")
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted", "errs": 0.6}},
    }
    plan = {"variant": "int8", "shadow": 1.0, "gate": {"quality": 0.05}}
    async with receiver() as (hook, told), local(tmp_path, family.stack, family.artifacts) as served:
        url = str(served.client.base_url).rstrip("/")
        with alertmanager(tmp_path, hook) as address, ExitStack() as children:
            start_prometheus(children, url, tmp_path / "prometheus", "1s", address)
            async with asyncio.timeout(120), labelled(url, "echo", 4):
                begun = await served.client.post(ROLLOUT, json=plan)
                assert begun.status_code == 200, begun.text
                message = await told.get()
                while message["groupLabels"]["alertname"] != "UnderstudyRolledBack":
                    message = await told.get()
    (alert,) = message["alerts"]
    assert (message["receiver"], alert["status"]) == ("on-call", "firing")
    assert (alert["labels"]["model"], alert["labels"]["variant"]) == ("echo", "int8")
    assert alert["annotations"]["runbook"] == "docs/operating.md#understudyrolledback"
