"""How much of its limits an API key has used, in this ingress: requests and tokens of the last minute, and requests at
once.

The tokens of a request are known at its end. So a key may pass `tokens_per_minute` by the requests that are under way.
"""

import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NoReturn

from starlette.types import Scope

from serve import metrics
from serve.api.answers import TextAnswer
from serve.config.server.api_keys import KeyLimits
from serve.errors import RateLimited

WINDOW_S = 60.0
IN_SCOPE = "understudy.key"
"""The entry of an ASGI scope that holds the request's `KeyUse`."""


@dataclass
class Window:
    """Amounts of the last minute, oldest first, with their times in seconds of the monotonic clock."""

    amounts: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def add(self, amount: int) -> None:
        self.amounts.append((time.monotonic(), amount))
        self.total += amount

    def wait_s(self, limit: int) -> float:
        """Seconds until the total is below the limit; 0 if it is now."""
        now = time.monotonic()
        while self.amounts and self.amounts[0][0] <= now - WINDOW_S:
            self.total -= self.amounts.popleft()[1]
        left = self.total
        for at, amount in self.amounts:
            if left < limit:
                return 0.0
            left -= amount
            if left < limit:
                return at + WINDOW_S - now
        return 0.0


class KeyUse:
    """The use of one key. `limits` are those of its latest request."""

    def __init__(self, name: str) -> None:
        self.name, self.limits = name, KeyLimits()
        self.requests, self.tokens = Window(), Window()
        self.running = 0

    def begin(self, limits: KeyLimits) -> None:
        """Count a request that begins. Raises RateLimited."""
        self.limits = limits
        if limits.concurrency is not None and self.running >= limits.concurrency:
            self.refuse("concurrency", limits.concurrency, 1.0)
        for name, window in (("requests_per_minute", self.requests), ("tokens_per_minute", self.tokens)):
            limit: int | None = getattr(limits, name)
            if limit is not None and (wait_s := window.wait_s(limit)) > 0:
                self.refuse(name, limit, wait_s)
        if limits.requests_per_minute is not None:
            self.requests.add(1)
        self.running += 1

    def end(self) -> None:
        self.running -= 1

    def spent(self, tokens: int) -> None:
        metrics.key_tokens.labels(self.name).inc(tokens)
        if self.limits.tokens_per_minute is not None:
            self.tokens.add(tokens)

    def refuse(self, limit: str, value: int, wait_s: float) -> NoReturn:
        metrics.key_refused.labels(self.name, "limit").inc()
        raise RateLimited(
            f"the key {self.name!r} has reached its limit of {value} for {limit}",
            mend="try again after the time in Retry-After",
            retry_after_s=math.ceil(wait_s),
        )


def count_key_tokens(scope: Scope, answer: TextAnswer) -> None:
    """Count an answer's tokens, and those of its prompt, for the key of the request, if it has one."""
    use: KeyUse | None = scope.get(IN_SCOPE)
    tokens = answer.usage.get("prompt_tokens", 0) + answer.tokens
    if use is not None and tokens:
        use.spent(tokens)


def key_name(scope: Scope) -> str | None:
    """The name of the request's key, None on a server without keys."""
    use: KeyUse | None = scope.get(IN_SCOPE)
    return None if use is None else use.name
