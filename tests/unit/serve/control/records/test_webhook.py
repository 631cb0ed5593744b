"""Every verdict is told to an HTTP server, signed, again where it was not taken, and beside the controller's work."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from serve.config.server.webhook import Webhook
from serve.control.records import webhook as module
from serve.control.records.history import History
from serve.control.records.webhook import Webhooks

KEY = "a secret"


class Receiver(ThreadingHTTPServer):
    """`statuses` are its answers, the last one for ever. `taken` are the messages: headers and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.taken = [204], list[tuple[dict[str, str], bytes]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    yield receiver
    receiver.shutdown()
    thread.join()
    receiver.server_close()


def entry(seq: int, status: str, step: int = 0, decision: str | None = None) -> dict[str, Any]:
    verdict = {"decision": decision, "findings": []} if decision else None
    plan = {"variant": "int8", "steps": ["shadow", 100.0]}
    return {
        "seq": seq, "at": f"2026-12-01T09:00:{seq:02d}.000+00:00", "model": "echo", "who": "ops", "version": seq,
        "traffic": {"weights": {"baseline": 1.0, "int8": 0.0}}, "verdict": verdict,
        "rollout": {
            "plan": plan, "parent": "baseline", "digests": ["a", "b"], "step": step, "status": status, "why": ""
        },
    }  # fmt: skip


def history(*entries: dict[str, Any]) -> History:
    told = History()
    for each in entries:
        told.note(each, each["rollout"]["status"] in ("running", "paused"))
    return told


async def told(webhooks: Webhooks, webhook: Webhook | None, told: History) -> None:
    webhooks.tell(webhook, told)
    await asyncio.gather(*webhooks.tasks)


def kinds(receiver: Receiver) -> list[str]:
    return [json.loads(body)["type"] for _, body in receiver.taken]


async def test_every_verdict_is_told_once_and_nothing_else(receiver: Receiver) -> None:
    entries = [
        entry(1, "running"),
        entry(2, "paused"),
        entry(3, "running"),
        entry(4, "running", 1, "promote"),
        entry(5, "promoted", 1, "promote"),
    ]
    webhooks, webhook = Webhooks(0), Webhook(url=receiver.url)
    for count in range(1, len(entries) + 1):
        await told(webhooks, webhook, history(*entries[:count]))
    assert kinds(receiver) == ["rollout.step", "rollout.promoted"]
    data = json.loads(receiver.taken[1][1])["data"]
    assert (data["id"], data["model"], data["variant"], data["status"], data["seq"]) == (
        "r-1",
        "echo",
        "int8",
        "promoted",
        5,
    )
    assert data["verdict"]["decision"] == "promote"
    assert [headers["webhook-id"] for headers, _ in receiver.taken] == ["echo/r-1/4", "echo/r-1/5"]


@pytest.mark.parametrize(
    ("status", "kind"), [("aborted", "aborted"), ("rolled back", "rolled_back"), ("undecided", "undecided")]
)
async def test_an_end_without_a_verdict_is_told_too(receiver: Receiver, status: str, kind: str) -> None:
    webhooks = Webhooks(0)
    await told(webhooks, Webhook(url=receiver.url), history(entry(1, "running"), entry(2, status), entry(3, status)))
    assert kinds(receiver) == [f"rollout.{kind}"]


async def test_what_was_told_by_an_earlier_controller_is_not_told_again(receiver: Receiver) -> None:
    known = history(entry(1, "running"), entry(2, "aborted"))
    await told(Webhooks(2), Webhook(url=receiver.url), known)
    await told(Webhooks(0), None, known)
    assert receiver.taken == []


async def test_a_message_is_signed_with_the_secret(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", KEY)
    await told(
        Webhooks(0),
        Webhook.model_validate({"url": receiver.url, "secret": "HOOK"}),
        history(entry(1, "running"), entry(2, "aborted")),
    )
    ((headers, body),) = receiver.taken
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert KEY.encode() not in body


async def test_a_message_is_tried_again_until_it_is_taken(receiver: Receiver) -> None:
    receiver.statuses = [500, 429, 204]
    webhooks = Webhooks(0, pauses_s=(0.01, 0.02, 0.03))
    await told(webhooks, Webhook(url=receiver.url), history(entry(1, "running"), entry(2, "aborted")))
    assert len(receiver.taken) == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.taken}) == 1


@pytest.mark.parametrize("status", [404, 500, 302])
async def test_a_message_is_given_up_after_so_many_tries(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    receiver.statuses = [status]
    webhooks = Webhooks(0, pauses_s=(0.01, 0.01))
    await told(webhooks, Webhook(url=receiver.url), history(entry(1, "running"), entry(2, "aborted")))
    assert len(receiver.taken) == 3
    assert "given up" in caplog.text
    assert "/hook" not in caplog.text  # an address may hold a secret


async def test_a_receiver_that_is_not_there_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    webhooks = Webhooks(0, pauses_s=())
    await told(webhooks, Webhook(url="http://127.0.0.1:1/"), history(entry(1, "running"), entry(2, "aborted")))
    await told(
        Webhooks(0, ()),
        Webhook.model_validate({"url": "http://127.0.0.1:1/", "secret": "NOT_SET"}),
        history(entry(1, "running"), entry(2, "aborted")),
    )
    assert caplog.text.count("was not taken by 127.0.0.1") == 2
    assert "NOT_SET holds no secret" in caplog.text


async def test_too_many_messages_are_left_out(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 2)
    many = history(entry(1, "running"), *(entry(seq, "running", 1, "promote") for seq in range(2, 7)))
    await told(Webhooks(0), Webhook(url=receiver.url), many)
    assert len(receiver.taken) == 2
