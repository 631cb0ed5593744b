"""A defect of an engine is one answer, 500, and no more.

uvicorn closes the connection of a request whose exception reaches it. The ingress keeps that connection for later, and
the next client's request would fail on it. So no exception reaches uvicorn, unless an answer has begun: then only the
end of the connection can tell that it is not whole. Imports nothing of ours, because vLLM loads it too.
"""

import json
import logging
from typing import Any

log = logging.getLogger("uvicorn.error")
SAYS = "the engine failed on this request"
OPENAI = {"error": {"message": SAYS, "type": "server_error", "param": None, "code": "internal_error"}}
OPEN_INFERENCE = {"error": SAYS}


class AnswerFaults:
    """ASGI middleware."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = complete = False

        async def watch(message: Any) -> None:
            nonlocal begun, complete
            begun = True
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            if scope["type"] != "http" or (begun and not complete):
                raise
            log.exception("a request failed")
            if not begun:
                body = json.dumps(OPEN_INFERENCE if scope["path"].startswith("/v2") else OPENAI).encode()
                headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
                await send({"type": "http.response.start", "status": 500, "headers": headers})
                await send({"type": "http.response.body", "body": body})
