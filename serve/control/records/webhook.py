"""Tells an address about every verdict on a rollout, beside the controller's work.

Messages have the form and the signature of the Standard Webhooks specification (standardwebhooks.com), so its libraries
verify them. A message is tried again with growing pauses, at most `len(PAUSES_S)` times. A decision never waits for it.
Messages are in memory: a controller that dies does not send those that were not delivered.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from serve.config.server.webhook import Webhook, secret_of
from serve.control.records.document import summary
from serve.control.records.history import History, Record
from variants.errors import UnderstudyError

log = logging.getLogger("understudy.webhook")
PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0)
LIMIT_S = 10.0
"""The longest wait for an answer."""
MOST_OPEN = 100
"""Messages under way; those beyond are logged and left out."""


class Message(NamedTuple):
    """`id` is the same in every try, so that a receiver can tell a repetition."""

    id: str
    body: bytes


class Webhooks:
    """Sends what a history has after entry `told`."""

    def __init__(self, told: int, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self.told, self.pauses_s = told, pauses_s
        self.tasks: set[asyncio.Task[None]] = set()
        self.threads = ThreadPoolExecutor(2, "webhook")  # its own, so that a slow receiver delays nothing else

    def tell(self, webhook: Webhook | None, history: History) -> None:
        """Begin to send every verdict since the last call. Needs a running event loop."""
        messages = list(messages_after(history, self.told))
        self.told = max((seq for seq, _ in messages), default=self.told)
        for _, message in messages:
            if webhook is None:
                return
            if len(self.tasks) >= MOST_OPEN:
                log.error("message %s is not sent: %d others are under way", message.id, MOST_OPEN)
                continue
            task = asyncio.create_task(self.send(webhook, message))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def send(self, webhook: Webhook, message: Message) -> None:
        """Never raises an error of the receiver: it is logged."""
        loop = asyncio.get_running_loop()
        for pause_s in (*self.pauses_s, None):
            try:
                await loop.run_in_executor(self.threads, post, webhook, message)
                return
            except (OSError, HTTPException, UnderstudyError) as error:  # URLError is an OSError
                again = "given up" if pause_s is None else f"again in {pause_s:g} s"
                log.warning(
                    "message %s was not taken by %s: %s; %s", message.id, urlsplit(webhook.url).hostname, error, again
                )
            if pause_s is not None:
                await asyncio.sleep(pause_s)


def messages_after(history: History, seq: int) -> Iterator[tuple[int, Message]]:
    """Every verdict after entry `seq`, with its entry, in their order."""
    told = (
        (step["seq"], message_of(record, step))
        for records in history.records.values()
        for record in records
        if record.steps[-1]["seq"] > seq
        for before, step in zip([None, *record.steps], record.steps, strict=False)
        if step["seq"] > seq and is_verdict(before, step)
    )
    yield from sorted(told)


def is_verdict(before: dict[str, Any] | None, step: dict[str, Any]) -> bool:
    """Whether a decision followed from evidence or ended the rollout."""
    ended = before is not None and step["status"] not in ("running", "paused", before["status"])
    return step["verdict"] is not None or ended


def message_of(record: Record, step: dict[str, Any]) -> Message:
    kind = "step" if step["status"] == "running" else step["status"].replace(" ", "_")
    data = summary(record) | {name: step[name] for name in ("seq", "step", "status", "why", "weights", "verdict")}
    document = {"type": f"rollout.{kind}", "timestamp": step["at"], "data": data}
    return Message(f"{record.model}/{record.id}/{step['seq']}", json.dumps(document).encode())


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the address in the stack file is the only one that is told."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(webhook: Webhook, message: Message) -> None:
    """Raises OSError and HTTPException where it was not taken, StackError without the secret."""
    secret, at = secret_of(webhook), str(int(time.time()))
    headers = {"content-type": "application/json", "webhook-id": message.id, "webhook-timestamp": at}
    if secret is not None:
        headers["webhook-signature"] = signature(secret, message, at)
    request = urllib.request.Request(webhook.url, message.body, headers, method="POST")  # noqa: S310  # http or https
    with urllib.request.build_opener(Stay()).open(request, timeout=LIMIT_S) as answer:
        answer.read(1)


def signature(secret: bytes, message: Message, at: str) -> str:
    """HMAC-SHA256 of id, time and body, as the specification has it."""
    signed = hmac.new(secret, f"{message.id}.{at}.".encode() + message.body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"
