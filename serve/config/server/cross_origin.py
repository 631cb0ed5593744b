"""`server.cors` of the stack file: the web pages whose scripts may call the server."""

import re

from pydantic import field_validator

from variants.document import Document

ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


class Cors(Document):
    """Allowed origins, such as `https://app.example` or `http://localhost:5173`; `"*"` allows every page."""

    origins: tuple[str, ...] = ()

    @field_validator("origins")
    @classmethod
    def check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r:.80} is not an origin; write scheme, host and port: http://localhost:5173")
        return origins
