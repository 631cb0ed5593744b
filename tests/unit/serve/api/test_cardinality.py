"""No client makes a series of metrics: names that nobody serves are counted without the name."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import generate_latest
from starlette.types import Message

from serve.api.application import build_ingress
from serve.api.http import count_label
from serve.config.snapshot import ServedVariant, build_snapshot
from serve.control.contract import ControllerClient
from serve.dataplane.call import Call
from serve.dataplane.upstreams import Upstreams
from serve.engines.endpoint import Describe, Endpoint, EngineDown
from tests.support.scripted import echo_stack, make_artifacts

NAMES = 10_000
ALPHABET = "abz09 _-./@:{}\"'\\,\u00e9\u4e2d\U0001f600"


def odd_names() -> list[str]:
    chance = random.Random(21)
    return [f"{''.join(chance.choices(ALPHABET, k=chance.randint(1, 40)))}{number}" for number in range(NAMES)]


def series() -> set[str]:
    lines = generate_latest().decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if line.startswith("understudy_") and "_created" not in line}


def nowhere(variant: ServedVariant) -> Describe:
    async def describe(ask: bool) -> Endpoint:
        raise EngineDown("it never starts", why="ended")

    return describe


async def test_ten_thousand_odd_names_make_no_series(tmp_path: Path) -> None:
    stack = echo_stack()
    upstreams = Upstreams(build_snapshot(stack, make_artifacts(tmp_path, stack)), nowhere)
    app = build_ingress(upstreams, stack.server, cast(ControllerClient, SimpleNamespace()))

    async def ask(name: str) -> int:
        body = json.dumps({"model": name, "prompt": "a"}).encode()
        given = json.dumps(name)[1:-1].encode()
        headers = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")]
        headers += [(b"x-understudy-client", given), (b"x-understudy-task", given), (b"x-understudy-label", given)]
        scope: dict[str, Any] = {
            "type": "http", "method": "POST", "path": "/v1/completions", "raw_path": b"/v1/completions",
            "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
            "scheme": "http", "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return int(sent[0]["status"])

    statuses = {await ask("nobody")}
    before = series()
    for name in odd_names():
        statuses.add(await ask(name))
    assert series() - before <= {f'understudy_errors_total{{status="{status}"}}' for status in statuses}
    assert statuses <= {400, 404}


def test_ten_thousand_odd_tasks_are_one() -> None:
    assignment = SimpleNamespace(model="m", variant="v")
    call = cast(Call, SimpleNamespace(assignment=assignment))
    before = series()
    for name in odd_names():
        count_label(call, name, 1.0, ("known",))
    made = series() - before
    assert made == {
        'understudy_labelled_requests_total{model="m",outcome="right",task="other",variant="v"}',
        'understudy_labelled_score_total{model="m",task="other",variant="v"}',
    }
