"""Keeps the texts of live requests where the stack file says so (`keep_requests` of a model), for tasks of one's own.

    requests/MODEL/labelled.jsonl     in the home folder: time, text, system, task, label
    requests/MODEL/unlabelled.jsonl   the same without a label

Kept are requests that were answered, name no variant, and whose client did not send `x-understudy-shadow: off`. Of a
chat, the message of the user and the one of the system are kept, where there is no other. Nothing is kept of images,
nor of several texts at once. Files are written by a thread, for all requests of a second together.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from serve.api.operation.kept_file import KeptFile, Row
from serve.config.keep_requests import KeepRequests
from serve.dataplane.call import Call
from serve.dataplane.upstreams import Upstreams
from serve.protocols.open_inference import HEADER_LENGTH, parse_request
from serve.shadow.sampling import Asked
from variants.errors import InputError, StoreFull
from variants.home import home

log = logging.getLogger("understudy.requests")
FOLDER = "requests"
EVERY_S, EXPIRE_S = 1.0, 3600.0
"""Between two writes, and between two removals of what has become too old without one."""
MOST_CHARACTERS = 50_000
"""Longer requests are not kept: rows are bounded in number, and so in bytes."""
MOST_WAITING = 16 * 2**20
"""Bytes of the bodies that wait to be written. What comes beyond that is not kept."""


class Waiting(NamedTuple):
    """A request that is to be written. `task` is a known one, or empty."""

    model: str
    asked: Asked
    task: str


class KeptRequests:
    """One ingress' queue of requests to keep."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self.waiting: list[Waiting] = []
        self.bytes = self.dropped = 0
        self.files: dict[Path, KeptFile] = {}
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Write what waits, and stop."""
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
        await self._write(())

    def offer(self, call: Call, asked: Asked) -> None:
        """Queue an ended request, if it is one to keep."""
        model = self.upstreams.models.get(call.target.model)
        if model is None or model.keep_requests is None:
            return
        if call.status != 200 or call.target.variant or asked.opted_out:
            return
        if self.bytes + len(asked.body) > MOST_WAITING:
            self.dropped += 1
            return
        task = asked.headers.get("x-understudy-task", "")
        self.bytes += len(asked.body)
        self.waiting.append(Waiting(call.target.model, asked, task if task in self.upstreams.known_tasks else ""))

    async def _work(self) -> None:
        expired = -EXPIRE_S
        while True:
            old: Sequence[str] = ()
            if time.monotonic() - expired >= EXPIRE_S:
                expired, old = time.monotonic(), tuple(self.upstreams.models)
            try:
                await self._write(old)
            except Exception:  # one unexpected error must not end the writing
                log.exception("requests were not kept")
            await asyncio.sleep(EVERY_S)

    async def _write(self, old: Sequence[str]) -> None:
        """Write what waits, and remove what is too old of the models `old`. A fault of the disk is logged: what was
        to be written then is not kept."""
        waiting, self.waiting, self.bytes = self.waiting, [], 0
        limits = {name: each.keep_requests for name, each in self.upstreams.models.items() if each.keep_requests}
        if self.dropped:
            log.warning("%d requests came too fast to be kept", self.dropped)
            self.dropped = 0
        if waiting or any(name in limits for name in old):
            try:
                await asyncio.to_thread(self._write_files, waiting, old, limits)
            except (OSError, StoreFull) as error:
                log.error("%d requests were not kept: %s", len(waiting), error)

    def _write_files(self, waiting: Sequence[Waiting], old: Sequence[str], limits: dict[str, KeepRequests]) -> None:
        rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for model in old:
            rows[model, "labelled"], rows[model, "unlabelled"] = [], []
        for each in waiting:
            if (row := row_of(each)) is not None:
                rows[each.model, "labelled" if "label" in row else "unlabelled"].append(row)
        for (model, name), given in rows.items():
            path = home() / FOLDER / model / f"{name}.jsonl"
            if model in limits and (given or path.exists()):
                self.files.setdefault(path, KeptFile(path)).add(given, limits[model])


def row_of(waiting: Waiting) -> Row | None:
    """What is kept of a request; None where it has no text alone, or a longer one than `MOST_CHARACTERS`."""
    texts = texts_of(waiting.asked)
    if texts is None or sum(map(len, texts)) > MOST_CHARACTERS:
        return None
    row = {"text": texts[0], "system": texts[1], "task": waiting.task}
    label = waiting.asked.headers.get("x-understudy-label")
    return row if label is None else row | {"label": label}


def texts_of(asked: Asked) -> tuple[str, str] | None:
    """The one text that a client sent, and the system's message of a chat, which is empty elsewhere."""
    document = asked.document or {}
    if asked.path == "/v1/chat/completions":
        return of_chat(document.get("messages"))
    given = {"/v1/completions": "prompt", "/v1/embeddings": "input"}.get(asked.path)
    value = of_tensor(asked) if asked.path == "/infer" else document.get(given or "")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return (value, "") if isinstance(value, str) and value.strip() else None


def of_chat(messages: Any) -> tuple[str, str] | None:
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        return None
    roles = [each.get("role") for each in messages]
    texts = [content_of(each.get("content")) for each in messages]
    if roles not in (["user"], ["system", "user"], ["developer", "user"]) or not all(texts):
        return None
    return str(texts[-1]), str(texts[0]) if len(texts) > 1 else ""


def content_of(content: Any) -> str | None:
    """The text of a message, also where it is sent in parts; None where a part is no text."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    return "".join(map(str, parts)) if parts and None not in parts else None


def of_tensor(asked: Asked) -> str | None:
    """The one element of a tensor `text`."""
    try:
        tensors = parse_request(asked.body, asked.headers.get(HEADER_LENGTH)).inputs
        texts = [tensor for tensor in tensors if (tensor.name, tensor.datatype) == ("text", "BYTES")]
        elements = [element for tensor in texts for element in tensor.data.ravel()]
        return bytes(elements[0]).decode() if len(elements) == 1 else None
    except (InputError, UnicodeDecodeError, TypeError):  # the engine has answered it, so it is another tensor
        return None
