"""The secret of an engine: only who started it, and whom they tell, may use it.

An engine listens on loopback, which every user of the machine can reach. So each engine process has a secret of its
own. It gets it by its environment, because other users can read a command line. Every request must carry it, also
`/health`. Without the variable, as in an engine that is started by hand, no request needs it. Imports nothing of ours,
because vLLM loads it too.
"""

import hmac
import os
from typing import Any

VARIABLE = "UNDERSTUDY_ENGINE_SECRET"
HEADER = "x-understudy-engine-secret"
UNAUTHORIZED = 401
"""The status of a refusal. No engine has another use of it."""
BODY = b'{"error": "this engine answers only to its own server"}'


class CheckSecret:
    """ASGI middleware that answers 401 to requests without the secret."""

    def __init__(self, app: Any) -> None:
        self.app, self.secret = app, os.environ.get(VARIABLE, "").encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or not self.secret or self.is_sent(scope):
            await self.app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
        await send({"type": "http.response.start", "status": UNAUTHORIZED, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    def is_sent(self, scope: Any) -> bool:
        sent = [value for name, value in scope["headers"] if name == HEADER.encode()]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self.secret)
