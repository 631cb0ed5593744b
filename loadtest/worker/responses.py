"""Reads a streamed answer while it comes: its text, and when each piece came.

It is read line by line from the raw response, so a line has the time at which its bytes came from the socket. Locust's
`iter_lines` waits for blocks of 1,024 bytes and reports first tokens hundreds of milliseconds late. The time is taken
before a frame is parsed.
"""

import json
from collections.abc import Callable
from typing import Any, Protocol

from variants.tasks.responses import BadAnswer, ResponseText, quoted, usage_of, well_formed


class RawBody(Protocol):
    def readline(self, sep: bytes) -> bytes: ...
    def read(self) -> bytes: ...


def read_stream(body: RawBody, clock: Callable[[], float]) -> ResponseText:
    """Server-sent events of completions or chat completions up to `[DONE]`. The last frame has the usage. Raises
    BadAnswer."""
    text, token_times, usage = "", [], None
    while True:
        line = body.readline(b"\n")
        now = clock()
        if not line:
            raise BadAnswer("the stream ended without [DONE]")
        data = line.strip().removeprefix(b"data:").strip()
        if not data or not line.startswith(b"data:"):
            continue
        if data == b"[DONE]":
            break
        with well_formed(data):
            frame = json.loads(data)
            if "error" in frame:
                raise BadAnswer(f"an error in the stream: {quoted(data)}")
            if frame.get("choices") and (piece := piece_of(frame["choices"][0])) is not None:
                token_times.append(now)
                text += piece
            if frame.get("usage"):
                usage = usage_of(frame)
    body.read()  # the end of the chunked body, so that the connection can be used again
    if usage is None:
        raise BadAnswer("the stream carried no usage")
    return ResponseText(text, token_times, **usage)


def piece_of(choice: dict[str, Any]) -> str | None:
    """The text of a frame. None for the first frame of a chat, which has a role and no token."""
    if "delta" not in choice:
        return choice.get("text") or ""
    delta = choice["delta"]
    return None if "role" in delta and not delta.get("content") else delta.get("content") or ""


def refusal(status: int, body: bytes) -> BadAnswer:
    """The error for an answer whose status is not 200."""
    return BadAnswer(f"HTTP {status}: {quoted(body)}")
