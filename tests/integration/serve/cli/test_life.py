"""The life of a server through Ray Serve and HAProxy: variants that cannot start, engines that hang, and its end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.ports import free_port
from tests.integration.serve.engines.tiny_text import write_tiny_text
from tests.support.long import long_only
from tests.support.processes import ROOT, server
from tests.support.scripted import RECIPE
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import MANIFEST
from variants.artifacts.store import Store

pytestmark = pytest.mark.integration
PROGRAM = "tests.support.serve_life"
ASK = {"model": "echo", "prompt": "a b c d", "max_tokens": 2}


def wait_until(is_so: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s"
        time.sleep(0.2)


def health(url: str) -> dict[str, Any]:
    """The body of `/v2/health/ready`, whatever its status."""
    return dict(httpx.get(f"{url}/v2/health/ready", timeout=30).json())


class Streamed(threading.Thread):
    """One stream, read in a thread of its own. `lines` are its events, `error` is what broke it."""

    def __init__(self, url: str, tokens: int) -> None:
        super().__init__(daemon=True)
        self.url, self.tokens = url, tokens
        self.lines: list[str] = []
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        body = {**ASK, "max_tokens": self.tokens, "ignore_eos": True, "stream": True}
        try:
            with httpx.stream("POST", f"{self.url}/v1/completions", json=body, timeout=60) as answer:
                self.lines.extend(line.removeprefix("data: ") for line in answer.iter_lines() if line)
        except httpx.HTTPError as error:
            self.error = error


def ended(pid: int, limit_s: float) -> int:
    """The exit status of a child that is not reaped here, within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while (done := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is None:
        assert time.monotonic() < deadline, f"it runs after {limit_s:g} s"
        time.sleep(0.1)
    return done.si_status


@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGTERM, False), pytest.param(signal.SIGINT, True, marks=long_only)]
)
def test_a_stream_of_20_s_survives_the_first_signal(number: signal.Signals, whole_group: bool, tmp_path: Path) -> None:
    """Ctrl-C in a terminal signals the whole group."""
    with server(tmp_path, PROGRAM, "{port}", json.dumps({"baseline": {"token_s": 0.2}})) as (url, pid):
        stream = Streamed(url, 100)
        wait_until(lambda: len(stream.lines) > 2, 20)
        (os.killpg if whole_group else os.kill)(pid, number)
        wait_until(lambda: httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 503, 5)
        assert health(url)["stopping"]
        assert httpx.get(f"{url}/v2/health/live", timeout=5).status_code == 200
        assert httpx.post(f"{url}/v1/completions", json=ASK, timeout=10).status_code == 200
        wait_until(lambda: httpx.post(f"{url}/v1/completions", json=ASK, timeout=10).status_code == 503, 10)
        stream.join(40)
        assert (stream.error, stream.lines[-1], len(stream.lines) >= 100) == (None, "[DONE]", True)
        assert ended(pid, 40) == 0


@long_only  # the limit and the end of streams without Ray: tests/integration/serve/dataplane/test_drain.py
def test_a_second_signal_ends_the_wait_and_the_limit_ends_the_streams(tmp_path: Path) -> None:
    engines = json.dumps({"baseline": {"token_s": 0.2}})
    with server(tmp_path / "limit", PROGRAM, "{port}", engines, json.dumps({"drain_s": 4})) as (url, pid):
        stream = Streamed(url, 1000)
        wait_until(lambda: len(stream.lines) > 2, 20)
        os.kill(pid, signal.SIGTERM)
        stream.join(20)
        assert stream.error is None
        assert json.loads(stream.lines[-1])["error"]["code"] == "not_ready"
        assert ended(pid, 40) == 0
    with server(tmp_path / "second", PROGRAM, "{port}", engines, json.dumps({"drain_s": 600})) as (url, pid):
        stream = Streamed(url, 1000)
        wait_until(lambda: len(stream.lines) > 2, 20)
        os.kill(pid, signal.SIGTERM)
        time.sleep(1)
        os.kill(pid, signal.SIGTERM)
        assert ended(pid, 60) == 0


