"""How a server begins and ends: signals, a taken port, an engine that hangs, what a dead one leaves behind."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from loadtest.harness import end_politely, start_server
from serve.engines.launch import Launch, launch
from serve.engines.process import EngineProcess
from serve.ports import free_port
from tests.integration.serve.conftest import OnRay
from tests.support.long import long_only
from tests.support.processes import ROOT, server, words_of
from tests.support.scripted import make_artifacts, make_stack
from variants.errors import EngineError

pytestmark = pytest.mark.integration


def wait_until(is_so: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s"
        time.sleep(0.2)


def digits_only(folder: Path) -> Path:
    """The demo's stack with its small model alone."""
    document = yaml.safe_load((ROOT / "deploy" / "stacks" / "demo.yaml").read_text())
    del document["models"]["smollm2"]
    path = folder / "stack.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def scripted(folder: Path, prefix: tuple[str, ...] = (), **settings: Any) -> EngineProcess:
    """A scripted engine, not started; `prefix` is put before its command."""
    stack = make_stack(**settings)
    artifact = make_artifacts(folder, stack)["bands", "baseline"]
    how = launch(stack.models["bands"].variants["baseline"].engine, artifact.path, artifact.manifest, "bands@baseline")
    return EngineProcess("bands@baseline", Launch(prefix + how.command, how.environment), folder / "engine.log")


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [
        (signal.SIGTERM, False),
        pytest.param(signal.SIGHUP, False, marks=long_only),
        pytest.param(signal.SIGHUP, True, marks=long_only),
    ],
)
def test_a_signal_ends_everything_with_code_0(number: signal.Signals, whole_group: bool, tmp_path: Path) -> None:
    """A terminal that is closed sends SIGHUP to the whole group, not to the server alone."""
    with server(tmp_path, "tests.support.serve_scripted", "{port}", "model=echo") as (_, pid):
        children = psutil.Process(pid).children(recursive=True)
        commands = " ".join(word for child in children for word in child.cmdline())
        folders = set(re.findall(rf"{re.escape(tempfile.gettempdir())}/understudy-\w+", commands))
        assert len(children) > 5
        assert len(folders) == 1
        if whole_group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        _, alive = psutil.wait_procs(children, timeout=20)
        for child in alive:
            child.kill()
        assert alive == []
        assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, 0), (tmp_path / "server.log").read_text()
        assert not Path(folders.pop()).exists()
    assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_an_engine_that_hangs_is_routed_around_and_then_started_again(on_ray: OnRay) -> None:
    url, pid = on_ray.url, on_ray.pid

    def engine() -> psutil.Process:
        """The newest engine of echo@baseline."""
        engines = [
            child
            for child in psutil.Process(pid).children(recursive=True)
            if "serve.engines.scripted.engine" in (words := words_of(child)) and "echo@baseline" in words
        ]
        return max(engines, key=lambda process: process.create_time())

    def ready() -> bool:
        models = httpx.get(f"{url}/admin/v1/models", timeout=30).json()["models"]
        echo = next(model for model in models if model["model"] == "echo")
        return bool(next(each["ready"] for each in echo["variants"] if each["variant"] == "baseline"))

    wait_until(ready, 60)
    hung = engine()
    hung.suspend()
    wait_until(lambda: not ready(), 40)
    assert hung.status() == psutil.STATUS_STOPPED  # not ready before Ray has ended it
    body = {"model": "echo", "prompt": "a b c", "max_tokens": 2}
    answers = [httpx.post(f"{url}/v1/completions", json=body, timeout=10) for _ in range(20)]
    assert {(answer.status_code, answer.headers["x-understudy-variant"]) for answer in answers} == {(200, "int8")}
    assert "fallback" in {answer.headers["x-understudy-reason"] for answer in answers}
    wait_until(ready, 120)
    assert engine().pid != hung.pid
    wait_until(lambda: not hung.is_running(), 60)
    logs = [path.name for path in (on_ray.home / "logs").glob("echo.baseline.*")]
    (previous,) = [name for name in logs if name.endswith(".previous")]
    assert previous.removesuffix(".previous") in logs


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "serve.cli", "serve", str(digits_only(tmp_path)), "--port", port]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"understudy: server.port: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert "Traceback" not in ended.stderr


def test_a_server_that_is_never_ready_is_given_up_and_ended(tmp_path: Path) -> None:
    with ExitStack() as children:
        with pytest.raises(EngineError, match=r"not ready after 0\.1 s"):
            start_server(children, digits_only(tmp_path), free_port(), limit_s=0.1)
        started = [child for child in psutil.Process().children() if str(tmp_path / "stack.yaml") in child.cmdline()]
        assert len(started) == 1
    assert not started[0].is_running()


def test_a_child_that_ignores_its_signal_is_killed() -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end_politely(process, signal.SIGTERM, 0.5)
        assert process.returncode == -signal.SIGKILL


async def test_a_hung_engine_is_not_healthy(tmp_path: Path) -> None:
    engine = scripted(tmp_path)
    await engine.start()
    assert engine.process is not None
    try:
        await engine.check_answers()
        engine.process.send_signal(signal.SIGSTOP)
        engine.check()
        with pytest.raises(EngineError, match="bands@baseline lives but is not healthy: /health did not answer"):
            await engine.check_answers()
    finally:
        engine.process.send_signal(signal.SIGCONT)
        await engine.stop()


async def test_the_children_of_an_engine_that_died_are_ended(tmp_path: Path) -> None:
    engine = scripted(tmp_path, prefix=("sh", "-c", 'sleep 300 & exec "$@"', "sh"))
    await engine.start()
    assert engine.process is not None
    (child,) = [each for each in psutil.Process(engine.process.pid).children() if each.name() == "sleep"]
    engine.process.kill()
    await engine.process.wait()
    assert child.is_running()
    await engine.stop()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


async def test_the_log_of_the_engine_before_is_kept(tmp_path: Path) -> None:
    failing = EngineProcess("echo", Launch((sys.executable, "-c", "raise SystemExit('no memory')")), tmp_path / "e.log")
    with pytest.raises(EngineError, match="no memory"):
        await failing.start()
    assert not (tmp_path / "e.log.previous").exists()
    failing.launch = Launch((sys.executable, "-c", "raise SystemExit('again')"))
    with pytest.raises(EngineError, match="again"):
        await failing.start()
    assert (tmp_path / "e.log.previous").read_text().strip() == "no memory"
    assert (tmp_path / "e.log").read_text().strip() == "again"


async def test_images_whose_clients_left_are_not_computed(tmp_path: Path) -> None:
    engine = scripted(tmp_path, first_token_s=1.0)
    url = f"{await engine.start()}/v2/models/bands@baseline"
    pixels = {"name": "pixels", "datatype": "FP32", "shape": [1, 3, 32, 32], "data": [0.5] * 3072}
    try:
        async with httpx.AsyncClient(timeout=30, headers=engine.headers) as client:
            asks = [client.post(f"{url}/infer", json={"inputs": [pixels]}, timeout=0.5) for _ in range(6)]
            ended = await asyncio.gather(*asks, return_exceptions=True)
            assert {type(error) for error in ended} == {httpx.ReadTimeout}
            begun = time.monotonic()
            assert (await client.post(f"{url}/infer", json={"inputs": [pixels]})).status_code == 200
            assert time.monotonic() - begun < 5  # the rest of the one that had begun, and its own
            stats = (await client.get(f"{url}/stats")).json()["model_stats"][0]
            assert stats["inference_count"] <= 4  # of 7: a busy machine may begin with more than one before they leave
    finally:
        await engine.stop()
