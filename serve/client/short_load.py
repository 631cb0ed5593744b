"""A short load: how soon each variant of a text model answers a running server's clients, one request at a time."""

import time
import urllib.request
from collections.abc import Sequence
from typing import NamedTuple

from serve.client.admin import DIRECT, key_header
from variants.errors import EngineError
from variants.tasks import Example
from variants.tasks.requests import request_for

REQUESTS = 80
"""Of each variant: 73 in time prove by Wilson's interval that 95 % are."""
TOKENS = 16
LIMIT_S = 120.0


class Waits(NamedTuple):
    """Seconds to the first token and to the last, a list each."""

    ttft: list[float]
    latency: list[float]


def short_load(url: str, model: str, variants: Sequence[str], examples: Sequence[Example]) -> dict[str, Waits]:
    """The waits of each variant. The variants take turns with the same examples, so that a slow minute hurts all.
    Raises EngineError where the server refuses a request or does not answer."""
    waits = {variant: Waits([], []) for variant in variants}
    for number in range(REQUESTS):
        for variant in variants:
            first, last = ask(url, model, variant, examples[number % len(examples)])
            waits[variant].ttft.append(first)
            waits[variant].latency.append(last)
    return waits


def ask(url: str, model: str, variant: str, example: Example) -> tuple[float, float]:
    """Seconds to the first event of the stream and to its end."""
    wanted = request_for("text", model, example.input, {"stream": True, "max_tokens": TOKENS}, version=variant)
    headers = {**wanted.headers, **key_header(), "x-understudy-shadow": "off"}
    request = urllib.request.Request(url.rstrip("/") + wanted.path, wanted.body, headers)  # noqa: S310
    began, first = time.perf_counter(), None
    try:
        with DIRECT.open(request, timeout=LIMIT_S) as answer:
            for line in answer:
                if first is None and line.startswith(b"data:"):
                    first = time.perf_counter() - began
    except OSError as error:
        raise EngineError(
            f"{model}@{variant} at {url} did not answer: {error}", mend="is it served, and ready?"
        ) from None
    if first is None:
        raise EngineError(f"{model}@{variant} at {url} streamed nothing")
    return first, time.perf_counter() - began