def test_a_server_without_a_model_ends_with_the_reason(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", PROGRAM, str(free_port()), json.dumps({"baseline": {"exit_after": 0}})],
        # A temporary folder with a long path, as clusters and sandboxes have: Ray, HAProxy and vLLM make sockets.
        cwd=ROOT, env=os.environ | {"UNDERSTUDY_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "no model can be served: the engine of echo@baseline" in ended.stderr


@long_only  # the same without Ray: tests/integration/serve/engines/openvino/test_supervised.py
def test_an_engine_that_hangs_while_idle_is_restarted(tmp_path: Path) -> None:
    """It hangs after its start's test request and one of a client's; nobody asks it meanwhile."""
    engines = {"baseline": {"weight": 1, "hang_after": 2}, "int8": {"weight": 1}}
    with server(tmp_path, PROGRAM, "{port}", json.dumps(engines)) as (url, _):
        seen: set[str] = set()

        def down() -> str | None:
            reason = health(url)["models"]["echo"]["down"].get("baseline")
            if reason:
                seen.add(reason)
            return None if reason is None else str(reason)

        wait_until(lambda: down() == "its engine does not answer in time", 120)
        answer = httpx.post(f"{url}/v1/completions", json=ASK, timeout=10)
        assert (answer.status_code, answer.headers["x-understudy-variant"]) == (200, "int8")
        wait_until(lambda: down() is None, 120)


BUILT = ("baseline", "a", "b", "c", "d", "e", "f")
ENDS = "f"
"""The variant whose engine ends at its first request."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The home and the stack file of seven variants that are built by `understudy build`, for scripted engines."""
    home = tmp_path_factory.mktemp("built")
    source = write_tiny_text(home / "source")
    variant = {"recipe": RECIPE, "weight": 1, "engine": {"kind": "scripted"}}
    model = {
        "task": "text-generation",
        "source": {"uri": str(source), "licence": "MIT"},
        "variants": dict.fromkeys(BUILT, variant) | {ENDS: variant | {"engine": {"kind": "scripted", "exit_after": 0}}},
    }
    stack = home / "stack.json"  # JSON is YAML too
    stack.write_text(json.dumps({"schema": 1, "models": {"echo": model}}))
    build = [sys.executable, "-m", "serve.cli", "build", str(stack)]
    subprocess.run(build, cwd=ROOT, env=os.environ | {"UNDERSTUDY_HOME": str(home)}, check=True, timeout=500)
    return home, stack


def test_variants_with_damage_of_four_kinds_and_one_that_cannot_start_leave_the_others_serving(
    built: tuple[Path, Path],
) -> None:
    home, stack = built
    entry = Catalog(home).model("echo")
    folders = {name: Store(home).path(entry.current(name).key) for name in BUILT}
    whole = {name: (folders[name] / MANIFEST).read_bytes() for name in BUILT}
    (folders["a"] / MANIFEST).write_bytes(whole["a"][: len(whole["a"]) // 2])
    (folders["b"] / MANIFEST).unlink()
    (folders["c"] / "model" / "config.json").write_text("{}")
    (folders["d"] / "model" / "config.json").unlink()
    with server(home, "serve.cli", "serve", str(stack), "--port", "{port}", "--json") as (url, _):
        log = (home / "server.log").read_text()
        down = dict.fromkeys("abcd", "its artifact is damaged") | {ENDS: "its engine ended"}
        assert health(url)["models"]["echo"] == {"ready": True, "down": down}
        assert httpx.get(f"{url}/v2/models/echo/ready", timeout=10).json()["down"] == down
        for name in "abcd":
            assert f"echo@{name} is down and will be tried again" in log
            assert str(folders[name]) in log
        assert f"echo@{ENDS} is down and will be tried again: the engine of echo@{ENDS} ended with code 1" in log
        for name in down:
            refused = httpx.post(f"{url}/v1/completions", json=ASK | {"model": f"echo@{name}"}, timeout=10)
            assert refused.status_code == 503
        refused = httpx.get(f"{url}/v2/models/echo@a/ready", timeout=10)
        assert (refused.status_code, refused.json()["ready"]) == (503, False)
        check_that_it_is_told(url)
        for name in ("baseline", "e"):
            answer = httpx.post(f"{url}/v1/completions", json=ASK | {"model": f"echo@{name}"}, timeout=10)
            assert answer.status_code == 200
            assert answer.headers["x-understudy-artifact"] == entry.current(name).digest
        answers = [httpx.post(f"{url}/v1/completions", json=ASK, timeout=10) for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["x-understudy-variant"] for answer in answers} <= {"baseline", "e"}
        assert "fallback" in {answer.headers["x-understudy-reason"] for answer in answers}
        for name in "ab":
            (folders[name] / MANIFEST).write_bytes(whole[name])
        wait_until(lambda: {"a", "b"}.isdisjoint(health(url)["models"]["echo"]["down"]), 120)
        answer = httpx.post(f"{url}/v1/completions", json=ASK | {"model": "echo@a"}, timeout=10)
        assert answer.headers["x-understudy-artifact"] == entry.current("a").digest


def check_that_it_is_told(url: str) -> None:
    """The list of models and the metrics say what is down."""
    variants = httpx.get(f"{url}/admin/v1/models", timeout=30).json()["models"][0]["variants"]
    reasons = {variant["variant"]: variant["reason"] for variant in variants}
    assert reasons["baseline"] is None
    assert "ended with code 1" in reasons[ENDS]
    assert "expected sha256" in reasons["c"]
    metrics = httpx.get(f"{url}/metrics", timeout=30).text
    assert 'understudy_variant_down{model="echo",reason="damaged",variant="a"} 1.0' in metrics
    assert 'understudy_variant_down{model="echo",reason="damaged",variant="baseline"} 0.0' in metrics
