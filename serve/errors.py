"""HTTP status and body of every error, in each protocol.

Errors that only a server raises are defined here; the others are in `variants.errors`.

    UnderstudyError
    ├── InputError (in `variants.errors`)                    400
    │   └── ContextTooLong  more tokens than the context    400
    ├── Unauthorized   no API key, or an unknown one         401, WWW-Authenticate
    ├── Forbidden      the key does not allow this           403
    ├── TooLarge       the body is above the stack's limit   413
    ├── WrongMediaType the type of the body is not accepted  415
    ├── ClientLeft     the client left during its upload     499, never sent
    ├── UploadTimedOut the body came too slowly              408
    ├── Conflict       the live state does not allow it      409, exit 7
    │   └── Stale      the version was changed meanwhile     412, exit 7
    ├── Overloaded     concurrency and queue are full        429, Retry-After
    │   └── RateLimited  a limit of the API key is reached   429, Retry-After
    ├── NotReady       no variant that may answer is ready   503, Retry-After
    └── TimedOut       the stack's timeout has passed        504
"""

import json
from collections.abc import Mapping

from variants.errors import EngineError, InputError, UnderstudyError, UnknownName


class ContextTooLong(InputError):
    """More tokens than fit in a context."""

    code = "context_length_exceeded"


class Unauthorized(UnderstudyError):
    code = "invalid_api_key"
    exit_code = 2


class Forbidden(UnderstudyError):
    code = "forbidden"
    exit_code = 2


class TooLarge(UnderstudyError):
    code = "body_too_large"


class WrongMediaType(UnderstudyError):
    code = "unsupported_media_type"
    exit_code = 2


class ClientLeft(UnderstudyError):
    code = "client_left"


class UploadTimedOut(UnderstudyError):
    code = "upload_timed_out"


class Conflict(UnderstudyError):
    code = "conflict"
    exit_code = 7


class Stale(Conflict):
    code = "stale"


class Overloaded(UnderstudyError):
    """`retry_after_s` is in whole seconds."""

    code = "overloaded"

    def __init__(
        self, message: str, *, field: str | None = None, mend: str | None = None, retry_after_s: int = 1
    ) -> None:
        super().__init__(message, field=field, mend=mend)
        self.retry_after_s = retry_after_s


class RateLimited(Overloaded):
    code = "rate_limited"


class NotReady(UnderstudyError):
    code = "not_ready"


class TimedOut(UnderstudyError):
    code = "timed_out"


CLIENT_WENT_AWAY = 499
"""Never sent: the metrics use it for a request whose client left before the end."""
STATUS: Mapping[type[UnderstudyError], int] = {
    Unauthorized: 401,
    Forbidden: 403,
    UnknownName: 404,
    InputError: 400,
    Stale: 412,
    Conflict: 409,
    TooLarge: 413,
    WrongMediaType: 415,
    UploadTimedOut: 408,
    ClientLeft: CLIENT_WENT_AWAY,
    Overloaded: 429,
    NotReady: 503,
    TimedOut: 504,
    EngineError: 502,
    UnderstudyError: 500,
}
OPENAI_TYPES = {
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
}


def status_of(error: UnderstudyError) -> int:
    """The status of the nearest class in the error's method resolution order."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def headers_of(error: UnderstudyError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"www-authenticate": "Bearer"}
    if isinstance(error, UploadTimedOut):
        return {"connection": "close"}  # the rest of the body may still come
    if isinstance(error, Overloaded):
        return {"retry-after": str(error.retry_after_s)}
    return {"retry-after": "1"} if isinstance(error, NotReady) else {}


def openai_body(error: UnderstudyError) -> bytes:
    """`{"error": {"message", "type", "param", "code"}}`, the format of OpenAI's clients."""
    status = status_of(error)
    kind = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    document = {"message": str(error), "type": kind, "param": error.field, "code": error.code}
    return json.dumps({"error": document}).encode()


def open_inference_body(error: UnderstudyError) -> bytes:
    """`{"error": message}`, the format of Open Inference Protocol v2, and our code."""
    return json.dumps({"error": str(error), "code": error.code}).encode()
