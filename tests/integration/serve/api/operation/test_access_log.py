"""The log files of an ingress over real engines: a line a request, and nothing that a client sent."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve import logs
from serve.config.server.api_keys import Key, KeyLimits
from serve.config.stack import Stack
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import echo_stack

pytestmark = pytest.mark.integration
SECRET, WORDS = "sk-secret-of-anna", "confidential words"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The file that the logs of this process go to."""
    root = logging.getLogger("understudy")
    before, level = list(root.handlers), root.level
    yield logs.write_to(tmp_path / "state", "ingress")
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logs.name = ""


def keyed(stack: Stack, **settings: Any) -> Stack:
    key = Key(sha256=hashlib.sha256(SECRET.encode()).hexdigest())
    server = stack.server.model_copy(update={"keys": {"anna": key}, **settings})
    return stack.model_copy(update={"server": server})


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_each_request_is_one_line_without_what_the_client_sent(tmp_path: Path, log: Path) -> None:
    stack = keyed(echo_stack(free_port()), access_log=True)
    headers = {"authorization": f"Bearer {SECRET}", "x-understudy-label": WORDS}
    async with local(tmp_path, stack) as served:
        body = {"model": "echo@int8", "prompt": WORDS, "max_tokens": 2, "user": WORDS}
        answer = await served.client.post("/v1/completions", json=body, headers=headers)
        assert answer.status_code == 200
        async with served.client.stream("POST", "/v1/completions", json=body | {"stream": True}, headers=headers) as it:
            await it.aread()
        await served.client.post("/v1/completions", json=body | {"model": WORDS}, headers=headers)
        await served.client.get("/v1/models/echo@int8", headers=headers)
        await served.client.get(f"/v1/models/{WORDS}", headers=headers)
        await served.client.get(f"/{WORDS}", headers=headers)
        await served.client.get("/v1/models", headers={"x-understudy-who": WORDS})
        written = [line for line in lines(log) if line["event"] == "request"]
    shown = [[line[name] for name in ("method", "route", "status", "model", "variant", "key")] for line in written]
    assert shown == [
        ["POST", "/v1/completions", 200, "echo", "int8", "anna"],
        ["POST", "/v1/completions", 200, "echo", "int8", "anna"],
        ["POST", "/v1/completions", 404, "", "", "anna"],
        ["GET", "/v1/models/{model}", 200, "", "", "anna"],
        ["GET", "/v1/models/{model}", 404, "", "", "anna"],
        ["GET", "", 404, "", "", "anna"],
        ["GET", "", 401, "", "", ""],
    ]
    assert written[0]["request_id"] == answer.headers["x-request-id"]
    assert written[0]["trace_id"] == ""
    assert written[0]["reason"] == "pinned"
    assert written[0]["level"] == "info"
    text = log.read_text()
    assert SECRET not in text
    assert WORDS not in text


async def test_lines_of_translated_and_refused_requests(tmp_path: Path, log: Path) -> None:
    stack = keyed(echo_stack(free_port()), access_log=True)
    assert stack.server.keys is not None
    limited = stack.server.keys["anna"].model_copy(update={"limits": KeyLimits(requests_per_minute=3)})
    stack = keyed(stack, keys={"anna": limited})
    mine = {"authorization": f"Bearer {SECRET}"}
    message = {"model": "echo@int8", "max_tokens": 2, "messages": [{"role": "user", "content": WORDS}]}
    async with local(tmp_path, stack) as served:
        await served.client.post("/v1/messages", json=message, headers=mine)
        await served.client.post("/v1/messages", json=message | {"stream": True}, headers=mine)
        await served.client.post("/v1/messages", json=message | {"max_tokens": 0}, headers=mine)
        await served.client.post("/v1/messages", json=message, headers=mine)
        await served.client.get("/v1/completions", headers=mine)
        await served.client.post("/v1/completions", json={}, headers={"x-understudy-who": "anna"})
        await served.client.get("/health")
        written = [line for line in lines(log) if line["event"] == "request"]
    assert [[line[name] for name in ("method", "route", "status", "variant", "key")] for line in written] == [
        ["POST", "/v1/messages", 200, "int8", "anna"],
        ["POST", "/v1/messages", 200, "int8", "anna"],
        ["POST", "/v1/messages", 400, "", "anna"],
        ["POST", "", 429, "", "anna"],
        ["GET", "/v1/completions", 405, "", "anna"],
        ["POST", "", 401, "", ""],
        ["GET", "/health", 200, "", ""],
    ]
    assert WORDS not in log.read_text()


async def test_without_access_log_only_events_are_written(tmp_path: Path, log: Path) -> None:
    async with local(tmp_path, echo_stack(free_port())) as served:
        await served.client.post("/v1/completions", json={"model": "echo", "prompt": WORDS, "max_tokens": 1})
        events = {line["event"] for line in lines(log)}
    assert "request" not in events


async def test_a_fault_of_the_server_names_the_file_and_the_request(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(tmp_path, echo_stack(free_port())) as served:

        def fault(*_: object) -> None:
            raise ValueError(WORDS)

        monkeypatch.setattr(served.upstreams, "place", fault)
        body = {"model": "echo", "prompt": WORDS, "max_tokens": 1}
        answer = await served.client.post("/v1/completions", json=body)
        assert answer.status_code == 500
        assert f"logs/{log.name}" in answer.json()["error"]["message"]
        (line,) = [line for line in lines(log) if line["level"] == "error"]
    assert (line["event"], line["error"]) == ("a request failed", "ValueError")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert any(" fault" in place for place in line["raised_at"])
    assert WORDS not in log.read_text()


def test_files_are_rotated_and_those_of_old_processes_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    folder = log.parent
    for second in range(10, 20):
        (folder / f"ingress-20200101T0000{second}-7.jsonl").write_text("{}\n")
    (folder / "ingress-20200101T000010-7.jsonl.1").write_text("{}\n")
    monkeypatch.setattr(logs, "FILE_BYTES", 1000)
    newest = logs.write_to(tmp_path / "state", "ingress")
    kept = sorted(path.name for path in folder.glob("ingress-2020*"))
    assert kept == [f"ingress-20200101T0000{second}-7.jsonl" for second in (17, 18, 19)]
    for _ in range(40):
        logging.getLogger("understudy.api").warning("an event of %d", 7)
    assert (folder / f"{newest.name}.1").exists()
    assert all(json.loads(line)["numbers"] == [7] for line in newest.read_text().splitlines())
