"""One request to an admin route of a running server, with the key in UNDERSTUDY_KEY, if that is set.

Uses the standard library's HTTP client: the command line sends only a few requests."""

import getpass
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from serve.errors import (
    Conflict,
    ContextTooLong,
    Forbidden,
    NotReady,
    Overloaded,
    RateLimited,
    Stale,
    TimedOut,
    TooLarge,
    Unauthorized,
    UploadTimedOut,
    WrongMediaType,
)
from variants.errors import (
    EngineError,
    InputError,
    IntegrityError,
    MissingDependency,
    PluginError,
    RecipeError,
    SourceError,
    StackError,
    StoreFull,
    UnderstudyError,
    UnknownName,
)

ANSWER_LIMIT_S = 120.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks servers without a proxy."""
KINDS = (
    Conflict, ContextTooLong, Forbidden, InputError, IntegrityError, MissingDependency, NotReady, Overloaded,
    PluginError, RateLimited, RecipeError, SourceError, StackError, Stale, StoreFull, TimedOut, TooLarge, Unauthorized,
    UnknownName, UploadTimedOut, WrongMediaType,
)  # fmt: skip
ERRORS: Mapping[str, type[UnderstudyError]] = {kind.code: kind for kind in KINDS}


def ask(
    target: str, method: str, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Raises the server's own error, or EngineError if the server does not answer."""
    try:
        return dict(json.loads(ask_text(target, method, path, body, headers)))
    except ValueError as error:
        raise EngineError(f"{target}: {error!s:.200}", mend="is the server up at that address?") from None


def ask_text(
    target: str, method: str, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> str:
    """The text of an answer. Raises as `ask` does."""
    if not target.startswith(("http://", "https://")):
        raise InputError(
            f"{target} is not an HTTP address", field="--target", mend="give one like http://127.0.0.1:8000"
        )
    data = None if body is None else json.dumps(body).encode()
    fields = {"content-type": "application/json", "x-understudy-who": who(), **key_header(), **(headers or {})}
    request = urllib.request.Request(target.rstrip("/") + path, data=data, method=method, headers=fields)  # noqa: S310
    try:
        with DIRECT.open(request, timeout=ANSWER_LIMIT_S) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise error_of(error.code, error.read()) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EngineError(f"{target}: {error!s:.200}", mend="is the server up at that address?") from None


def key_header() -> dict[str, str]:
    """The header with the key in UNDERSTUDY_KEY; nothing where that is not set."""
    key = os.environ.get("UNDERSTUDY_KEY")
    return {"authorization": f"Bearer {key}"} if key else {}


def who() -> str:
    """The user's name, or the user id if there is no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def error_of(status: int, body: bytes) -> UnderstudyError:
    try:
        fault = json.loads(body)["error"]
        return ERRORS.get(fault["code"], EngineError)(fault["message"])
    except (ValueError, KeyError, TypeError):
        return EngineError(f"the server answered {status}: {body[:200].decode(errors='replace')}")
